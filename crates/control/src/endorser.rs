//! What evidence is judged with beside itself: trust anchors, and the vendors' collateral beneath them.
//!
//! Judging takes from the store's memory alone. What is missing is wanted from then on, and whoever keeps the store fresh
//! fetches it; the agent asks again. Floors stand in the ledger, so that a folder or a mirror that was set back does not set
//! the node back, over a restart neither.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use burgrave_audit::{CollateralEvent, CollateralStep, Durability, Kind};
use burgrave_collateral::{Event, Floors, Level, Listener, OfferError, Store, Subject};
use burgrave_types::api::{CollateralLevel, CollateralView};
use burgrave_types::{EvidencePart, Problem, Standing, Tee, Timestamp};
use burgrave_verifier::{Cause, Check, Endorsements, Expected, Input, Profile, Roots, TpmTrust, Verification, verify};

use crate::Control;
use crate::commit::Change;
use crate::live::InstanceEntry;
use crate::records::CollateralFloorsRecord;

/// Events that may wait to be told. What is beyond is counted.
const WAITING: usize = 1024;

/// Trust anchors and collateral.
pub struct Endorser {
    roots: Roots,
    store: Arc<Store>,
    inbox: Arc<Inbox>,
    requires_snp_crl: bool,
    requires_tpm_chain: bool,
}

impl Endorser {
    /// These anchors, and no collateral yet.
    pub fn new(roots: Roots) -> Self {
        let inbox = Arc::new(Inbox::default());
        let store = Arc::new(Store::new(roots.clone(), Floors::default(), Arc::clone(&inbox) as _));
        Self { roots, store, inbox, requires_snp_crl: false, requires_tpm_chain: false }
    }

    /// The same, but that evidence of SEV-SNP is refused where no revocation list of the vendor's is at hand.
    #[must_use]
    pub fn requiring_snp_crl(self) -> Self {
        Self { requires_snp_crl: true, ..self }
    }

    /// The same, but that a TPM which a registration lists must have a certificate of its maker's too: the list says whose it is,
    /// the certificate that it is one.
    #[must_use]
    pub fn requiring_tpm_chain(self) -> Self {
        Self { requires_tpm_chain: true, ..self }
    }

    /// The store, for whoever keeps it fresh.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Judges a part of evidence with what is held: `own` says what the node itself knows (platforms, proofs).
    pub(crate) fn judge(
        &self,
        part: &EvidencePart,
        own: Endorsements,
        mut profile: Profile,
        expected: Expected<'_>,
        at: Timestamp,
    ) -> Verification {
        profile.snp.require_crl |= self.requires_snp_crl;
        if self.requires_tpm_chain {
            profile.tpm.trust = TpmTrust::Certificate;
        }
        let supply = self.store.supply(part, at);
        let endorsements =
            Endorsements { ak_proof: own.ak_proof, platforms: own.platforms, ima: own.ima, ..supply.endorsements };
        let (part_left, roots) = (supply.part.as_ref(), &self.roots);
        let mut verification =
            verify(&Input { part: part_left, endorsements: &endorsements, roots, profile: &profile, expected, at });
        verification.checks.extend(supply.left_out.iter().map(left_out));
        self.store.judged(part, &verification, at);
        verification
    }
}

/// What happened at the store and was not told yet.
#[derive(Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    lost: u64,
}

impl Listener for Inbox {
    fn tell(&self, event: Event) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events.len() < WAITING {
            waiting.events.push_back(event);
        } else {
            waiting.lost += 1;
        }
    }
}

impl Inbox {
    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Control {
    pub(crate) fn endorser(&self) -> &Endorser {
        &self.parts().endorser
    }

    /// Tells what happened to collateral, and keeps the floors that rose on record.
    pub(crate) async fn tend_collateral(&self) -> Result<(), Problem> {
        let Waiting { events, lost } = self.endorser().inbox.take();
        for event in &events {
            self.tell_of_collateral(event);
        }
        self.judge_anew(&events.iter().flat_map(concerned).copied().collect());
        if lost > 0 {
            tracing::warn!(lost, "more happened to collateral than could be told");
        }
        let floors = self.endorser().store.floors();
        let recorded = self.view()?.collateral_floors.as_ref().map(|entry| entry.record.floors.clone());
        if floors == recorded.unwrap_or_default() {
            return Ok(());
        }
        let changer = format!("collateral at node {}", self.node());
        let written = self.change(&changer, |view| {
            let before = view.collateral_floors.as_ref();
            let mut both = before.map(|entry| entry.record.floors.clone()).unwrap_or_default();
            both.merge(&floors);
            if before.is_some_and(|entry| entry.record.floors == both) {
                return Ok((Change::new(), ()));
            }
            let record = CollateralFloorsRecord { schema: 1, floors: both };
            let change = match before {
                Some(entry) => Change::new().update(&record, entry.revision),
                None => Change::new().create(&record),
            };
            Ok((change, ()))
        });
        written.await.map(drop)
    }

    /// Asks the instances of these TEEs to attest again at once: what they were admitted by is not the newest any more.
    fn judge_anew(&self, tees: &BTreeSet<Tee>) {
        if tees.is_empty() {
            return;
        }
        let (view, now) = (self.last_view(), self.now());
        let rests_on = |entry: &&Arc<InstanceEntry>| tees.contains(&entry.record.claims.tee);
        for entry in view.instances.values().filter(rests_on) {
            if matches!(view.standing(entry, now), Standing::Fresh { .. }) {
                self.ask_to_attest(entry);
            }
        }
    }

    /// The vendors' collateral that this node holds or wants, for its status.
    pub(crate) fn collateral(&self, now: Timestamp) -> Vec<CollateralView> {
        self.endorser().store.status(now).into_iter().map(view).collect()
    }

    fn tell_of_collateral(&self, event: &Event) {
        let (step, subject, detail) = words(event);
        let (kind, alarming) = (format!("collateral.{}", step.as_str()), step.is_alarm());
        if alarming {
            tracing::warn!(subject, detail, "{kind}");
        } else {
            tracing::info!(subject, detail, "{kind}");
        }
        self.happened(&kind, &subject, &detail);
        let event = CollateralEvent { step, subject, detail };
        // Nothing is granted by it; what could not be written is in the node's log.
        if let Err(problem) = self.record(Kind::Collateral(event), Durability::Batched) {
            tracing::warn!(detail = problem.detail, "what happened to collateral could not be recorded");
        }
    }
}

/// The TEEs whose evidence is judged by what an event says is new: their instances may be out of date by it, or revoked.
fn concerned(event: &Event) -> &'static [Tee] {
    let Event::Refreshed { subject, .. } = event else { return &[] };
    match subject {
        Subject::TcbInfo { .. } | Subject::QeIdentity { .. } => &[Tee::Tdx, Tee::Sgx, Tee::AzVtpm],
        Subject::Crl { .. } => &[Tee::Tdx, Tee::Sgx, Tee::AzVtpm, Tee::Snp],
        Subject::Vek { .. } | Subject::Authority { .. } => &[],
    }
}

fn view(status: burgrave_collateral::Status) -> CollateralView {
    CollateralView {
        subject: status.subject.to_string(),
        level: match status.level {
            Level::Current => CollateralLevel::Current,
            Level::Ending => CollateralLevel::Ending,
            Level::Ended => CollateralLevel::Ended,
            Level::Missing => CollateralLevel::Missing,
        },
        number: status.number.map(|number| number.to_string()),
        issued: status.issued,
        ends: status.ends,
        source: status.source.map(|source| source.to_string()),
        refreshed: status.refreshed,
        problem: status.failed.map(|failure| failure.why),
    }
}

/// An event as the record has it: what, of what, and more.
fn words(event: &Event) -> (CollateralStep, String, String) {
    match event {
        Event::Refreshed { subject, mark, ends, source, .. } => {
            (CollateralStep::Refreshed, subject.to_string(), format!("{mark} from {source}, until {ends}"))
        }
        Event::Ending { subject, ends } => {
            (CollateralStep::Ending, subject.to_string(), format!("it ends at {ends}, and no source gave a newer one"))
        }
        Event::Ended { subject, ends } => (
            CollateralStep::Ended,
            subject.to_string(),
            format!("it ended at {ends}: evidence that needs it is refused"),
        ),
        Event::RolledBack { subject, found, floor, source } => {
            let detail = format!("{source} gave {found}, which is older than {floor}");
            (CollateralStep::RolledBack, subject.to_string(), detail)
        }
        Event::SourceFailed { source, why } => (CollateralStep::SourceFailed, source.to_string(), why.clone()),
        Event::Refused { source, why } => (CollateralStep::Refused, source.to_string(), why.clone()),
        Event::Unusable { platform, why } => (CollateralStep::Unusable, platform.clone(), why.clone()),
    }
}

/// What evidence brought and was not looked at, as a check.
fn left_out(error: &OfferError) -> Check {
    Check {
        name: "collateral.floor",
        passed: false,
        fatal: false,
        cause: Cause::CollateralValidity,
        expected: "no collateral that is older than what this domain has seen".into(),
        found: error.to_string().into(),
        reference: "docs/collateral.md",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_events_is_counted_and_not_kept() {
        let inbox = Inbox::default();
        for _ in 0..WAITING + 3 {
            inbox.tell(Event::Unusable { platform: "p".to_owned(), why: "w".to_owned() });
        }
        let Waiting { events, lost } = inbox.take();
        assert_eq!((events.len(), lost), (WAITING, 3));
        assert_eq!(inbox.take().events.len(), 0);
    }
}
