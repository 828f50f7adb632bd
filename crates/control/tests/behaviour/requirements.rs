//! What a registration demands beyond its releases, over machines that evidence of any content can be had from.

use std::time::Duration;

use burgrave_attester::Attester;
use burgrave_audit::{Kind, Outcome};
use burgrave_control::{AttestStep, EnclaveChange, EnclaveView, NewEnclave, NewRelease, Notice};
use burgrave_types::api::Requirements;
use burgrave_types::{Clock, Concession, DomainClass, KeyIdentity, Problem, ProblemCode, Standing, Tee, Timestamp};

use crate::agent::Agent;
use crate::made::{self, NitroEnclave, Snp};
use crate::node::{INTERVAL, Node, hex, release, root, simulated};

const API: &str = "payments/api";

/// A node of a production domain that trusts the makers of the test's machines.
pub(crate) async fn node() -> Node {
    Node::with(DomainClass::Production, "2026-03-01T00:00:00Z".parse().unwrap(), made::roots()).await
}

pub(crate) fn of(json: serde_json::Value) -> Requirements {
    serde_json::from_value(json).unwrap()
}

/// A registration of what that machine runs.
pub(crate) fn registration(machine: &Snp, requirements: serde_json::Value) -> NewEnclave {
    let mut release = release("v1", "");
    (release.reference.tee, release.reference.measurement) = (Tee::Snp, Some(hex(&machine.measurement())));
    let requirements = of(requirements);
    NewEnclave { tee: Tee::Snp, releases: vec![release], requirements, ..simulated(API, KeyIdentity::Name) }
}

async fn register(node: &Node, requirements: serde_json::Value) -> EnclaveView {
    node.control.create_enclave(&root(), registration(&Snp::new(), requirements)).await.unwrap()
}

async fn update(node: &Node, requirements: serde_json::Value) -> EnclaveView {
    let name = API.parse().unwrap();
    let at = node.control.enclave(&root(), &name).await.unwrap().revision;
    let change = EnclaveChange { requirements: Some(of(requirements)), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &name, Some(at), change).await.unwrap()
}

async fn refused(node: &Node, machine: impl Attester + 'static) -> (Option<String>, Problem) {
    let problem = Agent::with(API, machine).attest(node).await.unwrap_err();
    assert!(problem.fix.is_some(), "{problem}");
    (problem.cause.clone(), problem)
}

async fn linked(node: &Node, machine: impl Attester + 'static) -> Agent {
    let mut agent = Agent::with(API, machine);
    agent.attest(node).await.unwrap();
    node.link(agent.id());
    agent
}

async fn standing(node: &Node, agent: &Agent) -> Standing {
    node.control.instance(&root(), agent.id()).await.unwrap().standing
}

fn asked(node: &Node, agent: &Agent) -> bool {
    node.notices(agent.id()).iter().any(|notice| matches!(notice, Notice::Reattest { .. }))
}

#[tokio::test]
async fn what_is_refused_unless_conceded_is_taken_where_it_is_and_shows_as_such() {
    let node = node().await;
    register(&node, serde_json::json!({})).await;
    for (machine, cause) in
        [(Snp::new().debug(), "debug"), (Snp::new().migratable(), "migration"), (Snp::new().vmpl(2), "privilege")]
    {
        assert_eq!(refused(&node, machine).await.0.as_deref(), Some(cause));
    }
    let conceding = serde_json::json!({"allow_debug": true, "allow_migration": true, "max_privilege": 2});
    update(&node, conceding).await;
    let agent = linked(&node, Snp::new().debug().migratable().vmpl(2)).await;
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.conceded, [Concession::Debug, Concession::Migration, Concession::Privilege].into());
    assert_eq!(refused(&node, Snp::new().vmpl(3)).await.0.as_deref(), Some("privilege"));
    // What it may do is the policy's to say, which the concession does not stand against.
    node.make_key("key/payments/pii").await;
    node.allow("payments/api encrypt key/payments/pii").await;
    agent.encrypt(&node, "key/payments/pii", b"x").await.unwrap();
    let log = format!("{:?}", node.audit.memory.events());
    assert!(log.contains("conceding debug, migration, VMPL 2 to `payments/api`"), "{log}");
    assert!(log.contains("conceded by the registration: debug, migration, privilege"), "{log}");
    let mut decided = node.audit.memory.events().into_iter().filter_map(|(event, _)| match event.kind {
        Kind::Decision(decision) if decision.claims.is_some() => Some(decision.conceded),
        _ => None,
    });
    assert!(decided.next_back() == Some(shown.conceded), "a decision says what it was made on");
    // It cannot tell what the registration no longer concedes as its own.
    assert!(agent.id() == shown.id && !linked(&node, Snp::new()).await.svid.is_empty());
}

#[tokio::test]
async fn what_is_no_longer_conceded_ends_within_a_minute_or_with_the_next_attestation() {
    let node = node().await;
    register(&node, serde_json::json!({"allow_debug": true})).await;
    let (mut debug, mut good) = (linked(&node, Snp::new().debug()).await, linked(&node, Snp::new()).await);
    let now = node.clock.now();
    node.advance(Duration::from_secs(1));
    update(&node, serde_json::json!({})).await;
    assert!(asked(&node, &debug) && asked(&node, &good));
    let deadline = now + Duration::from_secs(61);
    assert_eq!(standing(&node, &good).await, Standing::Fresh { until: deadline });
    node.advance(Duration::from_millis(1));
    good.attest(&node).await.unwrap();
    assert_eq!(debug.attest(&node).await.unwrap_err().cause.as_deref(), Some("debug"));
    node.advance(Duration::from_secs(60));
    assert_eq!(standing(&node, &debug).await, Standing::Stale { since: deadline });
    assert!(matches!(standing(&node, &good).await, Standing::Fresh { .. }));
}

#[tokio::test]
async fn a_registration_that_lists_platforms_takes_no_other_and_ends_who_runs_on_one_it_drops() {
    let node = node().await;
    let chip = Snp::new().chip();
    register(&node, serde_json::json!({"platforms": [hex(&[1; 64])]})).await;
    assert_eq!(refused(&node, Snp::new()).await.0.as_deref(), Some("platform.unlisted"));
    update(&node, serde_json::json!({"platforms": [hex(&[1; 64]), hex(&chip)]})).await;
    let mut agent = linked(&node, Snp::new()).await;
    update(&node, serde_json::json!({"platforms": [hex(&[1; 64])]})).await;
    assert!(matches!(standing(&node, &agent).await, Standing::Revoked { .. }));
    assert!(node.links.disconnected.lock().unwrap().contains(&agent.id()));
    assert_eq!(agent.attest(&node).await.unwrap_err().code, ProblemCode::Revoked);
    // The list is any TEE's.
    let nitro = || NitroEnclave { image: 1, parent: 4, signer: 8 };
    let mut new = registration(&Snp::new(), serde_json::json!({"platforms": [hex(b"i-other")]}));
    (new.tee, new.name) = (Tee::Nitro, "payments/nitro".parse().unwrap());
    (new.releases[0].reference.tee, new.releases[0].reference.measurement) = (Tee::Nitro, Some(hex(&[1; 48])));
    node.control.create_enclave(&root(), new).await.unwrap();
    let problem = Agent::with("payments/nitro", nitro()).attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("platform.unlisted"));
}

#[tokio::test]
async fn a_floor_that_holds_refuses_what_is_below() {
    let node = node().await;
    register(&node, serde_json::json!({"tcb_floors": [{"component": "milan.snp", "minimum": 8}]})).await;
    linked(&node, Snp::new()).await;
    // What was launched under old firmware stays so, whatever was updated since.
    assert_eq!(refused(&node, Snp::new().launched_under(7)).await.0.as_deref(), Some("tcb.status"));
    linked(&node, Snp::new().launched_under(8)).await;
    update(&node, serde_json::json!({"tcb_floors": [{"component": "milan.snp", "minimum": 9}]})).await;
    let (cause, problem) = refused(&node, Snp::new()).await;
    assert_eq!(cause.as_deref(), Some("tcb.status"));
    assert!(problem.detail.contains("out-of-date") && problem.detail.contains("milan.snp 9"), "{problem}");
    // Another family's is not its own; a status that is taken lets it in.
    update(&node, serde_json::json!({"tcb_floors": [{"component": "genoa.snp", "minimum": 9}]})).await;
    linked(&node, Snp::new()).await;
    let taken = serde_json::json!({
        "tcb_floors": [{"component": "milan.snp", "minimum": 9}], "tcb_accepted": [{"status": "out-of-date"}],
    });
    update(&node, taken).await;
    let agent = linked(&node, Snp::new()).await;
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.conceded, [Concession::Tcb].into());
}

#[tokio::test]
async fn who_is_below_a_coming_floor_is_let_in_shown_and_gone_when_it_holds() {
    let node = node().await;
    register(&node, serde_json::json!({})).await;
    let mut agent = linked(&node, Snp::new()).await;
    let before = standing(&node, &agent).await;
    let idle = linked(&node, Snp::new()).await;
    let from: Timestamp = node.clock.now() + Duration::from_secs(70);
    let floors = |from: Timestamp| serde_json::json!({"tcb_floors": [{"component": "milan.snp", "minimum": 9, "enforced_from": from}]});
    // A floor in the far future shortens nothing, and asks at once.
    update(&node, floors(node.clock.now() + Duration::from_secs(14 * 86_400))).await;
    assert!(asked(&node, &agent));
    assert_eq!(standing(&node, &agent).await, before);
    update(&node, floors(from)).await;
    assert_eq!(standing(&node, &idle).await, Standing::Fresh { until: from }, "nor does one from before the change");
    let attested = agent.attest(&node).await.unwrap();
    assert_eq!(attested.until, from, "no deadline outlives the enforcement");
    assert!(agent.identity(&node).not_after <= from);
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    let shortfall = shown.shortfall.unwrap();
    assert_eq!(shortfall.from, from);
    assert!(shortfall.expected.contains("milan.snp 9") && shortfall.found.contains("snp 8"), "{shortfall:?}");
    let log = format!("{:?}", node.audit.memory.events());
    assert!(log.contains("requirements.coming"), "{log}");
    node.advance(Duration::from_secs(70));
    assert_eq!(standing(&node, &agent).await, Standing::Stale { since: from });
    assert_eq!(agent.attest(&node).await.unwrap_err().cause.as_deref(), Some("tcb.status"));
    // Raised early, or lifted: it acts on the next attestation.
    update(&node, serde_json::json!({})).await;
    let attested = agent.attest(&node).await.unwrap();
    assert_eq!(attested.until, node.clock.now() + Duration::from_secs(INTERVAL * 3 / 2));
    assert_eq!(node.control.instance(&root(), agent.id()).await.unwrap().shortfall, None);
}

/// Registers what takes a platform that is out of date for so long; says until when.
async fn taken_for_half_a_minute(node: &Node) -> Timestamp {
    let until = node.clock.now() + Duration::from_secs(30);
    let requirements = serde_json::json!({
        "tcb_floors": [{"component": "milan.snp", "minimum": 9}],
        "tcb_accepted": [{"status": "out-of-date", "until": until}],
    });
    register(node, requirements).await;
    until
}

#[tokio::test]
async fn a_status_that_is_taken_for_a_time_holds_no_longer_than_that() {
    let node = node().await;
    let until = taken_for_half_a_minute(&node).await;
    let mut agent = Agent::with(API, Snp::new());
    assert_eq!(agent.attest(&node).await.unwrap().until, until);
    node.advance(Duration::from_secs(30));
    assert_eq!(agent.attest(&node).await.unwrap_err().cause.as_deref(), Some("tcb.status"));
}

#[tokio::test]
async fn what_ends_while_it_is_admitted_is_not_let_in_and_not_on_record_as_accepted() {
    let node = node().await;
    taken_for_half_a_minute(&node).await;
    let request = Agent::with(API, Snp::new()).request(&node);
    let control = std::sync::Arc::clone(&node.control);
    node.store.hold();
    let attesting = tokio::spawn(async move { control.attest(request).await });
    node.store.hangs().await;
    node.advance(Duration::from_secs(30));
    node.store.let_go();
    let refused = attesting.await.unwrap().unwrap_err();
    assert_eq!(refused.cause.as_deref(), Some("verification.over"), "{refused}");
    let events = node.audit.memory.events().into_iter();
    let outcomes: Vec<_> = events
        .filter_map(|(event, _)| match event.kind {
            Kind::Attestation(attestation) => Some(attestation.outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Rejected]);
    assert!(node.control.instances(&root(), &Default::default(), &Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_attestation_counts_from_when_its_evidence_was_verified_however_slow_the_node_is() {
    let node = node().await;
    register(&node, serde_json::json!({})).await;
    let (at, slow) = (node.clock.now(), Duration::from_secs(50));
    let request = Agent::with(API, Snp::new()).request(&node);
    let control = std::sync::Arc::clone(&node.control);
    node.store.hold();
    let attesting = tokio::spawn(async move { control.attest(request).await });
    node.store.hangs().await;
    node.advance(slow);
    node.store.let_go();
    let AttestStep::Attested(attested) = attesting.await.unwrap().unwrap() else { panic!("SEV-SNP proves no key") };
    assert_eq!(attested.until, at + Duration::from_secs(INTERVAL * 3 / 2));
    assert_eq!(node.control.instance(&root(), attested.instance).await.unwrap().attested_at, at);
}

#[tokio::test]
async fn an_instance_whose_deadline_became_an_earlier_one_is_asked_until_it_attests() {
    let node = node().await;
    let new = registration(&Snp::new(), serde_json::json!({"max_privilege": 1}));
    let new = NewEnclave { reattest_every_secs: 3600, ..new };
    node.control.create_enclave(&root(), new).await.unwrap();
    let mut agent = linked(&node, Snp::new()).await;
    node.advance(Duration::from_secs(1000));
    update(&node, serde_json::json!({})).await;
    let times = || node.notices(agent.id()).iter().filter(|one| matches!(one, Notice::Reattest { .. })).count();
    assert_eq!(times(), 1);
    for expected in [2, 3, 4, 5] {
        node.control.tick().await;
        assert_eq!(times(), expected, "within the minute, and when it is over");
        node.control.tick().await;
        assert_eq!(times(), expected);
        node.advance(Duration::from_secs(20));
    }
    assert!(matches!(standing(&node, &agent).await, Standing::Stale { .. }));
    agent.attest(&node).await.unwrap();
    // A deadline that an attestation cannot move is no reason to ask for the next at once.
    let from = node.clock.now() + Duration::from_secs(900);
    let floor = serde_json::json!({"tcb_floors": [{"component": "milan.snp", "minimum": 9, "enforced_from": from}]});
    update(&node, floor).await;
    node.advance(Duration::from_millis(1));
    agent.attest(&node).await.unwrap();
    let before = node.notices(agent.id()).len();
    node.control.tick().await;
    assert_eq!(node.notices(agent.id()).len(), before);
}

#[tokio::test]
async fn deadlines_that_a_change_set_outlive_the_process() {
    let node = node().await;
    register(&node, serde_json::json!({"max_privilege": 1})).await;
    let agent = linked(&node, Snp::new()).await;
    let at = node.clock.now();
    update(&node, serde_json::json!({})).await;
    let node = node.restart().await;
    assert_eq!(standing(&node, &agent).await, Standing::Fresh { until: at + Duration::from_secs(60) });
}

#[tokio::test]
async fn requirements_that_the_tee_cannot_meet_are_refused_with_each_fault() {
    let node = Node::dev().await;
    let faults = async |tee, requirements| {
        let machine = registration(&Snp::new(), requirements);
        let mut releases = machine.releases.clone();
        releases.iter_mut().for_each(|release: &mut NewRelease| release.reference.tee = tee);
        let problem = node.control.create_enclave(&root(), NewEnclave { tee, releases, ..machine }).await.unwrap_err();
        assert_eq!(problem.code, ProblemCode::RequestInvalid, "{problem}");
        problem.errors.into_iter().map(|error| error.at.replace("/requirements", "")).collect::<Vec<_>>()
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (tee, requirements, at) in [
        (Tee::Nitro, r#"{"allow_migration":true}"#, "/allow_migration"),
        (Tee::Tdx, r#"{"max_privilege":1}"#, "/max_privilege"),
        (Tee::Snp, r#"{"max_privilege":4}"#, "/max_privilege"),
        (Tee::Snp, r#"{"tcb_accepted":[{"status":"revoked"}]}"#, "/tcb_accepted/0/status"),
        (Tee::Snp, r#"{"tcb_floors":[{"component":"dcap.evaluation","minimum":1}]}"#, "/tcb_floors/0/component"),
        (Tee::Tdx, r#"{"tcb_floors":[{"component":"milan.snp","minimum":1}]}"#, "/tcb_floors/0/component"),
        (Tee::Snp, r#"{"parts":[{"tee":"snp"}]}"#, "/parts/0/tee"),
        (Tee::Snp, r#"{"parts":[{"tee":"nvidia-gpu"},{"tee":"nvidia-gpu"}]}"#, "/parts/1/tee"),
        (Tee::Snp, r#"{"parts":[{"tee":"nvidia-gpu","references":[{"tee":"nvidia-gpu"}]}]}"#, "/parts/0/references/0"),
        (Tee::Snp, r#"{"platforms":[""]}"#, "/platforms"),
    ] {
        assert_eq!(faults(tee, json(requirements)).await, [at], "{tee} {requirements}");
    }
    let tpm = faults(Tee::Tpm, json(r#"{"platforms":["00"],"allow_debug":true}"#)).await;
    assert!(tpm.contains(&"/platforms".to_owned()) && tpm.contains(&"/allow_debug".to_owned()), "{tpm:?}");
}
