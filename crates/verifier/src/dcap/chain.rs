//! What a certificate or a revocation list of Intel's must be to count, and when it does.

use burgrave_types::Timestamp;

use crate::check::Checks;
use crate::check::Stop;
use crate::trust::Vendor;
use crate::verification::Findings;
use crate::x509::{Certificate, Crl};
use crate::{Cause, Roots};

pub(super) const RFC_5280: &str = "Intel PCK Certificate Profile, section 1; RFC 5280, section 6.1";

/// When something that was used may be relied on.
#[derive(Clone, Debug)]
pub(super) struct Window {
    kind: Kind,
    of: String,
    from: Timestamp,
    to: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Certificate,
    Crl,
    Collateral,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Certificate, Self::Crl, Self::Collateral];
}

impl Window {
    pub(super) fn of_certificate(certificate: &Certificate) -> Self {
        let (from, to) = certificate.validity();
        Self { kind: Kind::Certificate, of: certificate.subject(), from, to }
    }

    /// A list that names no next one is valid at no time.
    pub(super) fn of_crl(crl: &Crl) -> Self {
        let (from, next) = crl.validity();
        Self { kind: Kind::Crl, of: format!("the list of `{}`", crl.issuer()), from, to: next.unwrap_or(from) }
    }

    pub(super) fn of_collateral(name: &str, from: Timestamp, to: Timestamp) -> Self {
        Self { kind: Kind::Collateral, of: name.to_owned(), from, to }
    }

    /// Certificates are valid to their last instant, what names a next update until that.
    pub(super) fn holds_at(&self, at: Timestamp) -> bool {
        self.from <= at && (at < self.to || (self.kind == Kind::Certificate && at == self.to))
    }

    pub(super) fn start(&self) -> Timestamp {
        self.from
    }

    pub(super) fn end(&self) -> Timestamp {
        self.to
    }
}

/// Whether all that was used holds at a time. Lowers the end of what may be concluded to the first end among them.
pub(super) fn hold_at<'a>(
    windows: impl Iterator<Item = &'a Window> + Clone,
    at: Timestamp,
    findings: &mut Findings,
) -> Result<(), Stop> {
    for kind in Kind::ALL {
        let rule = match kind {
            Kind::Certificate => ("dcap.chain.validity", Cause::CertificateValidity, "RFC 5280, section 4.1.2.5"),
            Kind::Crl => ("dcap.crl.validity", Cause::CrlValidity, "RFC 5280, section 5.1.2"),
            Kind::Collateral => {
                ("dcap.collateral.validity", Cause::CollateralValidity, "Intel PCS API v4, issueDate and nextUpdate")
            }
        };
        match windows.clone().find(|window| window.kind == kind && !window.holds_at(at)) {
            None => findings.checks.need_that(rule, true, "valid at the time of the check", "")?,
            Some(Window { of, from, to, .. }) => {
                return Err(findings.checks.stop(
                    rule,
                    format_args!("{of} valid at {at}"),
                    format_args!("{from} to {to}"),
                ));
            }
        }
    }
    if let Some(end) = windows.map(Window::end).min() {
        findings.ends(end);
    }
    Ok(())
}

/// The pinned root that signed a certificate.
pub(super) fn issued_by_root(
    certificate: &Certificate,
    roots: &Roots,
    checks: &mut Checks,
) -> Result<Certificate, Stop> {
    let named = roots.anchors_of(Vendor::Intel).filter(|root| certificate.is_issued_by_name_of(root));
    let root = named.into_iter().find(|root| certificate.is_ecdsa_signed_by(root));
    let rule = ("dcap.chain", Cause::ChainUntrusted, RFC_5280);
    let expected = format_args!("`{}`, signed by a pinned root", certificate.subject()).to_string();
    match root {
        Some(root) => {
            checks.need(rule, true, expected, root.subject())?;
            Ok(root.clone())
        }
        None => Err(checks.stop(rule, expected, format_args!("`{}`, which no pinned root is", certificate.issuer()))),
    }
}

/// Holds an authority beneath a root to what an authority is.
pub(super) fn is_issuing_authority(
    authority: &Certificate,
    root: &Certificate,
    checks: &mut Checks,
) -> Result<(), Stop> {
    checks.need_that(
        ("dcap.chain.constraints", Cause::ChainConstraint, "RFC 5280, sections 4.2.1.3 and 4.2.1.9"),
        root.is_authority(1)
            && authority.is_authority(0)
            && ![root, authority].iter().any(|certificate| certificate.has_unknown_critical_extension()),
        format_args!("`{}` and its root are authorities, and no critical extension is unknown", authority.subject()),
        "a certificate that may not stand there",
    )
}
