//! What a registration must be, and what an update must rest on.

use burgrave_types::problem::InputError;
use burgrave_types::{DomainClass, KeyIdentity, Problem, ProblemCode, ReleaseState, Revision, Tee, Timestamp};

use super::demands;
use crate::records::EnclaveRecord;
use crate::{NewEnclave, NewRelease};

/// How often an enclave may be asked to attest, in seconds.
const INTERVAL_SECS: std::ops::RangeInclusive<u64> = 2..=86_400;

/// Events of a release's log, at most. A machine boots with some hundred.
const MOST_EVENTS: usize = 4096;

/// Checks that an update is based on the record as it stands.
pub(crate) fn if_match(what: &str, stands_at: Revision, based_on: Option<Revision>) -> Result<(), Problem> {
    match based_on {
        Some(revision) if revision == stands_at => Ok(()),
        Some(revision) => Err(Problem::new(
            ProblemCode::Conflict,
            format!("{what} is at revision {stands_at}, the change is based on {revision}"),
        )
        .with_fix("read it again and repeat the change")),
        None => Err(Problem::new(
            ProblemCode::PreconditionRequired,
            format!("a change of {what} must say which revision it is based on"),
        )
        .with_fix(format!("send `If-Match: {stands_at}` after reading it"))),
    }
}

/// Checks a registration as a whole; all faults are told at once.
pub(crate) fn enclave(new: &NewEnclave, class: DomainClass, now: Timestamp) -> Result<(), Problem> {
    let mut faults = Faults::default();
    faults.check(new.name.namespace().as_str() != burgrave_types::SpiffeId::RESERVED, "/name", || {
        format!("the namespace `{}` is kept for nodes and administrators", new.name.namespace())
    });
    faults.check(new.tee != Tee::Simulated || class == DomainClass::Dev, "/tee", || {
        "a production domain takes no simulated enclaves: anybody can make their evidence".to_owned()
    });
    faults.check(!matches!(new.tee, Tee::NvidiaGpu), "/tee", || {
        "a GPU is a part beside a CPU's TEE, not an enclave".to_owned()
    });
    // Who signed an Azure machine's paravisor is not who signed the code.
    let signer_proven = new.tee.proves_signer() && new.tee != Tee::AzVtpm;
    faults.check(new.key_identity != KeyIdentity::Signer || signer_proven, "/key_identity", || {
        format!("no hardware proves the signer of a `{}` enclave; use `name` or `measurement`", new.tee)
    });
    interval(&mut faults, new.reattest_every_secs);
    ek_digests(&mut faults, new.tee, &new.tpm_ek_digests);
    demands::check(&mut faults, "/requirements", new.tee, class, &new.requirements);
    for (index, release) in new.releases.iter().enumerate() {
        self::release(&mut faults, &format!("/releases/{index}"), (new.tee, new.key_identity), release, now);
        let twice = new.releases.iter().take(index).any(|other| other.name == release.name);
        faults.check(!twice, &format!("/releases/{index}/name"), || format!("`{}` stands there twice", release.name));
    }
    faults.finish("the enclave cannot be registered so")
}

/// Checks a release that is added.
pub(crate) fn new_release(enclave: &EnclaveRecord, new: &NewRelease, now: Timestamp) -> Result<(), Problem> {
    let mut faults = Faults::default();
    release(&mut faults, "", (enclave.tee, enclave.key_identity), new, now);
    faults.finish("the release cannot be added so")
}

/// Checks the end of a release whose life goes on.
pub(crate) fn release_end(until: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    let mut faults = Faults::default();
    end(&mut faults, "", until, now);
    faults.finish("the release cannot be changed so")
}

/// Checks a new interval, a new list of endorsement keys, new requirements.
pub(crate) fn change(tee: Tee, class: DomainClass, change: &crate::EnclaveChange) -> Result<(), Problem> {
    let mut faults = Faults::default();
    if let Some(secs) = change.reattest_every_secs {
        interval(&mut faults, secs);
    }
    if let Some(digests) = &change.tpm_ek_digests {
        ek_digests(&mut faults, tee, digests);
    }
    if let Some(requirements) = &change.requirements {
        demands::check(&mut faults, "/requirements", tee, class, requirements);
    }
    faults.finish("the enclave cannot be changed so")
}

fn interval(faults: &mut Faults, secs: u64) {
    faults.check(INTERVAL_SECS.contains(&secs), "/reattest_every_secs", || {
        format!("expected {} to {} seconds, found {secs}", INTERVAL_SECS.start(), INTERVAL_SECS.end())
    });
}

fn ek_digests(faults: &mut Faults, tee: Tee, digests: &[burgrave_types::claims::HexBytes]) {
    faults.check(tee != Tee::Tpm || !digests.is_empty(), "/tpm_ek_digests", || {
        "a TPM enclave lists the endorsement keys it runs on: a vendor's chain proves a genuine TPM, not whose it is"
            .to_owned()
    });
    faults.check(tee == Tee::Tpm || digests.is_empty(), "/tpm_ek_digests", || {
        format!("only a TPM has an endorsement key, the enclave's TEE is `{tee}`")
    });
    faults.check(digests.iter().all(|digest| digest.as_bytes().len() == 32), "/tpm_ek_digests", || {
        "expected SHA-256 digests: 64 hexadecimal digits each".to_owned()
    });
}

/// A release that is over before it begins takes nothing, and looks as if it did.
fn end(faults: &mut Faults, at: &str, until: Option<Timestamp>, now: Timestamp) {
    let found = until.map_or_else(String::new, |until| until.to_string());
    faults.check(until.is_none_or(|until| now < until), &format!("{at}/valid_until"), || {
        format!(
            "it would be over already: expected an end after {now}, found {found}; give a later one or none (`--valid-until`, \
             `--until`), or end what runs with `burgrave enclave revoke … --release …`"
        )
    });
}

fn release(faults: &mut Faults, at: &str, (tee, identity): (Tee, KeyIdentity), release: &NewRelease, now: Timestamp) {
    end(faults, at, release.valid_until, now);
    let reference = &release.reference;
    faults.check(reference.tee == tee, &format!("{at}/reference/tee"), || {
        format!("the release is for `{}`, the enclave's TEE is `{tee}`", reference.tee)
    });
    faults.check(reference.names_code(), &format!("{at}/reference"), || unnamed(tee).to_owned());
    faults.check(
        identity != KeyIdentity::Signer || reference.signer.is_some(),
        &format!("{at}/reference/signer"),
        || "the enclave's keys are derived from its signer, so each release names one".to_owned(),
    );
    faults.check(reference.signer.is_none() || tee.proves_signer(), &format!("{at}/reference/signer"), || {
        format!("no hardware proves the signer of a `{tee}` enclave; name its measurement instead")
    });
    let events = release.log.values().map(Vec::len).sum::<usize>();
    faults.check(events <= MOST_EVENTS, &format!("{at}/log"), || {
        format!("expected at most {MOST_EVENTS} events, found {events}")
    });
    faults.check(release.state != ReleaseState::Revoked, &format!("{at}/state"), || {
        "a release does not begin revoked".to_owned()
    });
}

/// What a reference value lacks that names no code, and what to do.
fn unnamed(tee: Tee) -> &'static str {
    match tee {
        Tee::Tpm => {
            "it would let in any code: a TPM measures into PCRs, so name one at least, e.g. `--register pcr4=…`"
        }
        Tee::Simulated | Tee::NvidiaGpu => "it says nothing of what was launched, and so would let in any code",
        Tee::AzVtpm => {
            "it would let in any code: whoever runs such hardware can start a paravisor of his own, which says what it likes of \
             the PCRs; name the paravisor too (`--measurement`, or `--signer`)"
        }
        Tee::Snp | Tee::Sgx | Tee::Nitro => {
            "it would let in any code: whoever starts an enclave chooses its configuration and what it extends registers by; name \
             what is launched too (`--measurement`, or `--signer` with `--min-svn`)"
        }
        Tee::Tdx | Tee::Cca => {
            "it would let in any code: whoever starts a guest chooses its configuration, and code of his own can extend the registers \
             by the digests of a good boot; name what is launched too (`--measurement`)"
        }
    }
}

/// Faults in an input, collected.
#[derive(Default)]
pub(super) struct Faults(Vec<InputError>);

impl Faults {
    pub(super) fn check(&mut self, holds: bool, at: &str, reason: impl FnOnce() -> String) {
        if !holds {
            self.0.push(InputError { at: at.to_owned(), reason: reason() });
        }
    }

    fn finish(self, what: &str) -> Result<(), Problem> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let detail = format!("{what}: {}: {}", first.at, first.reason);
        Err(Problem::new(ProblemCode::RequestInvalid, detail)
            .with_fix("correct what stands in `errors`, all of which was found, and send it again")
            .with_errors(self.0))
    }
}
