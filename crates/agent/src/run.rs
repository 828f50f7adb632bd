//! The agent's life: connect, attest, keep the link, begin again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use burgrave_protocol::message::MessageError;
use burgrave_protocol::wire::{self, push};
use burgrave_types::{InstanceId, Problem, ProblemCode, Random, Revision};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::attestation::Admission;
use crate::connect::{Connected, Dial};
use crate::link::Event;
use crate::shared::Shared;
use crate::status::{AgentState, Notice};

/// The bound of the random wait before the second try, and the largest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After how long a link counts as stable, so that the waits begin anew.
const STABLE: Duration = Duration::from_secs(60);

/// How often the agent looks whether the deadline of its attestation has passed.
const LOOK_AT_DEADLINE: Duration = Duration::from_secs(2);

/// The cause with which a node refuses to renew what it does not know.
const NO_RENEWAL: &str = "renewal.mismatch";

/// The cause with which a node wants the rest of the run-time log.
pub(crate) const LOG_INCOMPLETE: &str = "log.incomplete";
/// The cause with which a node wants the run-time log from its start.
const LOG_GAP: &str = "log.gap";
/// Parts of a run-time log, at most; a part has up to 2 MiB.
const LOG_PARTS: usize = 64;

/// Keeps a link until the access is revoked; never returns before.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut bound = FIRST_WAIT;
    let mut next = below(&*shared.random, shared.nodes.len());
    loop {
        let started = Instant::now();
        let Some(address) = shared.nodes.get(next % shared.nodes.len().max(1)).cloned() else { return };
        next = next.wrapping_add(1);
        let dial = Dial {
            genesis: shared.genesis,
            clock: Arc::clone(&shared.clock),
            credential: shared.identity.link_credential(shared.clock.now()),
            revision: shared.status().revision,
        };
        let problem = match dial.connect(&address).await {
            Ok((connected, events)) => shared.serve(&connected, events).await,
            Err(problem) => problem,
        };
        tracing::info!(node = %address, %problem, "no link");
        shared.unlinked(&problem);
        if problem.code == ProblemCode::Revoked {
            return;
        }
        if started.elapsed() >= STABLE {
            bound = FIRST_WAIT;
        }
        tokio::time::sleep(jitter(&*shared.random, bound)).await;
        bound = (bound * 2).min(LONGEST_WAIT);
    }
}

impl Shared {
    /// Attests where that is needed and answers what the node pushes, until the link ends; why it did.
    async fn serve(self: &Arc<Self>, connected: &Connected, events: mpsc::Receiver<Event>) -> Problem {
        let served = self.keep(connected, events).await;
        connected.link.leave(served.clone());
        served
    }

    async fn keep(self: &Arc<Self>, connected: &Connected, mut events: mpsc::Receiver<Event>) -> Problem {
        self.change(|status| {
            status.state = AgentState::Attesting;
            status.node = connected.node.spiffe_id.node_id();
        });
        if let Err(problem) = self.begin(connected).await {
            return problem;
        }
        // Evidence may take long, and what comes meanwhile is not kept waiting: but for a further challenge, the last of which
        // is answered then.
        let mut attesting: Option<Attesting<'_>> = None;
        let mut challenge = None;
        loop {
            let handled = tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Open(offer, channel)) => {
                        self.offered(connected.trust.clone(), offer, channel);
                        Ok(())
                    }
                    Some(Event::Push(wire::Push { notice: Some(push::Notice::Reattest(another)) })) => {
                        challenge = Some(another);
                        Ok(())
                    }
                    Some(Event::Push(push)) => self.pushed(push),
                    None => Err(connected.link.why()),
                },
                attested = end_of(&mut attesting) => {
                    attesting = None;
                    attested
                }
                () = tokio::time::sleep(LOOK_AT_DEADLINE), if attesting.is_none() => {
                    attesting = self.is_past_deadline().then(|| Box::pin(self.attest_anew(connected)) as Attesting<'_>);
                    Ok(())
                }
            };
            if let Err(problem) = handled {
                return problem;
            }
            if attesting.is_none() {
                attesting =
                    challenge.take().map(|challenge| Box::pin(self.renew(connected, challenge)) as Attesting<'_>);
            }
        }
    }

    /// Whether the deadline has passed without the node asking: it may be that this machine was asleep.
    fn is_past_deadline(&self) -> bool {
        self.status().until.is_some_and(|until| self.clock.now() >= until)
    }

    async fn attest_anew(&self, connected: &Connected) -> Result<(), Problem> {
        self.change(|status| status.state = AgentState::Attesting);
        let admission = self.attest(connected).await?;
        self.admitted(connected, admission)
    }

    /// Takes up the standing that the node resumed, or attests.
    async fn begin(&self, connected: &Connected) -> Result<(), Problem> {
        let broken = |error: MessageError| Problem::new(ProblemCode::Protocol, error.to_string());
        self.attestation(connected).begin().await?;
        let ack = &connected.ack;
        // A node of an earlier release says it only with an instance; then the answer to the attestation does.
        if ack.revision != 0 || !ack.instance.is_empty() {
            self.check_revision(ack.revision)?;
        }
        if ack.instance.is_empty() {
            let admission = match self.attest(connected).await {
                // The node does not know the instance that would be renewed: this is a new one.
                Err(problem) if problem.cause.as_deref() == Some(NO_RENEWAL) => {
                    self.identity.forget();
                    self.attest(connected).await
                }
                other => other,
            };
            return self.admitted(connected, admission?);
        }
        let instance = InstanceId::from_bytes(wire::fixed("instance id", &ack.instance).map_err(broken)?);
        if self.identity.instance() != Some(instance) {
            return Err(Problem::new(ProblemCode::Protocol, "the node resumed another instance than this one"));
        }
        self.linked(connected, wire::time(ack.until), Duration::from_millis(ack.interval), ack.revision);
        Ok(())
    }

    async fn attest(&self, connected: &Connected) -> Result<Admission, Problem> {
        let challenge = self.attestation(connected).challenge().await?;
        self.answer(connected, challenge).await
    }

    /// Answers a challenge, and the next ones for as long as the node wants more of the run-time log, or all of it once.
    async fn answer(&self, connected: &Connected, mut challenge: wire::Challenge) -> Result<Admission, Problem> {
        let attestation = self.attestation(connected);
        let mut begun_anew = false;
        for _ in 0..LOG_PARTS {
            let problem = match attestation.answer(challenge).await {
                Ok(admission) => return Ok(admission),
                Err(problem) => problem,
            };
            match problem.cause.as_deref() {
                Some(LOG_INCOMPLETE) => {}
                Some(LOG_GAP) if !begun_anew => begun_anew = true,
                _ => return Err(problem),
            }
            challenge = attestation.challenge().await?;
        }
        let detail =
            format!("the run-time log has more than {LOG_PARTS} parts; the node took none of them as the last");
        Err(Problem::new(ProblemCode::Limit, detail)
            .with_fix("measure less (`ima_policy`), or restart the machine more often"))
    }

    /// Answers a challenge that the node pushed.
    async fn renew(&self, connected: &Connected, challenge: wire::Challenge) -> Result<(), Problem> {
        match self.answer(connected, challenge).await {
            Ok(admission) => self.admitted(connected, admission),
            // The end, or a node that lies.
            Err(problem) if matches!(problem.code, ProblemCode::Revoked | ProblemCode::Protocol) => Err(problem),
            Err(problem) => {
                // The standing holds until its deadline; the node asks again before.
                tracing::warn!(%problem, "attesting again failed");
                self.change(|status| status.problem = Some(problem));
                Ok(())
            }
        }
    }

    fn pushed(&self, push: wire::Push) -> Result<(), Problem> {
        match push.notice {
            Some(push::Notice::Revision(notice)) => {
                let lost = notice
                    .lost
                    .iter()
                    .filter_map(|lost| Some((lost.operation.parse().ok()?, lost.resource.parse().ok()?)));
                let (revision, lost) = (Revision(notice.revision), lost.collect::<Vec<_>>());
                self.change(|status| status.revision = status.revision.max(revision));
                if !lost.is_empty() {
                    self.tell(Notice::Lost { revision, lost });
                }
            }
            Some(push::Notice::KeyVersion(changed)) => {
                if let Ok(resource) = changed.resource.parse() {
                    self.tell(Notice::KeyVersion { resource, version: changed.version });
                }
            }
            Some(push::Notice::Revoked(reason)) => {
                let mut reason = Problem::from(reason);
                reason.code = ProblemCode::Revoked;
                return Err(reason);
            }
            // A challenge is for whoever holds the link.
            Some(push::Notice::Reattest(_)) | None => {}
        }
        Ok(())
    }

    fn admitted(&self, connected: &Connected, admission: Admission) -> Result<(), Problem> {
        self.check_revision(admission.revision)?;
        self.change(|status| {
            status.instance = Some(admission.instance);
            status.spiffe_id = Some(admission.spiffe_id);
            status.attestation_result = Some(admission.result);
            status.attestations += 1;
        });
        self.linked(connected, admission.until, admission.interval, admission.revision);
        Ok(())
    }

    /// Refuses a node that is behind what this agent was told before.
    fn check_revision(&self, revision: u64) -> Result<(), Problem> {
        let seen = self.status().revision;
        if Revision(revision) >= seen {
            return Ok(());
        }
        let detail = format!("the node is at revision {revision}, and this agent was told of revision {seen} before");
        Err(Problem::new(ProblemCode::Unavailable, detail).with_fix("the node's operator checks its store"))
    }
}

/// An attestation on its way.
type Attesting<'a> = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send + 'a>>;

/// Done when the attestation on its way is; never where there is none.
async fn end_of(attesting: &mut Option<Attesting<'_>>) -> Result<(), Problem> {
    match attesting {
        Some(attesting) => attesting.await,
        None => std::future::pending().await,
    }
}

/// A random wait between nothing and `bound`, so that many agents do not come back at once.
fn jitter(random: &dyn Random, bound: Duration) -> Duration {
    bound.mul_f64(f64::from(below(random, 10_001) as u32) / 10_000.0)
}

fn below(random: &dyn Random, bound: usize) -> usize {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_be_bytes(bytes) as usize % bound.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU32);

    impl Random for Counting {
        fn fill(&self, out: &mut [u8]) {
            let number = self.0.fetch_add(0x0101_0101, std::sync::atomic::Ordering::Relaxed);
            for (byte, value) in out.iter_mut().zip(number.to_be_bytes().into_iter().cycle()) {
                *byte = value;
            }
        }
    }

    #[test]
    fn waits_spread_over_their_whole_range_and_never_exceed_it() {
        let random = Counting(std::sync::atomic::AtomicU32::new(0));
        let waits: Vec<_> = (0..1000).map(|_| jitter(&random, LONGEST_WAIT)).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT));
        for tenth in 0..10 {
            let (from, to) = (LONGEST_WAIT * tenth / 10, LONGEST_WAIT * (tenth + 1) / 10);
            assert!(waits.iter().any(|wait| (from..=to).contains(wait)), "none between {from:?} and {to:?}");
        }
    }
}
