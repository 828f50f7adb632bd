//! Collateral for a platform from pieces at hand: of each kind the newest that is genuine and in force.

use std::cmp::Reverse;

use burgrave_types::{Tee, Timestamp};

use super::collateral::{Collateral, CollateralId, SIGNER, is_signed};
use super::piece::{About, Statement};
use crate::trust::Vendor;
use crate::x509::{Certificate, Crl};
use crate::{Endorsements, Roots};

/// What it takes to judge a platform, and what of it there is.
pub(super) struct Pieces<'a> {
    id: CollateralId,
    /// The PCK authority, as it stands in the quote: what of it counts is that a root vouches for it.
    authority: &'a Certificate,
    endorsements: &'a Endorsements,
    roots: &'a Roots,
    at: Timestamp,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(
        id: CollateralId,
        authority: &'a Certificate,
        endorsements: &'a Endorsements,
        roots: &'a Roots,
        at: Timestamp,
    ) -> Self {
        Self { id, authority, endorsements, roots, at }
    }

    /// The whole, unverified: where a piece is not genuine, its checks say so. Else what there is and what is missing; nothing
    /// where none of it is there.
    pub(super) fn assemble(&self) -> Result<Collateral, Option<String>> {
        let (tee, fmspc) = (self.id.tee, self.id.fmspc);
        let info = self.statement(About::Platform { tee, fmspc });
        let identity = self.statement(About::QuotingEnclave { tee });
        let (root_crl, pck_crl) = (self.list_of_root(), self.list(self.authority));
        match (info, identity, root_crl, pck_crl) {
            (Some((info, Some(one))), Some((identity, Some(other))), Some(root_crl), Some(pck_crl)) => {
                let (one, other) = ((info, one.clone()), (identity, other.clone()));
                let lists = [root_crl.clone(), pck_crl.clone()];
                let whole = Collateral::of_pieces(one, other, self.authority.clone(), lists);
                whole.map_err(|error| Some(error.to_string()))
            }
            (info, identity, root_crl, pck_crl) => {
                let signer = info.and_then(|(_, signer)| signer).or(identity.and_then(|(_, signer)| signer));
                let there = [info.is_some(), identity.is_some(), root_crl.is_some(), pck_crl.is_some()];
                Err(self.what_is_missing(there, signer.is_some()))
            }
        }
    }

    /// The four pieces in words.
    pub(super) fn names(&self) -> [String; 4] {
        let (tee, fmspc) = (self.id.tee, hex::encode(self.id.fmspc));
        let enclave = if tee == Tee::Tdx { "TD_QE" } else { "QE" };
        [
            format!("the TCB info for {tee} of FMSPC {fmspc}"),
            format!("the identity of the quoting enclave `{enclave}`"),
            format!("the revocation list of `{}`", common_name(&self.authority.issuer())),
            format!("the revocation list of `{}`", common_name(&self.authority.subject())),
        ]
    }

    fn what_is_missing(&self, there: [bool; 4], is_signer_there: bool) -> Option<String> {
        let statements = &self.endorsements.statements;
        if statements.is_empty() && there == [false; 4] {
            return None;
        }
        let names = self.names().into_iter().zip(there);
        let mut missing: Vec<_> = names.filter(|(_, there)| !there).map(|(name, _)| name).collect();
        if !is_signer_there {
            missing.push(format!("the certificate of their signer, `{SIGNER}`"));
        }
        let others = statements.iter().filter_map(|statement| match statement.about {
            About::Platform { tee, fmspc } if (tee, fmspc) != (self.id.tee, self.id.fmspc) => {
                Some(format!("{tee} of FMSPC {}", hex::encode(fmspc)))
            }
            _ => None,
        });
        let others: Vec<_> = others.take(4).collect();
        let beside =
            if others.is_empty() { String::new() } else { format!("; TCB info at hand is for {}", others.join(", ")) };
        Some(format!("not all of it: without {}{beside}", missing.join(", ")))
    }

    /// The best statement about something, with the certificate that signed it, else with any of a signer's.
    fn statement(&self, about: About) -> Option<(&'a Statement, Option<&'a Certificate>)> {
        let about_it = self.endorsements.statements.iter().filter(|statement| statement.about == about);
        let signed = about_it.map(|statement| {
            let by = self.signers().find(|signer| signs(statement, signer) && self.root_of(signer).is_some());
            let holds = statement.issued <= self.at && self.at < statement.ends;
            ((by.is_some(), holds, statement.number, statement.issued), statement, by)
        });
        let (_, statement, by) = signed.max_by_key(|(rank, ..)| *rank)?;
        Some((statement.as_ref(), by.or_else(|| self.signers().next())))
    }

    /// Certificates of that name: first those that a root signed, and of these the valid ones.
    fn signers(&self) -> impl Iterator<Item = &'a Certificate> {
        let named = |certificate: &&Certificate| certificate.common_name().as_deref() == Some(SIGNER);
        let mut signers: Vec<_> = self.endorsements.certificates.iter().filter(named).collect();
        signers.sort_by_cached_key(|signer| Reverse((self.root_of(signer).is_some(), signer.is_valid_at(self.at))));
        signers.into_iter()
    }

    fn root_of(&self, certificate: &Certificate) -> Option<&'a Certificate> {
        let mut roots = self.roots.anchors_of(Vendor::Intel);
        roots.find(|root| certificate.is_issued_by_name_of(root) && certificate.is_ecdsa_signed_by(root))
    }

    fn list_of_root(&self) -> Option<&'a Crl> {
        match self.root_of(self.authority) {
            Some(root) => self.list(root),
            // That no root vouches for the authority is what is wrong, and not that its list is missing.
            None => self.endorsements.crls.iter().find(|list| list.issuer() == self.authority.issuer()),
        }
    }

    /// The best list of an authority.
    fn list(&self, issuer: &Certificate) -> Option<&'a Crl> {
        let of_it = self.endorsements.crls.iter().filter(|list| list.is_issued_by_name_of(issuer));
        of_it.max_by_key(|list| {
            let (issued, next) = list.validity();
            let holds = issued <= self.at && next.is_some_and(|next| self.at < next);
            let number = list.number();
            (list.is_ecdsa_signed_by(issuer), holds, number.len(), number, issued)
        })
    }
}

/// The common name in a distinguished name, or all of it.
fn common_name(name: &str) -> &str {
    name.split(',').find_map(|part| part.strip_prefix("CN=")).unwrap_or(name)
}

fn signs(statement: &Statement, signer: &Certificate) -> bool {
    statement.signature().is_some_and(|signature| is_signed(statement.text.as_bytes(), &signature, signer))
}
