//! What an agent's handle and its task share: how it stands, and the link to ask over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use burgrave_attester::Attester;
use burgrave_channel::AcceptedIds;
use burgrave_identity::DomainTrust;
use burgrave_types::{Clock, EnclaveName, GenesisHash, Problem, ProblemCode, Random, Revision, Timestamp};
use tokio::sync::{broadcast, mpsc, watch};

use crate::agent::AgentConfig;
use crate::attestation::Attestation;
use crate::channel::ChannelStream;
use crate::connect::Connected;
use crate::identity::Identity;
use crate::link::Link;
use crate::offer::WAITING;
use crate::status::{AgentState, Notice, Status};
use crate::{NodeAddress, lock};

/// Channel ids that are remembered so that none is accepted twice.
const REMEMBERED: usize = 65_536;
/// Notices that a slow subscriber may be behind.
const NOTICES: usize = 256;

/// What the handle and the task share.
pub(crate) struct Shared {
    pub(crate) nodes: Vec<NodeAddress>,
    pub(crate) genesis: GenesisHash,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) identity: Identity,
    enclave: EnclaveName,
    attester: Arc<Mutex<Box<dyn Attester>>>,
    status: watch::Sender<Status>,
    link: Mutex<Option<Attested>>,
    pub(crate) accepted: Mutex<AcceptedIds>,
    pub(crate) incoming: mpsc::Sender<ChannelStream>,
    notices: broadcast::Sender<Notice>,
}

/// A link over which this instance is attested.
#[derive(Clone)]
pub(crate) struct Attested {
    pub(crate) link: Arc<Link>,
    pub(crate) trust: DomainTrust,
    until: Timestamp,
}

impl Shared {
    /// The beginning: no link, no standing. With it, where the channels come out that peers open.
    pub(crate) fn new(
        config: AgentConfig,
        identity: Identity,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> (Arc<Self>, mpsc::Receiver<ChannelStream>) {
        let status = Status {
            state: AgentState::Connecting,
            enclave: config.enclave.clone(),
            genesis: config.genesis,
            node: None,
            instance: None,
            spiffe_id: None,
            until: None,
            interval: None,
            attestation_result: None,
            revision: Revision(0),
            attestations: 0,
            problem: None,
        };
        let (sender, incoming) = mpsc::channel(WAITING);
        let shared = Arc::new(Self {
            nodes: config.nodes,
            genesis: config.genesis,
            clock,
            random,
            identity,
            enclave: config.enclave,
            attester: Arc::new(Mutex::new(config.attester)),
            status: watch::Sender::new(status),
            link: Mutex::new(None),
            accepted: Mutex::new(AcceptedIds::new(REMEMBERED)),
            incoming: sender,
            notices: broadcast::Sender::new(NOTICES),
        });
        (shared, incoming)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    pub(crate) fn tell(&self, notice: Notice) {
        // Without a subscriber there is nobody to tell.
        let _ = self.notices.send(notice);
    }

    pub(crate) fn attestation<'a>(&'a self, connected: &'a Connected) -> Attestation<'a> {
        connected.attestation(self.genesis, &self.enclave, &self.identity, &self.attester, self.clock.now())
    }

    /// The standing is live, over this link.
    pub(crate) fn linked(&self, connected: &Connected, until: Timestamp, interval: Duration, revision: u64) {
        let (link, trust) = (Arc::clone(&connected.link), connected.trust.clone());
        *lock(&self.link) = Some(Attested { link, trust, until });
        self.change(|status| {
            status.state = AgentState::Attested;
            status.until = Some(until);
            status.interval = Some(interval);
            status.revision = status.revision.max(Revision(revision));
            status.problem = None;
        });
    }

    /// There is no link any more, and this is why.
    pub(crate) fn unlinked(&self, problem: &Problem) {
        *lock(&self.link) = None;
        let revoked = problem.code == ProblemCode::Revoked;
        if revoked {
            self.identity.forget();
            self.tell(Notice::Revoked(problem.clone()));
        }
        self.change(|status| {
            status.state = if revoked { AgentState::Revoked } else { AgentState::Connecting };
            status.node = None;
            status.problem = Some(problem.clone());
        });
    }

    /// Ends the link as if the network had failed.
    pub(crate) fn drop_link(&self) {
        let attested = lock(&self.link).clone();
        if let Some(attested) = attested {
            attested.link.end(Problem::new(ProblemCode::Unavailable, "the link was dropped"));
        }
    }

    /// Ends the link, for good.
    pub(crate) fn stop(&self) {
        let attested = lock(&self.link).take();
        if let Some(attested) = attested {
            attested.link.leave(stopped());
        }
        self.change(|status| {
            status.state = AgentState::Stopped;
            status.problem = Some(stopped());
        });
    }

    /// The link to ask over: only while this instance is attested.
    pub(crate) fn attested(&self) -> Result<Attested, Problem> {
        let Some(attested) = lock(&self.link).clone() else { return Err(self.why_not()) };
        let now = self.clock.now();
        if now >= attested.until {
            let detail = format!("the attestation ran out at {}, and it is {now}", attested.until);
            return Err(
                Problem::new(ProblemCode::Stale, detail).with_fix("the agent attests again by itself; try again")
            );
        }
        Ok(attested)
    }

    /// Why there is no link to ask over.
    pub(crate) fn why_not(&self) -> Problem {
        let status = self.status();
        match (status.problem, status.state) {
            (Some(problem), AgentState::Connecting) if !is_refusal(&problem) => {
                Problem::new(ProblemCode::Unavailable, format!("there is no link to a node: {}", problem.detail))
                    .with_fix(problem.fix.unwrap_or_else(|| "the agent connects again by itself; try again".to_owned()))
            }
            (Some(problem), _) => problem,
            (None, AgentState::Stopped) => stopped(),
            (None, AgentState::Connecting) => Problem::new(ProblemCode::Unavailable, "there is no link to a node yet")
                .with_fix("wait until the agent is attested"),
            (None, _) => Problem::new(ProblemCode::NotAttested, "this instance is not attested yet")
                .with_fix("wait until the agent is attested"),
        }
    }
}

/// Whether a problem is the node's word on this instance, or this agent's on the node, rather than a failure to talk.
pub(crate) fn is_refusal(problem: &Problem) -> bool {
    matches!(
        problem.code,
        ProblemCode::AttestationRejected
            | ProblemCode::PolicyDenied
            | ProblemCode::Revoked
            | ProblemCode::WrongDomain
            | ProblemCode::Unauthenticated
    )
}

/// The agent is at its end.
pub(crate) fn stopped() -> Problem {
    Problem::new(ProblemCode::Unavailable, "the agent was stopped")
}
