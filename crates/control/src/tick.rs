//! What time alone does: deadlines, renewals, forgetting.

use std::sync::Arc;
use std::time::Duration;

use burgrave_types::{InstanceId, Problem, Standing, Timestamp};

use crate::Control;
use crate::attestation::lifetime;
use crate::commit::Change;
use crate::live::InstanceEntry;
use crate::records::{InstanceRecord, RecordedStanding, Stored};
use crate::view::View;

/// How long an instance that is stale or was ended stays on record.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often an instance is asked whose deadline became an earlier one.
const SHORT_PAUSE: Duration = Duration::from_secs(15);

/// Instances that one change forgets, at most.
const FORGOTTEN_AT_ONCE: usize = 256;

/// How often deadlines are looked at while something that is due waits for the store or the HSM.
const SWEEP: Duration = Duration::from_millis(250);

impl Control {
    /// Does what is due: instances past their deadline become stale and their channels are cut, re-attestations are
    /// asked for, used nonces are forgotten, the signing key is renewed. To be called a few times a second.
    ///
    /// Where the store or the HSM does not answer, this waits for it; deadlines hold meanwhile, since they are looked at four
    /// times a second until it returns.
    pub async fn tick(&self) {
        self.sweep();
        let mut chores = std::pin::pin!(self.chores());
        while tokio::time::timeout(SWEEP, &mut chores).await.is_err() {
            self.sweep();
        }
    }

    /// What the time alone demands. It waits for nobody, and is done even where the node serves no more.
    fn sweep(&self) {
        self.challenger().forget_expired(self.now());
        let view = self.last_view();
        self.sweep_deadlines(&view);
        if self.fault().is_none() {
            self.ask_who_is_due(&view);
        }
        self.record_changes();
        self.record_refusals();
    }

    /// What takes the ledger or the HSM.
    async fn chores(&self) {
        let Ok(view) = self.view() else { return };
        let lapsed = self.lapsed(&view);
        if !lapsed.is_empty()
            && let Err(problem) = self.record_lapses(&lapsed).await
        {
            // Nothing is granted to them in any case: their deadline is over. The next tick tries again.
            tracing::warn!(detail = problem.detail, "missed deadlines could not be recorded");
        }
        if let Err(problem) = self.forget_gone(&view).await {
            tracing::warn!(detail = problem.detail, "records of instances gone for long could not be dropped");
        }
        if let Err(problem) = self.rotate_after_narrowing().await {
            tracing::warn!(detail = problem.detail, "keys could not be rotated after a policy was narrowed");
        }
        if let Err(problem) = self.tend_collateral().await {
            tracing::warn!(detail = problem.detail, "how new collateral must be could not be put on record");
        }
        self.renew_signer().await;
    }

    /// Drops the records of instances that have been gone for long: each start of an agent makes a new one. One that was given
    /// keys is remembered for as long as a version that it holds is neither compromised nor destroyed, since a revocation
    /// must find it.
    async fn forget_gone(&self, view: &View) -> Result<(), Problem> {
        let now = self.now();
        let gone = |view: &View, entry: &InstanceEntry| {
            let since = match &entry.record.standing {
                RecordedStanding::Attested => return false,
                RecordedStanding::Stale { since } => *since,
                RecordedStanding::Revoked { at, .. } => *at,
            };
            now >= since + FORGOTTEN_AFTER && !view.holds_live_key(entry) && !self.is_linked(entry.record.id)
        };
        let ids: Vec<InstanceId> = view
            .instances
            .values()
            .filter(|entry| gone(view, entry))
            .map(|entry| entry.record.id)
            .take(FORGOTTEN_AT_ONCE)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let written = self.change("instances gone for long", |view| {
            let mut change = Change::new();
            for entry in ids.iter().filter_map(|id| view.instance(*id)).filter(|entry| gone(view, entry)) {
                change.delete_at(entry.record.path(), entry.revision);
            }
            Ok((change, ()))
        });
        written.await.map(drop)
    }

    /// Asks instances to attest again whose interval is over, every quarter of it until they do; and before that, more often,
    /// those whose deadline something else made an earlier one (stricter demands, the end of a release).
    fn ask_who_is_due(&self, view: &View) {
        let now = self.now();
        for entry in view.instances.values() {
            let left = match view.standing(entry, now) {
                Standing::Fresh { until } => until.since(now),
                Standing::Stale { .. } => Duration::ZERO,
                Standing::Revoked { .. } => continue,
            };
            let (interval, attested_at) = (self.interval_of(view, entry), entry.live.attested_at());
            let quarter = interval / 4;
            let over = now >= attested_at + interval;
            // Whose last attestation could not move the deadline is not asked for the next one at once.
            let shortened = left < interval / 2 && now >= attested_at + quarter;
            let pause = if over { quarter } else { quarter.min(SHORT_PAUSE) };
            let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            if (over || shortened) && self.is_linked(entry.record.id) && entry.live.ask(now, pause) {
                self.ask_to_attest(entry);
            }
        }
    }

    /// Instances on record as attested whose deadline is over.
    fn lapsed(&self, view: &View) -> Vec<InstanceId> {
        let now = self.now();
        let all = view.instances.values().filter(|entry| self.lapse(view, entry, now).is_some());
        all.map(|entry| entry.record.id).collect()
    }

    /// Since when an instance is stale without that being on record. Just after a start the node does not know of
    /// renewals before it, which instances prove when they reconnect: it waits for them before it writes anything down.
    fn lapse(&self, view: &View, entry: &Arc<InstanceEntry>, now: Timestamp) -> Option<Timestamp> {
        let Standing::Stale { since } = view.standing(entry, now) else { return None };
        let interval = view.enclave_of(entry.record.enclave)?.record.reattest_every_secs;
        let known = since >= self.started() || now >= self.started() + lifetime(interval);
        (entry.record.standing == RecordedStanding::Attested && known).then_some(since)
    }

    async fn record_lapses(&self, lapsed: &[InstanceId]) -> Result<(), Problem> {
        let now = self.now();
        let (_, written) = self
            .change("missed deadlines", |view| {
                let mut change = Change::new();
                let mut written = Vec::new();
                for entry in lapsed.iter().filter_map(|id| view.instance(*id)) {
                    let Some(since) = self.lapse(view, entry, now) else { continue };
                    let record = InstanceRecord { standing: RecordedStanding::Stale { since }, ..entry.record.clone() };
                    change = change.update(&record, entry.revision);
                    written.push((record.id, since));
                }
                Ok((change, written))
            })
            .await?;
        for (id, since) in written {
            self.happened("instance.stale", &id.to_string(), &format!("it had to attest again by {since}"));
        }
        Ok(())
    }
}
