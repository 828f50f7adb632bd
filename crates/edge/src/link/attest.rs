//! Attesting over a connection, and how often who is nobody yet may try.
//!
//! A refused attestation costs the node a verification and a line in the audit log. So a connection that is not attested may
//! have few of them refused, and has few under way at a time; then it ends, and whoever made it pays for a new handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burgrave_control::{AttestRequest, AttestStep, Attested, Challenge};
use burgrave_protocol::wire;
use burgrave_types::{Evidence, InstanceId, Problem, ProblemCode};
use zeroize::Zeroizing;

use super::requests::{Shared, enclave, unreadable};

/// Attestations that a connection which is not attested may have under way or refused, together.
const ATTEMPTS: usize = 3;

/// What a connection tried before it was attested.
#[derive(Default)]
pub(super) struct Attempts {
    /// Under way or refused.
    begun: AtomicUsize,
    refused: AtomicUsize,
}

/// A step of an attestation.
pub(super) enum Attesting {
    /// Evidence for a challenge.
    Evidence(wire::Attest),
    /// What the TPM gave out.
    Activation(wire::Activate),
}

impl Attempts {
    /// One more is under way.
    ///
    /// # Errors
    /// Where there are as many as may be.
    fn begin(&self) -> Result<(), Problem> {
        if self.begun.fetch_add(1, Ordering::SeqCst) < ATTEMPTS {
            return Ok(());
        }
        self.begun.fetch_sub(1, Ordering::SeqCst);
        let detail =
            format!("{ATTEMPTS} attestations are under way on this connection or were refused, which is the limit");
        Err(Problem::new(ProblemCode::Limit, detail).with_fix("wait for answers first"))
    }

    /// One is over. Gives why the connection must end, where it must.
    fn end(&self, outcome: Result<(), &Problem>) -> Option<Problem> {
        if outcome.err().is_none_or(|problem| !is_refusal(problem)) {
            self.begun.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let refused = self.refused.fetch_add(1, Ordering::SeqCst) + 1;
        (refused >= ATTEMPTS).then(|| {
            let detail = format!("{refused} attestations were refused on this connection, as many as may be");
            Problem::new(ProblemCode::Limit, detail).with_fix("set right what the refusals name, then connect again")
        })
    }
}

/// Whether a problem is the caller's rather than the node's own. A log that comes in parts is neither: only a machine whose
/// quote holds, and which the registration lists, is asked for the rest.
fn is_refusal(problem: &Problem) -> bool {
    !matches!(problem.code, ProblemCode::Unavailable | ProblemCode::Internal)
        && problem.cause.as_deref() != Some("log.incomplete")
}

impl Shared {
    /// Takes a step of an attestation, in a task of its own.
    pub(super) fn attest(self: &Arc<Self>, stream: u32, step: Attesting) {
        let stranger = self.instance().is_none();
        if stranger && let Err(problem) = self.attempts.begin() {
            return self.answer(stream, Err(problem));
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = shared.step(step).await;
            let last = match &outcome {
                _ if !stranger => None,
                Ok(_) => shared.attempts.end(Ok(())),
                Err(problem) => shared.attempts.end(Err(problem)),
            };
            shared.answer(stream, outcome);
            if let Some(reason) = last.filter(|_| shared.instance().is_none()) {
                tracing::info!(%reason, "a stranger's link is ended");
                shared.link.end(&reason);
            }
        });
    }

    async fn step(&self, step: Attesting) -> Result<wire::Response, Problem> {
        let control = &self.server.control;
        match step {
            Attesting::Evidence(request) => match control.attest(self.attest_request(request)?).await? {
                AttestStep::Attested(attested) => self.admitted(*attested),
                AttestStep::Activate(activation) => Ok(wire::Activation {
                    id_object: activation.id_object,
                    encrypted_secret: activation.encrypted_secret,
                    ticket: activation.ticket,
                }
                .into()),
            },
            Attesting::Activation(request) => {
                let secret = Zeroizing::new(request.secret);
                let attested = control.activate(&request.ticket, &secret, &self.binding).await?;
                self.admitted(attested)
            }
        }
    }

    fn attest_request(&self, request: wire::Attest) -> Result<AttestRequest, Problem> {
        let renews = match request.renews.as_slice() {
            [] => None,
            id => Some(InstanceId::from_bytes(wire::fixed("instance id", id).map_err(unreadable)?)),
        };
        let evidence = Evidence::decode(&request.evidence)
            .map_err(|error| self.server.control.unreadable_evidence(&error, &self.binding))?;
        Ok(AttestRequest {
            enclave: enclave(&request.enclave)?,
            nonce: request.nonce,
            sealing_key: wire::fixed("sealing key", &request.sealing_key).map_err(unreadable)?,
            evidence,
            link: self.binding.clone(),
            renews,
        })
    }

    fn admitted(&self, attested: Attested) -> Result<wire::Response, Problem> {
        self.attested(attested.instance)?;
        Ok(wire::Attested {
            instance: attested.instance.as_bytes().to_vec(),
            svid: attested.svid_chain,
            result: attested.attestation_result,
            until: attested.until.unix_millis(),
            interval: millis(attested.interval),
            sealed_instance_key: attested.sealed_instance_key.unwrap_or_default(),
            revision: attested.revision.0,
        }
        .into())
    }
}

/// A challenge as it is told.
pub(super) fn challenge(challenge: Challenge) -> wire::Challenge {
    wire::Challenge { nonce: challenge.nonce, expires: challenge.expires.unix_millis(), pcrs: challenge.pcrs }
}

/// A duration as it is told.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
