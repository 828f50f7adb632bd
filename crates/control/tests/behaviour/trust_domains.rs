//! What a registration lets pass of trust domains of TDX, and what it demands of registers and logs.

use burgrave_attester::{Attester, AttesterError, BindingData};
use burgrave_control::{EnclaveChange, NewPolicy};
use burgrave_types::claims::TdAttribute;
use burgrave_types::{Concession, Evidence, Problem, ProblemCode, Standing, Tee};

use crate::agent::Agent;
use crate::made::{Azure, Dcap, Snp, WithGpus};
use crate::node::{Node, root};
use crate::platform;
use crate::requirements::{node, of};
use crate::tees::registration;

/// A trust domain whose host can make it take exceptions, and that may use performance monitoring.
fn loose() -> Dcap {
    Dcap(platform::td(5, 3).with(|made| (made.body[123], made.body[127]) = (0, 0x80)))
}

/// A trust domain with a service TD.
fn served() -> Dcap {
    Dcap(platform::td(5, 3).with(|made| made.body[600] = 1))
}

async fn register(node: &Node, tee: Tee, measurement: &[u8], requirements: serde_json::Value) {
    let mut new = registration(tee, measurement);
    new.requirements = of(requirements);
    node.control.create_enclave(&root(), new).await.unwrap();
}

async fn update(node: &Node, tee: Tee, requirements: serde_json::Value) {
    let name = format!("payments/{tee}").parse().unwrap();
    let at = node.control.enclave(&root(), &name).await.unwrap().revision;
    let change = EnclaveChange { requirements: Some(of(requirements)), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &name, Some(at), change).await.unwrap();
}

async fn refused(node: &Node, machine: impl Attester + 'static) -> Problem {
    let name = format!("payments/{}", machine.tee());
    Agent::with(&name, machine).attest(node).await.unwrap_err()
}

#[track_caller]
fn names(problem: &Problem, cause: &str, knob: &str) {
    assert_eq!(problem.cause.as_deref(), Some(cause), "{problem}");
    assert!(problem.fix.as_ref().is_some_and(|fix| fix.contains(knob)), "{problem:?} does not name {knob}");
}

#[tokio::test]
async fn attributes_of_a_trust_domain_are_taken_where_the_registration_takes_each() {
    let node = node().await;
    register(&node, Tee::Tdx, &[0xaa; 48], serde_json::json!({})).await;
    names(&refused(&node, loose()).await, "td.attributes", "--allow-td sept-ve --allow-td perfmon");
    update(&node, Tee::Tdx, serde_json::json!({"allow_td_attributes": ["sept-ve"]})).await;
    names(&refused(&node, loose()).await, "td.attributes", "--allow-td");
    update(&node, Tee::Tdx, serde_json::json!({"allow_td_attributes": ["sept-ve", "perfmon"]})).await;
    let mut agent = Agent::with("payments/tdx", loose());
    agent.attest(&node).await.unwrap();
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.conceded, [Concession::TdAttributes].into());
    assert_eq!(shown.claims.td.unwrap().attributes, [TdAttribute::SeptVe, TdAttribute::Perfmon].into());
    let log = format!("{:?}", node.audit.memory.events());
    assert!(log.contains("conceding TD attribute sept-ve, TD attribute perfmon to `payments/tdx`"), "{log}");
    assert!(log.contains("conceded by the registration: td-attributes"), "{log}");
    // What no registration can concede is told to anybody, and no knob is named that would not help.
    let unknown = Dcap(platform::td(5, 3).with(|made| made.body[125] = 1));
    names(&refused(&node, unknown).await, "td.attributes", "no registration");
}

#[tokio::test]
async fn a_service_td_is_taken_where_the_registration_takes_it() {
    let node = node().await;
    register(&node, Tee::Tdx, &[0xaa; 48], serde_json::json!({"allow_td_attributes": ["sept-ve", "pks"]})).await;
    names(&refused(&node, served()).await, "service_td", "--allow-service-td");
    update(&node, Tee::Tdx, serde_json::json!({"allow_service_td": true})).await;
    let mut agent = Agent::with("payments/tdx", served());
    agent.attest(&node).await.unwrap();
    node.link(agent.id());
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!(shown.conceded, [Concession::ServiceTd].into());
    // Taken back, it holds for what runs as well.
    node.advance(std::time::Duration::from_secs(1));
    update(&node, Tee::Tdx, serde_json::json!({})).await;
    node.advance(std::time::Duration::from_secs(60));
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert!(matches!(shown.standing, Standing::Stale { .. }), "{:?}", shown.standing);
    names(&agent.attest(&node).await.unwrap_err(), "service_td", "--allow-service-td");
}

#[tokio::test]
async fn a_policy_may_refuse_what_the_registration_concedes() {
    let node = node().await;
    let taken = serde_json::json!({"allow_td_attributes": ["sept-ve", "perfmon"], "allow_service_td": true});
    register(&node, Tee::Tdx, &[0xaa; 48], taken).await;
    for (number, (condition, machine)) in [
        (r#"principal.att has conceded && principal.att.conceded.contains("td-attributes")"#, loose()),
        (r#"principal.att has tdAttributes && principal.att.tdAttributes.contains("perfmon")"#, loose()),
        (r#"principal.att has conceded && principal.att.conceded.contains("service-td")"#, served()),
        ("principal.att has serviceTd && principal.att.serviceTd", served()),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!(
            "forbid (principal in Burgrave::Enclave::\"payments/tdx\", action == Burgrave::Action::\"attest\", resource)\n\
             when {{ {condition} }};"
        );
        let policy = NewPolicy { namespace: None, name: format!("strict-{number}"), text, description: String::new() };
        let made = node.control.create_policy(&root(), policy).await.unwrap();
        let problem = refused(&node, machine).await;
        assert_eq!(problem.code, ProblemCode::PolicyDenied, "{condition}: {problem}");
        assert!(problem.detail.contains("a policy forbids it"), "{problem}");
        Agent::with("payments/tdx", Dcap(platform::td(5, 3))).attest(&node).await.unwrap();
        node.control.delete_policy(&root(), made.id, Some(made.revision)).await.unwrap();
    }
}

#[tokio::test]
async fn what_only_some_tees_have_is_conceded_and_demanded_of_those_alone() {
    let node = node().await;
    for (tee, requirements, at) in [
        (Tee::Snp, serde_json::json!({"allow_td_attributes": ["pks"]}), "/requirements/allow_td_attributes"),
        (Tee::Sgx, serde_json::json!({"allow_service_td": true}), "/requirements/allow_service_td"),
        (Tee::Tdx, serde_json::json!({"snp_crl": true}), "/requirements/snp_crl"),
        (Tee::Tdx, serde_json::json!({"pcrs": [0]}), "/requirements/pcrs"),
        (Tee::AzVtpm, serde_json::json!({"pcrs": [24]}), "/requirements/pcrs"),
        (Tee::Tdx, serde_json::json!({"boot_log_unexplained": ["pcr9"]}), "/requirements/boot_log_unexplained"),
        (Tee::AzVtpm, serde_json::json!({"boot_log_unexplained": ["pcr24"]}), "/requirements/boot_log_unexplained"),
    ] {
        let mut new = registration(tee, &[1; 48]);
        new.requirements = of(requirements);
        let problem = node.control.create_enclave(&root(), new).await.unwrap_err();
        assert_eq!(problem.errors.iter().map(|error| error.at.as_str()).collect::<Vec<_>>(), [at], "{problem:?}");
    }
    let all = serde_json::json!({"allow_td_attributes": ["pks"], "allow_service_td": true, "snp_crl": true, "pcrs": [0, 23],
        "boot_log_unexplained": ["pcr0", "pcr23"]});
    register(&node, Tee::AzVtpm, &[1; 48], all).await;
}

#[tokio::test]
async fn a_quote_must_cover_the_pcrs_that_the_registration_names() {
    let node = node().await;
    let machine = || Azure(Snp::new(), [1, 2, 3]);
    register(&node, Tee::AzVtpm, &Snp::new().measurement(), serde_json::json!({"pcrs": [0, 7]})).await;
    names(&refused(&node, machine()).await, "pcr.selection", "--pcrs");
    update(&node, Tee::AzVtpm, serde_json::json!({"pcrs": [0, 2]})).await;
    Agent::with("payments/az-vtpm", machine()).attest(&node).await.unwrap();
}

#[tokio::test]
async fn a_revocation_list_is_demanded_where_the_registration_demands_one() {
    let node = node().await;
    register(&node, Tee::Snp, &Snp::new().measurement(), serde_json::json!({"snp_crl": true})).await;
    names(&refused(&node, Snp::new()).await, "collateral.validity", "burgrave status");
    update(&node, Tee::Snp, serde_json::json!({})).await;
    Agent::with("payments/snp", Snp::new()).attest(&node).await.unwrap();
}

/// A machine that sends a boot event log.
struct Logged<A>(A, &'static str, Vec<u8>);

impl<A: Attester> Attester for Logged<A> {
    fn tee(&self) -> Tee {
        self.0.tee()
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let mut evidence = self.0.evidence(binding)?;
        evidence.lead.items.insert(self.1.to_owned(), self.2.clone());
        Ok(evidence)
    }
}

/// A log with one event, of register `index`, whose digests are of the TPM's algorithm `algorithm` (TCG PC Client Platform
/// Firmware Profile, section 10).
fn boot_log(index: u32, algorithm: u8, digest: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let sizes = [algorithm, 0, u8::try_from(digest.len()).unwrap(), 0, 0];
    let specification = [b"Spec ID Event03\0".as_slice(), &words(&[0]), &[0, 2, 0, 2], &words(&[1]), &sizes].concat();
    [
        words(&[0, 3]),
        vec![0; 20],
        words(&[u32::try_from(specification.len()).unwrap()]),
        specification,
        words(&[index, 4, 1]),
        vec![algorithm, 0],
        digest.to_vec(),
        words(&[4, 0]),
    ]
    .concat()
}

#[tokio::test]
async fn a_boot_log_need_not_explain_the_registers_that_the_registration_leaves_out() {
    let node = node().await;
    // Of PCRs 0 to 2, which are quoted, it says nothing.
    let machine = || Logged(Azure(Snp::new(), [0, 0, 7]), "eventlog.bin", boot_log(5, 0x0b, &[0xab; 32]));
    register(&node, Tee::AzVtpm, &Snp::new().measurement(), serde_json::json!({})).await;
    let problem = refused(&node, machine()).await;
    names(&problem, "log.replay", "--unexplained");
    assert!(problem.detail.contains("pcr2"), "{problem}");
    update(&node, Tee::AzVtpm, serde_json::json!({"boot_log_unexplained": ["pcr1"]})).await;
    names(&refused(&node, machine()).await, "log.replay", "--unexplained");
    update(&node, Tee::AzVtpm, serde_json::json!({"boot_log_unexplained": ["pcr2"]})).await;
    let mut agent = Agent::with("payments/az-vtpm", machine());
    agent.attest(&node).await.unwrap();
    // A register that is left out makes no claim, and is no explanation either.
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!((shown.claims.boot, shown.claims.registers.get("pcr2")), (None, None));
    update(&node, Tee::AzVtpm, serde_json::json!({"boot_log_unexplained": ["pcr2"], "boot_log": true})).await;
    assert_eq!(refused(&node, machine()).await.cause.as_deref(), Some("log.absent"));
}

#[tokio::test]
async fn a_device_needs_no_log_of_its_own_beside_a_machine_that_must_have_one() {
    let node = node().await;
    register(&node, Tee::Tdx, &[0xaa; 48], serde_json::json!({"boot_log": true, "parts": [{"tee": "nvidia-gpu"}]}))
        .await;
    let digest = [0xab; 48];
    let extended = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &[[0; 48], digest].concat());
    let td = platform::td(4, 2).with(|made| {
        made.body[328..376].copy_from_slice(extended.as_ref());
        made.body[376..520].fill(0);
    });
    let machine = |log| WithGpus(Logged(Dcap(td.clone()), "ccel.bin", log), vec![[1, 2]]);
    let problem = refused(&node, machine(boot_log(1, 0x0c, &[0xac; 48]))).await;
    assert_eq!(problem.cause.as_deref(), Some("log.replay"), "{problem}");
    Agent::with("payments/tdx", machine(boot_log(1, 0x0c, &digest))).attest(&node).await.unwrap();
}
