//! How the node is, what domain it serves, and what happens.

use burgrave_policy::Resource;
use burgrave_types::claims::HexBytes;
use burgrave_types::{Problem, ProblemCode, Standing};
use tokio::sync::broadcast;

use crate::{AdminIdentity, Control, DomainInfo, Event, Health, StandingCounts, Status};

impl Control {
    /// How the node is.
    ///
    /// # Errors
    /// `policy.denied`.
    ///
    /// Side effects: operations of the HSM with each of the domain's keys.
    pub async fn status(&self, admin: &AdminIdentity) -> Result<Status, Problem> {
        let view = self.last_view();
        self.admin(&view, admin, Resource::Domain)?;
        let now = self.now();
        let mut instances = StandingCounts::default();
        for entry in view.instances.values() {
            let count = match view.standing(entry, now) {
                Standing::Fresh { .. } => &mut instances.fresh,
                Standing::Stale { .. } => &mut instances.stale,
                Standing::Revoked { .. } => &mut instances.revoked,
            };
            *count += 1;
        }
        Ok(Status {
            trust_domain: self.trust().trust_domain().clone(),
            class: self.class(),
            node: self.node(),
            revision: view.revision,
            head: view.head,
            enclaves: view.enclaves.len(),
            instances,
            policies: view.policies.len(),
            keys: view.keys.len(),
            channels: self.channel_table().len(),
            decisions: self.decision_counts(),
            health: self.health().await,
            collateral: self.collateral(now),
            at: now,
        })
    }

    /// Whether the node can serve, for `/readyz`: the first fault, if there is one.
    ///
    /// # Errors
    /// `unavailable` with the part that cannot.
    pub fn ready(&self) -> Result<(), Problem> {
        let faults = [self.view_health(), self.ledger_health(), self.audit_health()];
        match faults.into_iter().find(|part| !part.ok) {
            None => Ok(()),
            Some(part) => {
                let detail = format!("the part `{}` does not serve: {}", part.part, part.detail);
                Err(Problem::new(ProblemCode::Unavailable, detail).with_fix("see the node's log"))
            }
        }
    }

    /// What anybody may know of the domain: it is what a partner checks it by.
    pub fn domain(&self) -> DomainInfo {
        let trust = self.trust();
        DomainInfo {
            trust_domain: trust.trust_domain().clone(),
            class: trust.class(),
            genesis_hash: trust.genesis_hash(),
            genesis: HexBytes(trust.genesis().encode()),
            ca: HexBytes(trust.root_certificate().to_vec()),
        }
    }

    /// What happens from now on. A reader that falls behind by more than 1024 events is told how many it missed.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn events(&self, admin: &AdminIdentity) -> Result<broadcast::Receiver<Event>, Problem> {
        self.admin(&*self.view()?, admin, Resource::Domain)?;
        Ok(self.watchers().subscribe())
    }

    async fn health(&self) -> Vec<Health> {
        let hsm = part("hsm", self.keyring().health().await);
        vec![hsm, self.view_health(), self.ledger_health(), self.audit_health()]
    }

    fn view_health(&self) -> Health {
        part("view", self.fault().map_or(Ok(()), Err))
    }

    fn ledger_health(&self) -> Health {
        part("ledger", self.ledger().health())
    }

    fn audit_health(&self) -> Health {
        part("audit", self.audit().health())
    }
}

fn part<E: std::fmt::Display>(name: &str, health: Result<(), E>) -> Health {
    let (ok, detail) = match health {
        Ok(()) => (true, "it serves".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    Health { part: name.to_owned(), ok, detail }
}
