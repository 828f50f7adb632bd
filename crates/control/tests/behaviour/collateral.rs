//! Vendors' collateral on the way of an attestation: what is held counts, what is missing is asked for, nothing goes back.

use burgrave_attester::{Attester, AttesterError, BindingData};
use burgrave_audit::{CollateralStep, Kind};
use burgrave_collateral::{OfferError, Source, Want};
use burgrave_control::Notice;
use burgrave_types::api::CollateralLevel;
use burgrave_types::{Clock, Evidence, EvidencePart, ProblemCode, Tee};

use crate::agent::Agent;
use crate::node::{Node, root};
use crate::platform::{self, Made};
use crate::requirements::node;
use crate::tees::registration;

const NAME: &str = "payments/tdx";

/// A machine whose quotes come with that collateral, or with none.
struct Machine(Made, Option<Made>);

impl Attester for Machine {
    fn tee(&self) -> Tee {
        self.0.tee
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let made = self.0.with(|made| made.body[520..584].copy_from_slice(&binding.report_data));
        let brought = self.1.iter().map(|brought| ("collateral.json".to_owned(), collateral(brought)));
        let items = [("quote.bin".to_owned(), made.quote())].into_iter().chain(brought);
        Ok(Evidence::single(EvidencePart { tee: made.tee, items: items.collect() }))
    }
}

fn collateral(made: &Made) -> Vec<u8> {
    made.collateral().to_string().into_bytes()
}

fn numbered(made: &Made, number: u32) -> Made {
    made.with(|made| {
        made.tcb_info["tcbEvaluationDataNumber"] = number.into();
        made.qe_identity["tcbEvaluationDataNumber"] = number.into();
    })
}

async fn registered() -> Node {
    let node = node().await;
    node.control.create_enclave(&root(), registration(Tee::Tdx, &[0xaa; 48])).await.unwrap();
    node
}

#[tokio::test]
async fn evidence_without_collateral_waits_for_what_a_source_gives() {
    let (node, made) = (registered().await, platform::td(4, 2));
    let mut agent = Agent::with(NAME, Machine(made.clone(), None));
    let problem = agent.attest(&node).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::AttestationRejected);
    assert_eq!(problem.cause.as_deref(), Some("collateral.validity"), "{problem}");
    assert!(problem.fix.as_deref().unwrap().contains("again"), "{problem:?}");
    assert!(matches!(node.collateral.wants().as_slice(), [Want::Platform(id)] if id.tee == Tee::Tdx));
    let status = node.control.status(&root()).await.unwrap();
    assert_eq!(status.collateral[0].level, CollateralLevel::Missing);

    node.collateral.offer(&collateral(&made), &Source::Operator, node.clock.now()).unwrap();
    agent.attest(&node).await.unwrap();
    let status = node.control.status(&root()).await.unwrap();
    assert!(status.collateral.iter().any(|one| one.number.as_deref() == Some("18")), "{:?}", status.collateral);
    node.control.tick().await;
    let told = node.audit.memory.events();
    let refreshed = |kind: &Kind| matches!(kind, Kind::Collateral(event) if event.step == CollateralStep::Refreshed);
    assert!(told.iter().any(|(event, _)| refreshed(&event.kind)));
}

#[tokio::test]
async fn what_a_source_gave_once_is_never_undercut_over_a_restart_neither() {
    let (node, made) = (registered().await, platform::td(4, 2));
    let now = node.clock.now();
    node.collateral.offer(&collateral(&made), &Source::Operator, now).unwrap();
    node.control.tick().await;
    let node = node.restart().await;
    let older = numbered(&made, 17);
    let refused = node.collateral.offer(&collateral(&older), &Source::Operator, now).unwrap_err();
    assert!(matches!(refused, OfferError::RolledBack(_)), "{refused}");
    node.control.tick().await;
    let told = node.audit.memory.events();
    let rolled_back = |kind: &Kind| matches!(kind, Kind::Collateral(event) if event.step == CollateralStep::RolledBack);
    assert!(told.iter().any(|(event, _)| rolled_back(&event.kind)));

    // Nor by what evidence brings, which is told both numbers.
    let problem = Agent::with(NAME, Machine(made.clone(), Some(older))).attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("collateral.validity"), "{problem}");
    assert!(problem.detail.contains("number 17") && problem.detail.contains("number 18"), "{problem}");
    Agent::with(NAME, Machine(made.clone(), Some(made))).attest(&node).await.unwrap();
}

#[tokio::test]
async fn what_evidence_brings_serves_others_once_its_instance_was_admitted_and_raises_no_floor() {
    let (node, made) = (registered().await, platform::td(4, 2));
    Agent::with(NAME, Machine(made.clone(), Some(made.clone()))).attest(&node).await.unwrap();
    Agent::with(NAME, Machine(made.clone(), None)).attest(&node).await.unwrap();
    node.control.tick().await;
    let node = node.restart().await;
    let (older, now) = (collateral(&numbered(&made, 17)), node.clock.now());
    node.collateral.offer(&older, &Source::Operator, now).expect("what evidence brought raised no floor");

    let stranger = self::node().await;
    Agent::with(NAME, Machine(made.clone(), Some(made.clone()))).attest(&stranger).await.unwrap_err();
    assert!(stranger.collateral.status(stranger.clock.now()).is_empty());
}

#[tokio::test]
async fn newer_collateral_has_those_who_rest_on_the_older_attest_again_at_once() {
    let (node, made) = (registered().await, platform::td(4, 2));
    let mut agent = Agent::with(NAME, Machine(made.clone(), Some(made.clone())));
    agent.attest(&node).await.unwrap();
    node.link(agent.id());
    node.control.tick().await;
    let asked = || node.notices(agent.id()).iter().filter(|one| matches!(one, Notice::Reattest { .. })).count();
    let before = asked();
    node.collateral.offer(&collateral(&numbered(&made, 19)), &Source::Operator, node.clock.now()).unwrap();
    node.control.tick().await;
    assert_eq!(asked(), before + 1);
}
