//! Each call of the client against a whole node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "../../edge/tests/world/mod.rs"]
mod world;

use burgrave_client::{Client, Credential, Server};
use burgrave_types::api::{
    AuthorizeRequest, DecisionFilter, EnclaveChange, InstanceFilter, NewEnclave, NewKey, NewPolicy, NewRelease,
    NewRule, Page, RuleEffect, Subject,
};
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{
    ChannelId, DomainClass, EnclaveName, GenesisHash, InstanceId, KeyIdentity, Operation, ProblemCode, ReleaseState,
    ResourceId, Revision, Secret, Segment, Tee,
};
use world::{NOBODY, OPS, World, within};

fn client(world: &World, genesis: GenesisHash, credential: Credential) -> Client {
    Client::new(Server { url: world.url().parse().unwrap(), genesis }, credential).unwrap()
}

fn with_token(world: &World, token: &str) -> Client {
    client(world, world.trust.genesis_hash(), Credential::Token(Secret::new(token.to_owned())))
}

fn release(name: &str, state: ReleaseState) -> NewRelease {
    let reference = ReferenceValue {
        tee: Tee::Simulated,
        measurement: Some(HexBytes(vec![7; 32])),
        signer: None,
        product_id: None,
        min_svn: None,
        registers: Default::default(),
        config: None,
    };
    NewRelease {
        name: name.parse().unwrap(),
        reference,
        state,
        origin: "by hand".into(),
        log: Default::default(),
        valid_until: None,
    }
}

fn enclave() -> NewEnclave {
    NewEnclave {
        name: "payments/api".parse().unwrap(),
        tee: Tee::Simulated,
        key_identity: KeyIdentity::Name,
        reattest_every_secs: 60,
        releases: vec![release("v1", ReleaseState::Active)],
        tpm_ek_digests: Vec::new(),
        requirements: Default::default(),
    }
}

#[tokio::test]
async fn the_domain_is_known_by_its_genesis_alone_and_another_one_is_refused() {
    let world = World::start().await;
    let stranger = client(&world, world.trust.genesis_hash(), Credential::None);
    let (trust, node) = stranger.verify_domain().await.unwrap();
    assert_eq!(trust.genesis_hash(), world.trust.genesis_hash());
    assert!(node.spiffe_id.to_string().starts_with("spiffe://example.org/"));
    let domain = stranger.domain().await.unwrap();
    assert_eq!((domain.genesis_hash, domain.class), (world.trust.genesis_hash(), DomainClass::Dev));
    assert_eq!(stranger.status().await.unwrap_err().code, ProblemCode::Unauthenticated);

    let other = GenesisHash::from_bytes([9; 32]);
    let deceived = client(&world, other, Credential::Token(Secret::new(OPS.to_owned())));
    let problem = deceived.status().await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::WrongDomain, "{problem}");
    assert!(problem.to_string().contains(&other.to_string()), "{problem}");
}

#[tokio::test]
async fn an_administrator_logs_in_with_a_certificate_or_a_token() {
    let world = World::start().await;
    let (chain, key) = world.admin("root").await;
    let root = client(&world, world.trust.genesis_hash(), Credential::Certificate { chain, key: Box::new(key) });
    let status = root.status().await.unwrap();
    assert_eq!(status.trust_domain.as_str(), "example.org");
    assert!(!status.health.is_empty() && status.health.iter().all(|part| part.ok), "{:?}", status.health);
    let made = root.create_enclave(&enclave()).await.unwrap();
    assert_eq!(made.created_by, "root");
    assert_eq!(with_token(&world, OPS).enclave(&made.name).await.unwrap(), made);
    let denied = with_token(&world, NOBODY).status().await.unwrap_err();
    assert_eq!((denied.code, denied.decision_id.is_some()), (ProblemCode::PolicyDenied, true));
}

#[tokio::test]
async fn enclaves_and_their_releases_live_through_the_client() {
    let world = World::start().await;
    let ops = with_token(&world, OPS);
    let made = ops.create_enclave(&enclave()).await.unwrap();
    let (name, v1): (EnclaveName, Segment) = (made.name.clone(), "v1".parse().unwrap());
    assert_eq!(ops.create_enclave(&enclave()).await.unwrap_err().code, ProblemCode::AlreadyExists);
    assert_eq!(ops.enclaves(&Page::default()).await.unwrap().items, std::slice::from_ref(&made));

    let change = EnclaveChange { reattest_every_secs: Some(90), ..EnclaveChange::default() };
    let changed = ops.update_enclave(&name, made.revision, &change).await.unwrap();
    assert_eq!(changed.reattest_every_secs, 90);
    assert_eq!(ops.update_enclave(&name, made.revision, &change).await.unwrap_err().code, ProblemCode::Conflict);

    let two = release("v2", ReleaseState::Provisional);
    let added = ops.add_release(&name, changed.revision, &two).await.unwrap();
    let v2: Segment = "v2".parse().unwrap();
    let active = ops.set_release_state(&name, &v2, added.revision, ReleaseState::Active).await.unwrap();
    assert_eq!(active.releases.iter().find(|release| release.name == v2).unwrap().state, ReleaseState::Active);

    let revoked = ops.revoke_release(&name, &v1, "a test").await.unwrap();
    assert!(revoked.revision > active.revision && revoked.instances.is_empty());
    assert!(ops.revoke_enclave(&name, "a test").await.unwrap().revision > revoked.revision);
    let last = ops.enclave(&name).await.unwrap();
    assert!(last.revoked.is_some());
    ops.delete_enclave(&name, last.revision).await.unwrap();
    assert_eq!(ops.enclave(&name).await.unwrap_err().code, ProblemCode::NotFound);
}

#[tokio::test]
async fn policies_rules_and_questions_go_through_the_client() {
    let world = World::start().await;
    let ops = with_token(&world, OPS);
    let name = ops.create_enclave(&enclave()).await.unwrap().name;
    let key: ResourceId = "key/payments/pii".parse().unwrap();
    ops.create_key(&NewKey { resource: key.clone() }).await.unwrap();
    let question = AuthorizeRequest {
        subject: Subject::Enclave(name.clone()),
        operation: Operation::Decrypt,
        resource: key.clone(),
        peer: None,
    };
    let before = ops.can(&question).await.unwrap();
    assert!(!before.cases.is_empty() && before.cases.iter().all(|case| !case.allowed), "{before:?}");

    let rule = NewRule {
        effect: RuleEffect::Allow,
        rule: "payments/api decrypt key/payments/pii".into(),
        description: "a test".into(),
    };
    let permit = ops.create_rule(&rule).await.unwrap();
    assert_eq!(ops.create_rule(&rule).await.unwrap().id, permit.id, "the same rule is one policy");
    let after = ops.can(&question).await.unwrap();
    assert!(after.cases.iter().all(|case| case.allowed), "{after:?}");

    let mut policy = NewPolicy {
        namespace: permit.namespace.clone(),
        name: String::new(),
        text: permit.text.replace("permit", "forbid"),
        description: String::new(),
    };
    ops.validate_policy(&policy).await.unwrap();
    let forbid = ops.create_policy(&policy).await.unwrap();
    assert!(ops.can(&question).await.unwrap().cases.iter().all(|case| !case.allowed));
    policy.text = permit.text.clone();
    let replaced = ops.put_policy(forbid.id, forbid.revision, &policy).await.unwrap();
    assert_eq!(ops.policy(forbid.id).await.unwrap(), replaced);
    ops.delete_policy(forbid.id, replaced.revision).await.unwrap();
    let stale = ops.delete_policy(permit.id, Revision(0)).await.unwrap_err();
    assert_eq!(stale.code, ProblemCode::Conflict);
    assert!(ops.policies(&Page::default()).await.unwrap().items.iter().any(|policy| policy.id == permit.id));
    policy.text = "permit (principal".into();
    let faults = ops.validate_policy(&policy).await.unwrap_err();
    assert_eq!((faults.code, faults.errors.is_empty()), (ProblemCode::PolicyInvalid, false));
}

#[tokio::test]
async fn keys_are_made_rotated_and_deleted_through_the_client() {
    let world = World::start().await;
    let ops = with_token(&world, OPS);
    let key: ResourceId = "key/payments/pii".parse().unwrap();
    let made = ops.create_key(&NewKey { resource: key.clone() }).await.unwrap();
    assert_eq!(made.versions.len(), 1);
    let rotated = ops.rotate_key(&key, None).await.unwrap();
    assert_eq!(rotated.version, 2);
    assert_eq!(ops.key_versions(&key).await.unwrap().len(), 2);
    let shown = ops.key(&key).await.unwrap();
    assert_eq!(ops.keys(&Page::default()).await.unwrap().items, std::slice::from_ref(&shown));
    ops.delete_key(&key, shown.revision).await.unwrap();
    assert_eq!(ops.key(&key).await.unwrap_err().code, ProblemCode::NotFound);
}

#[tokio::test]
async fn what_is_not_there_is_said_and_decisions_and_events_are_told() {
    let world = World::start().await;
    let ops = with_token(&world, OPS);
    let mut events = ops.events(None).await.unwrap();
    ops.create_enclave(&enclave()).await.unwrap();
    let (id, event) = within(async {
        loop {
            let (id, event) = events.next().await.unwrap().expect("the stream has ended");
            if event.kind == "enclave.created" {
                return (id, event);
            }
        }
    })
    .await;
    assert_eq!(event.subject, "payments/api");
    assert!(ops.events(Some(&id)).await.is_ok());

    let nobody = with_token(&world, NOBODY);
    let denied = nobody.enclaves(&Page::default()).await.unwrap_err().decision_id.unwrap();
    let why = ops.why(denied).await.unwrap();
    assert!(!why.decision.allowed && !why.explanation.is_empty(), "{why:?}");
    let filter = DecisionFilter { allowed: Some(false), operation: Some(Operation::Administer), ..Default::default() };
    assert!(ops.decisions(&filter).await.unwrap().iter().any(|decision| decision.id == denied));

    let instance = InstanceId::from_bytes([1; 16]);
    assert!(ops.instances(&InstanceFilter::default(), &Page::default()).await.unwrap().items.is_empty());
    assert!(ops.channels(&Page::default()).await.unwrap().items.is_empty());
    assert_eq!(ops.instance(instance).await.unwrap_err().code, ProblemCode::NotFound);
    assert_eq!(ops.reattest(instance).await.unwrap_err().code, ProblemCode::NotFound);
    assert_eq!(ops.revoke_instance(instance, "").await.unwrap_err().code, ProblemCode::NotFound);
    let channel = ops.cut_channel(ChannelId::from_bytes([1; 16]), "a test").await.unwrap_err();
    assert_eq!(channel.code, ProblemCode::NotFound);
}
