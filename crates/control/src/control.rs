//! The one object that edges hold.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use burgrave_audit::AuditSink;
use burgrave_identity::DomainTrust;
use burgrave_keyring::{Keyring, KeyringError};
use burgrave_ledger::{Fence, Ledger};
use burgrave_types::{Clock, DomainClass, InstanceId, NodeId, Problem, ProblemCode, Random, Revision, Timestamp};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::attestation::RunTimeLogs;
use crate::challenge::Challenger;
use crate::channels::ChannelTable;
use crate::decisions::Decisions;
use crate::endorser::Endorser;
use crate::feed::Cuts;
use crate::signer::{Signer, longest_result};
use crate::view::{View, ViewError};
use crate::{Event, LinkDirectory};

/// What a node's services are made of.
pub struct Parts {
    /// The node.
    pub node: NodeId,
    /// The domain's records. Within a tokio runtime.
    pub ledger: Arc<Ledger>,
    /// The domain's keys.
    pub keyring: Arc<Keyring>,
    /// The domain.
    pub trust: DomainTrust,
    /// Where events go.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// What evidence is verified against.
    pub endorser: Endorser,
}

/// Why the services could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger does not serve.
    #[error("the ledger does not serve: {0}")]
    Ledger(#[from] Fence),
    /// The records do not make a view.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The keys do not serve.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The node's signing certificate could not be issued.
    #[error("the node's signing certificate could not be issued: {0}")]
    Signer(#[from] burgrave_identity::IdentityError),
    /// The ledger is another domain's.
    #[error("the ledger is that of the domain {ledger}, the node's certificates are of {trust}")]
    OtherDomain {
        /// The ledger's.
        ledger: burgrave_types::GenesisHash,
        /// The certificates'.
        trust: burgrave_types::GenesisHash,
    },
    /// The feed of a ledger did not begin with its state.
    #[error("the ledger's feed did not begin with its records; this is a fault of the program")]
    Feed,
}

/// The services of a node. Cheap to share (`Arc`), safe to call from any task.
///
/// Methods for agents take the instance that the edge knows from the link's TLS handshake; methods for administrators
/// take the [`crate::AdminIdentity`] that the edge authenticated, and ask the policy engine whether they may.
pub struct Control {
    parts: Parts,
    view: ArcSwap<View>,
    pub(crate) applied: watch::Sender<Revision>,
    pub(crate) cuts: Cuts,
    /// Why nothing is served any more, once that is so.
    fault: ArcSwapOption<String>,
    challenger: Challenger,
    run_time_logs: RunTimeLogs,
    decisions: Decisions,
    channels: ChannelTable,
    refusals: crate::refusals::Refusals,
    links: OnceLock<Arc<dyn LinkDirectory>>,
    events: broadcast::Sender<Event>,
    signer: ArcSwap<Signer>,
    started: Timestamp,
    /// The latest time that was told, in milliseconds: none is told that is before it.
    latest: AtomicI64,
    /// Changes whose events could not be written yet.
    pub(crate) unrecorded: Mutex<VecDeque<burgrave_audit::Event>>,
    /// Whether policies changed since released keys were last held against them.
    pub(crate) policies_changed: AtomicBool,
    /// One change at a time is prepared: those of one node do not compete.
    pub(crate) writer: tokio::sync::Mutex<crate::commit::Turn>,
    follower: OnceLock<JoinHandle<()>>,
}

impl Control {
    /// Events that a slow watcher may be behind.
    const EVENTS: usize = 1024;

    /// Builds the view from the ledger and follows it from then on. Changes nothing.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// Side effects: an HSM signature for the node's signing certificate.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, StartError> {
        let (ledger, trust) = (parts.ledger.genesis().hash(), parts.trust.genesis_hash());
        if ledger != trust {
            return Err(StartError::OtherDomain { ledger, trust });
        }
        let mut feed = parts.ledger.subscribe();
        let view = crate::feed::first_view(feed.next().await?, parts.ledger.time())?;
        if let Some(floors) = &view.collateral_floors {
            parts.endorser.store().raise(&floors.record.floors);
        }
        let key = parts.keyring.challenge_key().await?;
        let signer = {
            let now = parts.clock.now().max(view.time);
            Signer::issue(&parts, now, longest_result(&view)).await?
        };
        let control = Arc::new(Self {
            applied: watch::Sender::new(view.revision),
            view: ArcSwap::from_pointee(view),
            cuts: Cuts::default(),
            fault: ArcSwapOption::empty(),
            challenger: Challenger::new(&key, parts.node),
            run_time_logs: RunTimeLogs::default(),
            decisions: Decisions::default(),
            channels: ChannelTable::default(),
            refusals: crate::refusals::Refusals::default(),
            links: OnceLock::new(),
            events: broadcast::Sender::new(Self::EVENTS),
            signer: ArcSwap::from_pointee(signer),
            started: parts.clock.now().max(parts.ledger.time()),
            latest: AtomicI64::new(i64::MIN),
            unrecorded: Mutex::default(),
            // A process that ended between a change and what follows from it left that to be done.
            policies_changed: AtomicBool::new(true),
            writer: tokio::sync::Mutex::default(),
            follower: OnceLock::new(),
            parts,
        });
        let follower = tokio::spawn(crate::feed::follow(Arc::downgrade(&control), feed));
        // Nothing else sets it.
        let _ = control.follower.set(follower);
        Ok(control)
    }

    /// Gives the edge's directory of links; once, before the first link is accepted. Until then no instance counts as linked.
    pub fn set_links(&self, links: Arc<dyn LinkDirectory>) {
        if self.links.set(links).is_err() {
            tracing::error!("the directory of links was set twice; the first one stays");
        }
    }

    /// The newest view, as long as the node serves.
    pub(crate) fn view(&self) -> Result<Arc<View>, Problem> {
        if let Some(fault) = self.fault.load().as_deref() {
            return Err(does_not_serve(fault));
        }
        Ok(self.view.load_full())
    }

    /// Swaps the view.
    pub(crate) fn set_view(&self, view: Arc<View>) {
        self.view.store(view);
    }

    /// The view whether or not the node serves.
    pub(crate) fn last_view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Stops serving, for good: nothing is granted any more, no link stays and no channel is relayed.
    pub(crate) fn fence(&self, reason: &str) {
        tracing::error!(reason, "the node stops serving");
        self.fault.store(Some(Arc::new(reason.to_owned())));
        let problem = does_not_serve(reason);
        self.with_links(|links| links.end_all(&problem));
        self.forget_channels(&problem);
        // Who waits for a revision shall look at the fault.
        self.applied.send_modify(|_| {});
        let lifecycle =
            burgrave_audit::Lifecycle { step: burgrave_audit::LifecycleStep::Fenced, detail: reason.to_owned() };
        // Nothing is granted any more, whether or not that can be written down.
        let _ = self.record(burgrave_audit::Kind::Lifecycle(lifecycle), burgrave_audit::Durability::Durable);
    }

    /// Why the node does not serve, if it does not.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.load().as_deref().cloned()
    }

    /// Says to whoever watches that something happened.
    pub(crate) fn happened(&self, kind: &str, subject: &str, detail: &str) {
        let revision = self.view.load().revision;
        let event = Event {
            at: self.now(),
            revision,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            detail: detail.to_owned(),
        };
        // Nobody has to watch.
        let _ = self.events.send(event);
    }

    /// Does something with the edge's links, where there are any yet.
    pub(crate) fn with_links(&self, act: impl FnOnce(&dyn LinkDirectory)) {
        if let Some(links) = self.links.get() {
            act(links.as_ref());
        }
    }

    /// Whether the instance has a link at this node.
    pub(crate) fn is_linked(&self, instance: InstanceId) -> bool {
        self.links.get().is_some_and(|links| links.is_linked(instance))
    }

    /// The wall-clock time, but never before that of the newest head, nor before what was told already: a clock that is set
    /// back makes nothing fresh again that had run out.
    pub(crate) fn now(&self) -> Timestamp {
        let now = self.parts.clock.now().max(self.view.load().time).unix_millis();
        Timestamp::from_unix_millis(self.latest.fetch_max(now, Ordering::AcqRel).max(now))
    }

    pub(crate) fn node(&self) -> NodeId {
        self.parts.node
    }

    pub(crate) fn class(&self) -> DomainClass {
        self.parts.trust.class()
    }

    pub(crate) fn trust(&self) -> &DomainTrust {
        &self.parts.trust
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.parts.random.as_ref()
    }

    pub(crate) fn audit(&self) -> &dyn AuditSink {
        self.parts.audit.as_ref()
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.parts.keyring
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn run_time_logs(&self) -> &RunTimeLogs {
        &self.run_time_logs
    }

    pub(crate) fn challenger(&self) -> &Challenger {
        &self.challenger
    }

    pub(crate) fn decision_log(&self) -> &Decisions {
        &self.decisions
    }

    pub(crate) fn channel_table(&self) -> &ChannelTable {
        &self.channels
    }

    pub(crate) fn refusals(&self) -> &crate::refusals::Refusals {
        &self.refusals
    }

    pub(crate) fn watchers(&self) -> &broadcast::Sender<Event> {
        &self.events
    }

    pub(crate) fn signer(&self) -> Arc<Signer> {
        self.signer.load_full()
    }

    pub(crate) fn set_signer(&self, signer: Signer) {
        self.signer.store(Arc::new(signer));
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// Decisions since the start: allowed, denied, failed.
    pub(crate) fn decision_counts(&self) -> (u64, u64, u64) {
        let counts = &self.decisions;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (count(&counts.allowed), count(&counts.denied), count(&counts.failed))
    }
}

fn does_not_serve(fault: &str) -> Problem {
    Problem::new(ProblemCode::Unavailable, format!("the node does not serve: {fault}"))
        .with_fix("ask another node; the operator finds the cause in the node's log")
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Control({} of {})", self.parts.node, self.parts.trust.genesis_hash())
    }
}
