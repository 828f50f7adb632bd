//! Administrators: what they may do the policies say, and each call is held to it.

use burgrave_control::{
    AdminIdentity, Control, DecisionFilter, EnclaveChange, InstanceFilter, NewEnclave, NewKey, NewPolicy, NewRule,
    Page, RuleEffect, Subject,
};
use burgrave_types::{
    ChannelId, DecisionId, InstanceId, KeyIdentity, Operation, PolicyId, Problem, ProblemCode, ReleaseState,
    ResourceId, Tee,
};

use crate::agent::Agent;
use crate::node::{Node, hex, release, root, simulated};

fn nobody() -> AdminIdentity {
    AdminIdentity { name: "eve".parse().unwrap(), roles: vec!["auditor".to_owned(), "not a role".to_owned()] }
}

/// Every call that an administrator can make, with its name, made by `admin`.
async fn every_call(
    control: &Control,
    admin: &AdminIdentity,
    instance: InstanceId,
) -> Vec<(&'static str, Option<Problem>)> {
    let (enclave, v1) = ("payments/api".parse().unwrap(), "v1".parse().unwrap());
    let key: ResourceId = "key/payments/pii".parse().unwrap();
    let (page, policy_id) = (Page::default(), PolicyId::from_bytes([1; 16]));
    let subject = Subject::Enclave("payments/api".parse().unwrap());
    let policy = NewPolicy {
        namespace: None,
        name: String::new(),
        text: r#"forbid(principal, action == Burgrave::Action::"derive", resource);"#.to_owned(),
        description: String::new(),
    };
    let rule = NewRule {
        effect: RuleEffect::Allow,
        rule: "payments/api encrypt key/payments/pii".to_owned(),
        description: String::new(),
    };
    let change = EnclaveChange::default();
    let new = simulated("payments/other", KeyIdentity::Name);
    macro_rules! calls {
        ($($name:ident($($argument:expr),*)),+ $(,)?) => {
            vec![$((stringify!($name), control.$name(admin $(, $argument)*).await.err())),+]
        };
    }
    calls![
        create_enclave(new),
        enclaves(&page),
        enclave(&enclave),
        update_enclave(&enclave, None, change),
        delete_enclave(&enclave, None),
        add_release(&enclave, None, release("v9", "nine")),
        set_release_state(&enclave, &v1, None, ReleaseState::Deprecated),
        instances(&InstanceFilter::default(), &page),
        instance(instance),
        reattest(instance),
        revoke_instance(instance, "x"),
        revoke_release(&enclave, &v1, "x"),
        revoke_enclave(&enclave, "x"),
        create_policy(policy.clone()),
        put_policy(policy_id, None, policy.clone()),
        delete_policy(policy_id, None),
        policies(&page),
        policy(policy_id),
        validate_policy(&policy),
        create_rule(rule),
        create_key(NewKey { resource: "key/payments/other".parse().unwrap() }),
        keys(&page),
        key(&key),
        key_versions(&key),
        rotate_key(&key, None),
        delete_key(&key, None),
        channels(&page),
        cut_channel(ChannelId::from_bytes([1; 16]), "x"),
        why(DecisionId::from_bytes([1; 16])),
        can(&subject, Operation::Encrypt, &key, None),
        decisions(&DecisionFilter::default()),
        status(),
        events(),
    ]
}

#[tokio::test]
async fn every_call_is_denied_to_one_without_a_role_and_changes_nothing() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key("key/payments/pii").await;
    let agent = Agent::attested(&node, "payments/api").await;
    let before = node.control.status(&root()).await.unwrap();
    for (call, problem) in every_call(&node.control, &nobody(), agent.id()).await {
        let problem = problem.unwrap_or_else(|| panic!("`{call}` was allowed"));
        assert_eq!(problem.code, ProblemCode::PolicyDenied, "`{call}`: {problem}");
        assert!(problem.decision_id.is_some(), "`{call}`");
    }
    let after = node.control.status(&root()).await.unwrap();
    assert_eq!((after.revision, after.head), (before.revision, before.head));
}

#[tokio::test]
async fn every_call_is_decided_and_recorded_for_one_with_the_role() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key("key/payments/pii").await;
    let agent = Agent::attested(&node, "payments/api").await;
    for (call, problem) in every_call(&node.control, &root(), agent.id()).await {
        assert!(problem.is_none_or(|problem| problem.code != ProblemCode::PolicyDenied), "`{call}` was denied");
    }
    let durable = node.audit.memory.events().into_iter().filter(|(event, durability)| {
        *durability == burgrave_audit::Durability::Durable && event.decision_id().is_some()
    });
    assert!(durable.count() >= 33);
}

#[tokio::test]
async fn a_namespaces_administrator_administers_it_and_nothing_else() {
    let node = Node::dev().await;
    let text = r#"permit(principal in Burgrave::Role::"payments-admin", action == Burgrave::Action::"administer",
        resource in Burgrave::Namespace::"payments");"#;
    let policy =
        NewPolicy { namespace: None, name: "delegation".into(), text: text.into(), description: String::new() };
    node.control.create_policy(&root(), policy).await.unwrap();
    let admin = AdminIdentity { name: "pat".parse().unwrap(), roles: vec!["payments-admin".to_owned()] };
    node.control.create_enclave(&admin, simulated("payments/api", KeyIdentity::Name)).await.unwrap();
    let other = node.control.create_enclave(&admin, simulated("web/front", KeyIdentity::Name)).await.unwrap_err();
    assert_eq!(other.code, ProblemCode::PolicyDenied);
}

#[tokio::test]
async fn what_cannot_be_registered_is_refused_with_each_fault() {
    let node = Node::dev().await;
    let faults = async |new: NewEnclave| {
        let problem = node.control.create_enclave(&root(), new).await.unwrap_err();
        assert_eq!(problem.code, ProblemCode::RequestInvalid, "{problem}");
        problem.errors.iter().map(|error| error.at.clone()).collect::<Vec<_>>()
    };
    let good = || simulated("payments/api", KeyIdentity::Name);
    let tpm = |digests: Vec<_>| {
        let mut release = release("v1", "x");
        release.reference.tee = Tee::Tpm;
        release.reference.measurement = None;
        release.reference.registers = [("pcr0".to_owned(), hex(&[0; 32]))].into();
        NewEnclave { tee: Tee::Tpm, tpm_ek_digests: digests, releases: vec![release], ..good() }
    };
    assert_eq!(faults(NewEnclave { reattest_every_secs: 1, ..good() }).await, ["/reattest_every_secs"]);
    assert_eq!(faults(NewEnclave { tpm_ek_digests: vec![hex(&[1; 32])], ..good() }).await, ["/tpm_ek_digests"]);
    assert_eq!(
        faults(NewEnclave { key_identity: KeyIdentity::Signer, ..good() }).await,
        ["/releases/0/reference/signer"]
    );
    assert_eq!(faults(NewEnclave { tee: Tee::Snp, ..good() }).await, ["/releases/0/reference/tee"]);
    let mut empty = good();
    empty.releases[0].reference.measurement = None;
    assert_eq!(faults(empty).await, ["/releases/0/reference"]);
    let mut twice = good();
    twice.releases.push(twice.releases[0].clone());
    assert_eq!(faults(twice).await, ["/releases/1/name"]);
    assert_eq!(faults(tpm(vec![])).await, ["/tpm_ek_digests"]);
    assert_eq!(faults(tpm(vec![hex(&[1; 20])])).await, ["/tpm_ek_digests"]);
    let signed = NewEnclave { key_identity: KeyIdentity::Signer, ..tpm(vec![hex(&[1; 32])]) };
    assert!(faults(signed).await.contains(&"/key_identity".to_owned()));
    let name = "burgrave/api".parse().unwrap();
    assert_eq!(faults(NewEnclave { name, ..good() }).await, ["/name"]);
    node.control.create_enclave(&root(), good()).await.unwrap();
    let again = node.control.create_enclave(&root(), good()).await.unwrap_err();
    assert_eq!(again.code, ProblemCode::AlreadyExists);
}

#[tokio::test]
async fn updates_say_what_they_are_based_on() {
    let node = Node::dev().await;
    let enclave = node.register("payments/api").await;
    let change = || EnclaveChange { reattest_every_secs: Some(90), ..EnclaveChange::default() };
    let update = async |at| node.control.update_enclave(&root(), &enclave.name, at, change()).await;
    assert_eq!(update(None).await.unwrap_err().code, ProblemCode::PreconditionRequired);
    let updated = update(Some(enclave.revision)).await.unwrap();
    assert_eq!(updated.reattest_every_secs, 90);
    assert_eq!(update(Some(enclave.revision)).await.unwrap_err().code, ProblemCode::Conflict);
    let gone = node.control.delete_enclave(&root(), &enclave.name, Some(enclave.revision)).await.unwrap_err();
    assert_eq!(gone.code, ProblemCode::Conflict);
    node.control.delete_enclave(&root(), &enclave.name, Some(updated.revision)).await.unwrap();
    assert_eq!(node.control.enclave(&root(), &enclave.name).await.unwrap_err().code, ProblemCode::NotFound);
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let node = Node::dev().await;
    let made = (0..8).map(|n| {
        let control = node.control.clone();
        tokio::spawn(async move {
            control.create_enclave(&root(), simulated(&format!("load/e{n}"), KeyIdentity::Name)).await
        })
    });
    for one in made.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    let page = Page { after: None, limit: 5 };
    let first = node.control.enclaves(&root(), &page).await.unwrap();
    let second = node.control.enclaves(&root(), &Page { after: first.next.clone(), limit: 5 }).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (5, 3, None));
}

#[tokio::test]
async fn who_watches_sees_what_happens() {
    let node = Node::dev().await;
    let mut events = node.control.events(&root()).await.unwrap();
    node.register("payments/api").await;
    let event = events.recv().await.unwrap();
    assert_eq!((event.kind.as_str(), event.subject.as_str()), ("enclave.created", "payments/api"));
    assert!(node.control.ready().is_ok());
    assert_eq!(node.control.domain().genesis_hash, node.trust.genesis_hash());
    assert!(node.control.status(&root()).await.unwrap().health.iter().all(|part| part.ok));
}

/// The names of all methods of the control plane that take an administrator, read from its source.
fn methods_for_administrators(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.is_dir() {
            methods_for_administrators(&file, found);
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for method in text.split("\n    pub async fn ").skip(1) {
            let signature = method.split('{').next().unwrap();
            if signature.contains("admin: &AdminIdentity") {
                found.insert(signature.split('(').next().unwrap().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn no_call_of_an_administrator_is_left_out_of_these_tests() {
    let mut methods = std::collections::BTreeSet::new();
    methods_for_administrators(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut methods);
    let node = Node::dev().await;
    let tried = every_call(&node.control, &nobody(), InstanceId::from_bytes([0; 16])).await;
    let tried: std::collections::BTreeSet<String> = tried.into_iter().map(|(call, _)| call.to_owned()).collect();
    assert_eq!(tried, methods);
}
