//! The published schema against the events that the code writes.
//!
//! A small evaluator of the part of JSON Schema 2020-12 that the document uses; a keyword it does not know fails the
//! test, so that none is passed over.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::claims::{BootClaims, HexBytes, LaunchClaims, Proved, TcbClaims, TcbStatus, TdAttribute, TdClaims};
use burgrave_types::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::*;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/audit-schema.json")).unwrap()
}

/// Faults of `value` under `schema`, each with where it stands.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    let Value::Object(keywords) = schema else { panic!("a schema that is no object at {at}") };
    let mut fault = |what: String| out.push(format!("{at}: {what}"));
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                let mut inner = Vec::new();
                faults(root, &root["$defs"][name], value, at, &mut inner);
                inner.into_iter().for_each(&mut fault);
            }
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type `{other}`"),
                };
                if !fits {
                    fault(format!("{value} is no {rule}"));
                }
            }
            "const" if value != rule => fault(format!("{value} is not {rule}")),
            "const" => {}
            "enum" if !rule.as_array().unwrap().contains(value) => fault(format!("{value} is not one of {rule}")),
            "enum" => {}
            "minimum" if value.as_u64() < rule.as_u64() => fault(format!("{value} is below {rule}")),
            "minimum" => {}
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "properties" | "additionalProperties" if keyword == "properties" || rule.is_object() || rule == false => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (name, item) in value.as_object().into_iter().flatten() {
                    let listed = known.and_then(|known| known.get(name));
                    let inner_schema = match (keyword.as_str(), listed) {
                        ("properties", Some(listed)) => listed,
                        ("additionalProperties", None) if rule == false => {
                            fault(format!("`{name}` is not in the schema"));
                            continue;
                        }
                        ("additionalProperties", None) => rule,
                        _ => continue,
                    };
                    let mut inner = Vec::new();
                    faults(root, inner_schema, item, &format!("{at}/{name}"), &mut inner);
                    inner.into_iter().for_each(&mut fault);
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    let mut inner = Vec::new();
                    faults(root, rule, item, &format!("{at}/{index}"), &mut inner);
                    inner.into_iter().for_each(&mut fault);
                }
            }
            "oneOf" => {
                let tried: Vec<Vec<String>> = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| {
                        let mut inner = Vec::new();
                        faults(root, one, value, at, &mut inner);
                        inner
                    })
                    .collect();
                if tried.iter().filter(|faults| faults.is_empty()).count() != 1 {
                    fault(format!("not exactly one alternative fits: {tried:?}"));
                }
            }
            other => panic!("keyword `{other}` is not known to this test"),
        }
    }
}

fn check(value: &Value) -> Vec<String> {
    let document = document();
    let mut out = Vec::new();
    faults(&document, &document, value, "", &mut out);
    out
}

fn claims() -> Claims {
    Claims {
        tee: Tee::Snp,
        product: Some("milan".to_owned()),
        platform_id: Some(HexBytes(vec![1; 64])),
        tcb: TcbClaims {
            status: TcbStatus::OutOfDate,
            svn: BTreeMap::from([("microcode".to_owned(), 115)]),
            advisories: vec!["AMD-SB-3019".to_owned()],
        },
        debug: Some(false),
        migratable: Some(false),
        privilege: Some(0),
        launch: LaunchClaims {
            measurement: Some(HexBytes(vec![2; 48])),
            signer: Some(HexBytes(vec![3; 48])),
            product_id: Some("7".to_owned()),
            svn: Some(2),
        },
        registers: [("pcr0".to_owned(), HexBytes(vec![4; 32]))].into(),
        config: Some(HexBytes(vec![5; 32])),
        binding: Some(HexBytes(vec![6; 64])),
        boot: Some(BootClaims {
            secure_boot: Some(true),
            kernel_command_line: Some("/vmlinuz root=/dev/vda1".to_owned()),
            images: vec![HexBytes(vec![7; 32])],
        }),
        td: Some(TdClaims { attributes: TdAttribute::ALL.iter().copied().collect(), service_td: true }),
        proved: BTreeSet::from([Proved::Launch, Proved::Boot]),
    }
}

fn party(number: u8) -> Party {
    Party { enclave: "payments/api".parse().unwrap(), instance: InstanceId::from_bytes([number; 16]) }
}

/// One event of each kind with every field, and one with none that may be absent.
fn events() -> Vec<Event> {
    let time = Timestamp::from_unix_secs(1_772_323_200);
    let check =
        Check { name: "pcr.digest".to_owned(), passed: false, expected: Some("aa".into()), found: Some("bb".into()) };
    let attestation = Attestation {
        enclave: "payments/api".parse().unwrap(),
        instance: Some(InstanceId::from_bytes([2; 16])),
        tee: Tee::Tpm,
        outcome: Outcome::Rejected,
        cause: Some("pcr.digest".to_owned()),
        checks: vec![check.clone(), Check { expected: None, found: None, passed: true, ..check }],
        evidence: EvidenceDigest::from_bytes([3; 32]),
        result: Some(ResultDigest::from_bytes([4; 32])),
        claims: Some(claims()),
        parts: vec![
            Part { tee: Tee::NvidiaGpu, outcome: Outcome::Accepted, cause: None, claims: Some(claims()) },
            Part {
                tee: Tee::NvidiaGpu,
                outcome: Outcome::Rejected,
                cause: Some("signature.invalid".to_owned()),
                claims: None,
            },
        ],
        valid_until: Some(time),
    };
    let decision = Decision {
        id: DecisionId::from_bytes([5; 16]),
        principal: "inst_x".to_owned(),
        enclave: Some("payments/api".parse().unwrap()),
        operation: Operation::Decrypt,
        resource: "key/payments/pii".to_owned(),
        peer: Some("payments/ledger".parse().unwrap()),
        allowed: false,
        reason: "no policy permits it".to_owned(),
        determining: vec!["guard/no-debug".to_owned()],
        errors: vec!["overflow".to_owned()],
        near_misses: vec![NearMiss { policy: "p".into(), condition: "c".into(), found: "f".into() }],
        policy_revision: Revision(9),
        claims: Some(claims()),
        conceded: Concession::ALL.iter().copied().collect(),
        attestation_age_secs: Some(12),
        fresh_until: Some(time),
        valid_until: Some(time),
    };
    let channel = |step, reason| ChannelEvent {
        id: ChannelId::from_bytes([6; 16]),
        initiator: party(1),
        acceptor: party(2),
        step,
        reason,
    };
    let release = Release {
        what: Released::Key,
        to: party(1),
        resource: "keyspace/payments/storage".parse().unwrap(),
        version: 2,
        decision: DecisionId::from_bytes([5; 16]),
    };
    let change = Change {
        changer: "admin root".to_owned(),
        revision: Revision(7),
        head: HeadHash::from_bytes([7; 32]),
        records: [RecordAction::Put, RecordAction::Delete]
            .map(|action| RecordChange { path: "enclave/payments/api".to_owned(), action })
            .to_vec(),
    };
    let collateral = |step| {
        let subject = "the TCB info for tdx, FMSPC 00806f050000".to_owned();
        Kind::Collateral(CollateralEvent { step, subject, detail: "number 17".to_owned() })
    };
    let lifecycle = |step| Kind::Lifecycle(Lifecycle { step, detail: "software token".to_owned() });
    let bare_attestation = Attestation {
        instance: None,
        outcome: Outcome::Accepted,
        cause: None,
        result: None,
        claims: None,
        parts: Vec::new(),
        valid_until: None,
        checks: Vec::new(),
        ..attestation.clone()
    };
    let bare_decision = Decision {
        enclave: None,
        peer: None,
        errors: Vec::new(),
        near_misses: Vec::new(),
        claims: None,
        conceded: BTreeSet::new(),
        attestation_age_secs: None,
        fresh_until: None,
        valid_until: None,
        ..decision.clone()
    };
    [
        Kind::Change(change),
        Kind::Attestation(Box::new(attestation)),
        Kind::Attestation(Box::new(bare_attestation)),
        Kind::Decision(Box::new(decision)),
        Kind::Decision(Box::new(bare_decision)),
        Kind::Channel(channel(ChannelStep::Opened, None)),
        Kind::Channel(channel(ChannelStep::Cut, Some("policy `p` was deleted".to_owned()))),
        Kind::Channel(channel(ChannelStep::Closed, None)),
        Kind::Release(release.clone()),
        Kind::Release(Release { what: Released::Secret, ..release }),
        Kind::Refusals(Refusals {
            cause: "binding.nonce".to_owned(),
            more: 41,
            since: time,
            instance: Some(InstanceId::from_bytes([2; 16])),
        }),
        collateral(CollateralStep::Refreshed),
        collateral(CollateralStep::Ending),
        collateral(CollateralStep::Ended),
        collateral(CollateralStep::RolledBack),
        collateral(CollateralStep::SourceFailed),
        collateral(CollateralStep::Refused),
        collateral(CollateralStep::Unusable),
        lifecycle(LifecycleStep::Founded),
        lifecycle(LifecycleStep::Started),
        lifecycle(LifecycleStep::Stopped),
        lifecycle(LifecycleStep::Fenced),
        Kind::Log(LogEvent { step: LogStep::Gap, cut_bytes: Some(3) }),
        Kind::Log(LogEvent { step: LogStep::Closed, cut_bytes: None }),
    ]
    .map(|kind| Event::new(time, NodeId::from_bytes([8; 16]), kind))
    .to_vec()
}

#[test]
fn every_kind_of_event_is_valid_under_the_published_schema_and_reads_back() {
    for event in events() {
        let line = event.to_line().unwrap();
        assert_eq!(Event::from_line(line.as_bytes()).unwrap(), event);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(check(&value), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn the_schema_names_every_field_that_events_have_and_no_other() {
    // What the fullest events hold, by definition of the schema, is all that it lists.
    let document = document();
    let all: Vec<Value> = events().iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    for (kind, alternative) in
        ["change", "attestation", "decision", "channel", "release", "refusals", "collateral", "lifecycle", "log"]
            .iter()
            .zip(document["oneOf"].as_array().unwrap())
    {
        assert_eq!(alternative["properties"]["kind"]["const"], *kind);
        let listed: BTreeSet<&String> = document["$defs"][*kind]["properties"].as_object().unwrap().keys().collect();
        let used: BTreeSet<&String> = all
            .iter()
            .filter(|event| event["kind"] == *kind)
            .flat_map(|event| event["detail"].as_object().unwrap().keys())
            .collect();
        assert_eq!(listed, used, "{kind}");
    }
}

#[test]
fn what_is_no_event_is_refused_by_schema_and_code_alike() {
    let good = serde_json::to_value(&events()[3]).unwrap();
    let broken = [
        ("/schema", json!("burgrave-audit-v2")),
        ("/kind", json!("decisions")),
        ("/node", json!(7)),
        ("/detail/allowed", json!("yes")),
        ("/detail/operation", json!("read")),
        ("/detail/policy_revision", json!(-1)),
        ("/detail/near_misses", json!([{"policy": "p", "condition": "c", "found": "f", "more": 1}])),
    ];
    for (pointer, value) in broken {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        assert!(!check(&event).is_empty(), "the schema takes {event}");
        assert!(Event::from_line(event.to_string().as_bytes()).is_err(), "the code takes {event}");
    }
    let mut missing = good.clone();
    missing["detail"].as_object_mut().unwrap().remove("reason");
    assert!(!check(&missing).is_empty() && Event::from_line(missing.to_string().as_bytes()).is_err());
}

proptest! {
    #[test]
    fn arbitrary_lines_never_panic(bytes: Vec<u8>, cut in 0usize..400, byte: u8) {
        let _ = Event::from_line(&bytes);
        for event in events() {
            let mut line = event.to_line().unwrap().into_bytes();
            let at = cut % line.len();
            line[at] = byte;
            let _ = Event::from_line(&line);
            let _ = Event::from_line(&line[..at]);
        }
    }
}
