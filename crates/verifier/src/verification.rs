//! The one door: a part of evidence in, a verdict with its reasons out.

use burgrave_types::claims::Proved;
use burgrave_types::{Claims, EvidencePart, Tee, Timestamp};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::check::{Checks, Stop};
use crate::eventlog::MeasuredLog;
use crate::ima::ImaState;
use crate::{
    Cause, Check, Endorsements, Profile, Raw, Roots, azure, cca, dcap, ima, nitro, nvidia, simulated, snp, tpm,
};

/// Everything that a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The evidence.
    pub part: &'a EvidencePart,
    /// Certificates, revocation lists and proofs beside it. Those among the part's own items are found there.
    pub endorsements: &'a Endorsements,
    /// What is trusted.
    pub roots: &'a Roots,
    /// What is demanded beyond being authentic.
    pub profile: &'a Profile,
    /// What the evidence must be bound to.
    pub expected: Expected<'a>,
    /// The time at which it is judged.
    pub at: Timestamp,
}

/// What the evidence must carry of the challenger's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected<'a> {
    /// Nothing is asked; only offline does this make sense, since a replay passes.
    None,
    /// Exactly these bytes in the report data (a quote's qualifying data). For formats with a field of fixed width
    /// (SEV-SNP, TDX, SGX, Arm CCA: 64 bytes; NVIDIA: 32) shorter bytes are followed by zeros.
    ReportData(&'a [u8]),
    /// This nonce, where the format carries one; compared as [`Expected::ReportData`] is.
    Nonce(&'a [u8]),
    /// The binding of a link, in the width that the format carries.
    Binding {
        /// SHA-512 of the binding, for formats with 64 bytes.
        report_data: &'a [u8; 64],
        /// SHA-256 of the same input, for TPM quotes.
        qualifying_data: &'a [u8; 32],
    },
}

impl<'a> Expected<'a> {
    /// The bytes that a TPM quote must carry.
    pub(crate) fn qualifying_data(self) -> Option<(&'a [u8], Cause)> {
        match self {
            Self::None => None,
            Self::ReportData(bytes) => Some((bytes, Cause::BindingReportData)),
            Self::Nonce(bytes) => Some((bytes, Cause::BindingNonce)),
            Self::Binding { qualifying_data, .. } => Some((qualifying_data, Cause::BindingNonce)),
        }
    }

    /// The bytes that 64 bytes of report data must begin with; what follows them must be zero.
    pub(crate) fn report_data(self) -> Option<(&'a [u8], Cause)> {
        match self {
            Self::None => None,
            Self::ReportData(bytes) => Some((bytes, Cause::BindingReportData)),
            Self::Nonce(bytes) => Some((bytes, Cause::BindingNonce)),
            Self::Binding { report_data, .. } => Some((report_data, Cause::BindingReportData)),
        }
    }
}

/// Whether the evidence is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Authentic, bound as expected, and what the profile takes.
    Accept,
    /// Not so; the cause says why.
    Reject,
}

/// The answer. Its JSON is what `burgrave evidence verify -o json` prints.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verification {
    /// Whether the evidence is taken.
    pub verdict: Verdict,
    /// Whether signatures, chain, revocation and validity hold, whatever the profile says of the content.
    pub authentic: bool,
    /// What all of this rests on and nobody proved, by the cause that it would be refused for where a proof is demanded
    /// (`ak.unbound`: the key that signed may be anybody's). Empty where nothing is left open. **Who acts on `accept` and
    /// `authentic` alone must demand the proof** ([`TpmProfile::require_bound`](crate::TpmProfile::require_bound)).
    pub unproven: Vec<Cause>,
    /// The first fatal check that failed; absent exactly when the verdict is accept.
    pub cause: Option<Cause>,
    /// The TEE that the part names.
    pub tee: Tee,
    /// What the evidence says; absent where it could not be read. **Believe it only when the verdict is accept.**
    pub claims: Option<Claims>,
    /// The TEE's own fields, decoded; for people and for the log.
    pub raw: Raw,
    /// When the first of all certificates and revocation lists that were used ends: no conclusion may outlive it.
    pub valid_until: Option<Timestamp>,
    /// Every rule and its outcome, in the order in which they were looked at.
    pub checks: Vec<Check>,
    /// The events of the boot event log, where evidence brought one that was held against its registers.
    #[serde(skip_serializing_if = "MeasuredLog::is_empty")]
    pub log: MeasuredLog,
    /// How far the run-time log was replayed, to be kept for the instance in place of what was kept before: also where
    /// this is absent, and also where the evidence was refused (`log.incomplete` goes on from here).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ima: Option<ImaState>,
}

/// What a TEE's module learns on its way.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) claims: Option<Claims>,
    pub(crate) raw: Raw,
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) checks: Checks,
    pub(crate) log: MeasuredLog,
    pub(crate) ima: Option<ImaState>,
}

impl Findings {
    /// Lowers the end of what may be concluded.
    pub(crate) fn ends(&mut self, at: Timestamp) {
        self.valid_until = Some(self.valid_until.map_or(at, |until| until.min(at)));
    }
}

/// Verifies one part of evidence.
pub fn verify(input: &Input<'_>) -> Verification {
    let mut findings = Findings::default();
    let whole = match input.part.tee {
        Tee::Snp => snp::verify(input, &mut findings),
        Tee::Tdx | Tee::Sgx => dcap::verify(input, &mut findings),
        Tee::Nitro => nitro::verify(input, &mut findings),
        Tee::Tpm => tpm::verify(input, &mut findings),
        Tee::AzVtpm => azure::verify(input, &mut findings),
        Tee::Cca => cca::verify(input, &mut findings),
        Tee::Simulated => simulated::verify(input, &mut findings),
        Tee::NvidiaGpu => nvidia::verify(input, &mut findings),
    };
    if whole.is_ok() {
        platform_is_listed(input, &mut findings);
        boot_is_explained(input, &mut findings);
        run_time_is_proved(input, &mut findings);
    }
    let cause = findings.checks.first_cause();
    let accepted = whole.is_ok() && cause.is_none();
    Verification {
        verdict: if accepted { Verdict::Accept } else { Verdict::Reject },
        authentic: whole.is_ok() && findings.checks.unbroken(),
        unproven: findings.checks.unproven(),
        cause,
        tee: input.part.tee,
        claims: findings.claims,
        raw: findings.raw,
        valid_until: findings.valid_until,
        checks: findings.checks.into_vec(),
        log: findings.log,
        ima: findings.ima,
    }
}

/// As [`verify`], for evidence that came whole: a run-time log of more bytes than [`verify`] takes at once is judged piece by
/// piece, up to the one that gives the quoted value.
pub fn verify_whole(input: &Input<'_>) -> Verification {
    let offset = input.part.item(ima::OFFSET_ITEM).unwrap_or(b"0").trim_ascii();
    let pieces = input.part.item(ima::ITEM).filter(|_| offset == b"0").map(ima::pieces).unwrap_or_default();
    let Some((last, pieces)) = pieces.split_last().filter(|(_, before)| !before.is_empty()) else {
        return verify(input);
    };
    let (mut part, mut endorsements) = (input.part.clone(), input.endorsements.clone());
    let mut offset = 0;
    let mut judge = |piece: &[u8], known: Option<ImaState>| {
        part.items.insert(ima::ITEM.to_owned(), piece.to_vec());
        part.items.insert(ima::OFFSET_ITEM.to_owned(), offset.to_string().into_bytes());
        offset += piece.len();
        endorsements.ima = known;
        verify(&Input { part: &part, endorsements: &endorsements, ..*input })
    };
    let mut known = None;
    for piece in pieces {
        let mut verification = judge(piece, known);
        let waits = |check: &Check| check.cause == Cause::LogIncomplete && !check.passed;
        let is_cut = verification.checks.iter().any(waits);
        if is_cut && verification.ima.is_some() {
            known = verification.ima;
            continue;
        }
        // The rest is at hand: that it is waited for is not what refuses.
        verification.checks.retain(|check| !waits(check));
        let failed = verification.checks.iter().find(|check| check.fatal && !check.passed);
        verification.cause = failed.map(|check| check.cause);
        return verification;
    }
    judge(last, known)
}

fn platform_is_listed(input: &Input<'_>, findings: &mut Findings) {
    let listed = &input.endorsements.platforms;
    if listed.is_empty() {
        return;
    }
    let found = findings.claims.as_ref().and_then(|claims| claims.platform_id.as_ref());
    let passed = found.is_some_and(|id| listed.iter().any(|listed| listed.as_slice() == id.as_bytes()));
    findings.checks.fatal(
        ("platform.listed", Cause::PlatformUnlisted, "registration, platforms"),
        passed,
        "a platform that the registration lists",
        found.map_or_else(|| "a platform without a name".to_owned(), ToString::to_string),
    );
}

fn boot_is_explained(input: &Input<'_>, findings: &mut Findings) {
    if !input.profile.boot_log.required {
        return;
    }
    let explained = findings.log.proves_any();
    findings.checks.fatal(
        ("log.present", Cause::LogAbsent, "profile, boot_log.required"),
        explained,
        "a boot event log that explains a register",
        if explained { "such a log" } else { "none" },
    );
}

fn run_time_is_proved(input: &Input<'_>, findings: &mut Findings) {
    if input.profile.run_time.is_none() {
        return;
    }
    let proved = findings.claims.as_ref().is_some_and(|claims| claims.proved.contains(&Proved::Runtime));
    findings.checks.fatal(
        ("run_time.proved", Cause::LogAbsent, "profile, run_time"),
        proved,
        "a run-time log that was replayed and of which everything is allowed",
        if proved { "such a log" } else { "none" },
    );
}

/// What [`inspect`] found: decoded, and believed by nobody.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Inspected {
    /// The TEE that the part names.
    pub tee: Tee,
    /// What the evidence says, unverified. Nobody judged the TCB: its status means nothing here, and is not written down.
    #[serde(serialize_with = "without_status")]
    pub claims: Option<Claims>,
    /// The TEE's own fields.
    pub raw: Raw,
    /// The events of the boot event log, where there is one. `proven` says here that it fits what the evidence says.
    #[serde(skip_serializing_if = "MeasuredLog::is_empty")]
    pub log: MeasuredLog,
}

fn without_status<S: Serializer>(claims: &Option<Claims>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut claims = serde_json::to_value(claims).map_err(S::Error::custom)?;
    if let Some(tcb) = claims.get_mut("tcb").and_then(Value::as_object_mut) {
        tcb.remove("status");
    }
    claims.serialize(serializer)
}

/// Decodes a part without judging it: neither signature nor chain, time or profile are looked at.
///
/// # Errors
/// The rule of the format that was broken, with what was expected and what was found.
pub fn inspect(part: &EvidencePart) -> Result<Inspected, Box<Check>> {
    let mut findings = Findings::default();
    let read = match part.tee {
        Tee::Snp => snp::inspect(part, &mut findings),
        Tee::Tdx | Tee::Sgx => dcap::inspect(part, &mut findings),
        Tee::Nitro => nitro::inspect(part, &mut findings),
        Tee::Tpm => tpm::inspect(part, &mut findings),
        Tee::AzVtpm => azure::inspect(part, &mut findings),
        Tee::Cca => cca::inspect(part, &mut findings),
        Tee::Simulated => simulated::inspect(part, &mut findings),
        Tee::NvidiaGpu => nvidia::inspect(part, &mut findings),
    };
    match read {
        Ok(()) => Ok(Inspected { tee: part.tee, claims: findings.claims, raw: findings.raw, log: findings.log }),
        Err(Stop) => {
            let unnamed = ("format", Cause::FormatMalformed, "the format of its TEE");
            Err(Box::new(findings.checks.into_failure(unnamed)))
        }
    }
}

/// The body of a fuzz target: decodes and verifies arbitrary bytes under every TEE's module, without any trust anchor. Says
/// whether any of it was accepted, which must never be.
pub fn fuzz_verify(bytes: &[u8]) -> bool {
    let items = match burgrave_types::Evidence::decode(bytes) {
        Ok(evidence) => evidence.lead.items,
        Err(_) => [
            "report.bin",
            "vcek.der",
            "quote.msg",
            "quote.sig",
            "ak.pub",
            "pcrs.json",
            "document.cose",
            "token.cbor",
            "chain.pem",
            "simulated.json",
            "quote.bin",
            "collateral.json",
            "hcl-report.bin",
            "pcrs-sha256.json",
            "eventlog.bin",
            "ccel.bin",
            "ima.bin",
        ]
        .map(|name| (name.to_owned(), bytes.to_vec()))
        .into(),
    };
    let (endorsements, profile, roots) = (Endorsements::default(), Profile::default(), Roots::none());
    let accepted = |tee: &Tee| {
        let part = EvidencePart { tee: *tee, items: items.clone() };
        let inspected = inspect(&part);
        let verification = verify(&Input {
            part: &part,
            endorsements: &endorsements,
            roots: &roots,
            profile: &profile,
            expected: Expected::Nonce(&[0; 32]),
            at: Timestamp::from_unix_secs(1_800_000_000),
        });
        inspected.is_ok_and(|_| verification.verdict == Verdict::Accept)
    };
    Tee::ALL.iter().filter(|tee| accepted(tee)).count() > 0
}
