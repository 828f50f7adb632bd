//! Simple rules: their words, their Cedar form, and that it decides what the words say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::time::Duration;

use burgrave_policy::{
    Conditions, InstanceFacts, Principal, Request, ResourceSelector, RuleEffect, Selector, SimpleRule, Tier, validate,
};
use burgrave_types::claims::Tee;
use burgrave_types::{EnclaveName, InstanceId, Operation, ResourceId, ResourceKind};
use common::{candidate, context, instance, snapshot};
use proptest::prelude::*;

fn parse(words: &str) -> SimpleRule {
    SimpleRule::parse(RuleEffect::Allow, words).unwrap()
}

fn refusal(effect: RuleEffect, words: &str) -> String {
    SimpleRule::parse(effect, words).expect_err(words).to_string()
}

#[test]
fn a_rule_becomes_the_policy_one_would_write() {
    let rule = parse("payments/api decrypt,encrypt key/payments/pii tee=tdx,snp max-age=60m min-svn=4");
    assert_eq!(
        rule.to_cedar(),
        r#"@rule("allow payments/api encrypt,decrypt key/payments/pii tee=snp,tdx max-age=1h min-svn=4")
permit (
    principal in Burgrave::Enclave::"payments/api",
    action in [Burgrave::Action::"encrypt", Burgrave::Action::"decrypt"],
    resource == Burgrave::Key::"payments/pii"
)
when {
    [Burgrave::Tee::"snp", Burgrave::Tee::"tdx"].contains(principal.att.tee) &&
    context.attAgeSecs < 3600 &&
    principal.att has svn &&
    principal.att.svn >= 4
};"#
    );
}

#[test]
fn an_enclaves_name_stands_for_what_the_operation_needs() {
    assert_eq!(parse("payments/api send payments/ledger").on().to_string(), "channel/payments/ledger/default");
    assert_eq!(parse("payments/api attest payments/api").on().to_string(), "enclave/payments/api");
    assert_eq!(parse("payments/* encrypt keyspace/payments/*").on().to_string(), "keyspace/payments/*");
    assert!(refusal(RuleEffect::Allow, "payments/api decrypt payments/pii").contains("key/payments/pii"));
}

#[test]
fn words_that_do_not_fit_are_refused_with_the_word_at_fault() {
    for (words, part) in [
        ("payments/api decrypt", "WHO OPERATIONS ON"),
        ("payments decrypt key/payments/pii", "who"),
        ("payments/api@ decrypt key/payments/pii", "who"),
        ("payments/api decript key/payments/pii", "decript"),
        ("payments/api decrypt channel/payments/ledger/default", "resource"),
        ("payments/api send key/payments/pii", "resource"),
        ("payments/api administer enclave/payments/api", "administer"),
        ("payments/api attest payments/api max-age=1h", "max-age"),
        ("payments/api decrypt key/payments/pii max-age=0s", "max-age"),
        ("payments/api decrypt key/payments/pii max-age=1", "max-age"),
        ("payments/api decrypt key/payments/pii max-age=99999999999999999d", "max-age"),
        ("payments/api decrypt key/payments/pii min-svn=18446744073709551615", "min-svn"),
        ("payments/api decrypt key/payments/pii tee=sev", "tee"),
        ("payments/api decrypt key/payments/pii peer=payments/ledger", "peer"),
        ("payments/api decrypt key/payments/pii mood=good", "mood"),
        ("payments/api\"||true decrypt key/payments/pii", "who"),
        ("payments/api@1\") decrypt key/payments/pii", "who"),
    ] {
        let error = refusal(RuleEffect::Allow, words);
        assert!(error.contains(part), "{words}: {error}");
    }
    assert!(refusal(RuleEffect::Forbid, "payments/api decrypt key/payments/pii max-age=1h").contains("unless"));
}

#[test]
fn a_canonical_text_is_known_as_its_rule_and_an_edited_one_is_not() {
    let rule = parse("payments/api decrypt key/payments/pii max-age=1h");
    let text = rule.to_cedar();
    assert_eq!(validate(&text, &Tier::Domain).unwrap().rule(), Some(&rule));
    for edited in [text.replace("3600", "7200"), text.replace("Enclave::\"payments/api\"", "Namespace::\"payments\"")] {
        assert_ne!(edited, text);
        assert_eq!(
            validate(&edited, &Tier::Domain).unwrap().rule(),
            None,
            "the annotation alone must not speak for it"
        );
    }
}

fn enclave() -> impl Strategy<Value = EnclaveName> {
    prop::sample::select(vec!["payments/api", "payments/ledger", "hr/api"]).prop_map(|name| name.parse().unwrap())
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        enclave().prop_map(Selector::Enclave),
        (enclave(), prop::sample::select(vec!["1.2.0", "2.0"]))
            .prop_map(|(name, r)| Selector::Release(name, r.to_owned())),
        enclave().prop_map(|name| Selector::Namespace(name.namespace().clone())),
    ]
}

fn resource(kind: ResourceKind) -> impl Strategy<Value = ResourceId> {
    enclave().prop_map(move |name| match kind {
        ResourceKind::Channel => ResourceId::default_channel(&name),
        kind => format!("{kind}/{name}").parse().unwrap(),
    })
}

fn rule() -> impl Strategy<Value = SimpleRule> {
    let use_key = vec![Operation::Encrypt, Operation::Decrypt, Operation::Derive];
    let kinds = prop_oneof![
        Just((use_key.clone(), ResourceKind::Key)),
        Just((use_key, ResourceKind::Keyspace)),
        Just((vec![Operation::Send, Operation::Receive], ResourceKind::Channel)),
        Just((vec![Operation::Attest], ResourceKind::Enclave)),
    ];
    let tees = vec![Tee::Snp, Tee::Tdx, Tee::Tpm, Tee::Simulated];
    let shape = (kinds, any::<bool>(), any::<bool>(), selector(), prop::sample::subsequence(tees, 0..3));
    shape.prop_flat_map(|((operations, kind), allow, all, who, tee)| {
        let count = operations.len();
        let (aged, talks) = (kind != ResourceKind::Enclave && allow, kind == ResourceKind::Channel);
        (
            prop::sample::subsequence(operations, 1..=count),
            resource(kind),
            prop::option::of(prop::sample::select(vec![1_u64, 59, 60, 3600, 86_400])),
            prop::option::of(0_u64..6),
            prop::option::of(selector()),
        )
            .prop_map(move |(operations, id, age, svn, peer)| {
                let when = Conditions {
                    tee: tee.clone(),
                    max_age: age.filter(|_| aged).map(Duration::from_secs),
                    min_svn: svn.filter(|_| allow),
                    peer: peer.filter(|_| talks),
                };
                let on = if all {
                    ResourceSelector::All(kind, id.name.namespace().clone())
                } else {
                    ResourceSelector::One(id)
                };
                let effect = if allow { RuleEffect::Allow } else { RuleEffect::Forbid };
                SimpleRule::new(effect, who.clone(), operations, on, when).unwrap()
            })
    })
}

fn facts() -> impl Strategy<Value = InstanceFacts> {
    let tees = prop::sample::select(vec![Tee::Snp, Tee::Tdx, Tee::Tpm, Tee::Simulated]);
    let releases = prop::option::of(prop::sample::select(vec!["1.2.0", "2.0"]));
    (enclave(), releases, tees, prop::option::of(0_u64..6)).prop_map(|(enclave, release, tee, svn)| {
        let mut facts = instance(&enclave.to_string());
        facts.release = release.map(str::to_owned);
        facts.claims.tee = tee;
        facts.claims.launch.svn = svn;
        facts
    })
}

/// What the words say, in plain Rust.
fn selects(selector: &Selector, facts: &InstanceFacts) -> bool {
    match selector {
        Selector::Enclave(name) => *name == facts.enclave,
        Selector::Release(name, release) => *name == facts.enclave && Some(release) == facts.release.as_ref(),
        Selector::Namespace(name) => name == facts.enclave.namespace(),
    }
}

fn applies(rule: &SimpleRule, facts: &InstanceFacts, ask: &Request<'_>, id: &ResourceId) -> bool {
    let when = rule.when();
    selects(rule.who(), facts)
        && rule.operations().contains(&ask.operation)
        && match rule.on() {
            ResourceSelector::One(one) => one == id,
            ResourceSelector::All(kind, namespace) => *kind == id.kind && namespace == id.name.namespace(),
        }
        && (when.tee.is_empty() || when.tee.contains(&facts.claims.tee))
        && when.max_age.is_none_or(|max| ask.context.attestation_age.unwrap() < max)
        && when.min_svn.is_none_or(|min| facts.claims.launch.svn.is_some_and(|svn| svn >= min))
        && when.peer.as_ref().is_none_or(|peer| selects(peer, ask.context.peer.unwrap().0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_rule_reads_back_from_its_words_and_from_its_policy(rule in rule()) {
        let text = rule.to_string();
        let (effect, words) = text.split_once(' ').unwrap();
        prop_assert_eq!(&SimpleRule::parse(effect.parse().unwrap(), words).unwrap(), &rule);
        let valid = validate(&rule.to_cedar(), &Tier::Domain).unwrap();
        prop_assert_eq!(valid.rule(), Some(&rule));
        prop_assert_eq!(valid.forbids(), rule.effect() == RuleEffect::Forbid);
    }

    #[test]
    fn a_rules_policy_decides_what_its_words_say(
        rule in rule(), facts in facts(), peer in facts(), age in prop::sample::select(vec![0_u64, 1, 59, 60, 3599, 3600, 90_000]),
        near in any::<bool>(), elsewhere in enclave(), pick in any::<prop::sample::Index>(),
    ) {
        // Half of the requests are made of the rule's own parts, or hardly any would be met by it.
        let kind = rule.on().kind();
        let mut facts = InstanceFacts { id: InstanceId::from_bytes([7; 16]), ..facts };
        if near {
            facts.enclave = match rule.who() {
                Selector::Enclave(name) | Selector::Release(name, _) => name.clone(),
                Selector::Namespace(name) => format!("{name}/x").parse().unwrap(),
            };
            if let Selector::Release(_, release) = rule.who() {
                facts.release = Some(release.clone());
            }
        }
        let id: ResourceId = match rule.on() {
            ResourceSelector::One(id) if near => id.clone(),
            _ if kind == ResourceKind::Channel => ResourceId::default_channel(&elsewhere),
            _ => format!("{kind}/{elsewhere}").parse().unwrap(),
        };
        let candidate = burgrave_policy::CandidateFacts {
            release: facts.release.clone(), claims: facts.claims.clone(), ..candidate(&facts.enclave.to_string())
        };
        let operation = *pick.get(rule.operations());
        let ask = Request {
            principal: if operation == Operation::Attest { Principal::Candidate(&candidate) } else { Principal::Instance(&facts) },
            operation,
            resource: id.clone().into(),
            context: burgrave_policy::Context {
                attestation_age: Some(Duration::from_secs(age)),
                peer: Some((&peer, Duration::from_secs(1))),
                ..context()
            },
        };
        prop_assume!(peer.enclave != facts.enclave);
        let says = applies(&rule, &facts, &ask, &id);
        let everything = "permit (principal, action, resource);";
        let text = rule.to_cedar();
        match rule.effect() {
            RuleEffect::Forbid => prop_assert_eq!(snapshot(&[everything, &text]).authorize(&ask).allowed, !says),
            // The floor lets a candidate attest as its own enclave without any rule.
            RuleEffect::Allow => {
                let floor = operation == Operation::Attest && id.name.to_string() == facts.enclave.to_string();
                let decision = snapshot(&[&text]).authorize(&ask);
                prop_assert_eq!(decision.allowed, says || floor);
                prop_assert_eq!(decision.determining.iter().any(|policy| policy.name == "p1"), says);
            }
        }
    }

    #[test]
    fn no_words_make_the_parser_panic_or_escape_their_quotes(words in "[ -~]{0,80}") {
        if let Ok(rule) = SimpleRule::parse(RuleEffect::Allow, &words) {
            prop_assert!(validate(&rule.to_cedar(), &Tier::Domain).is_ok());
        }
    }
}
