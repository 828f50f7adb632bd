//! Facts and policies that the tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;
use std::time::Duration;

use burgrave_policy::{
    CandidateFacts, Context, Decision, InstanceFacts, PolicyRecord, PolicySnapshot, Principal, Request, Tier,
};
use burgrave_types::claims::{Claims, HexBytes, LaunchClaims, TcbClaims, TcbStatus, Tee};
use burgrave_types::{InstanceId, NodeId, Operation, PolicyId, Registers, ResourceId, Timestamp};

/// The time at which everything is decided.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

/// Good claims of a SEV-SNP guest with SVN 4.
pub(crate) fn claims() -> Claims {
    Claims {
        tee: Tee::Snp,
        product: Some("milan".to_owned()),
        platform_id: Some(HexBytes(vec![0xab; 4])),
        tcb: TcbClaims::new(TcbStatus::UpToDate),
        debug: Some(false),
        migratable: None,
        privilege: Some(0),
        launch: LaunchClaims { measurement: Some(HexBytes(vec![0xcd; 4])), svn: Some(4), ..LaunchClaims::default() },
        registers: Registers::default(),
        config: None,
        binding: None,
        boot: None,
        td: None,
        proved: BTreeSet::new(),
    }
}

/// An instance of the enclave `name` in release `1.2.0`.
pub(crate) fn instance(name: &str) -> InstanceFacts {
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(name.bytes().rev()) {
        *place = byte;
    }
    InstanceFacts {
        id: InstanceId::from_bytes(id),
        enclave: name.parse().unwrap(),
        release: Some("1.2.0".to_owned()),
        groups: vec![],
        claims: claims(),
        conceded: [].into(),
    }
}

/// A candidate for the enclave `name`.
pub(crate) fn candidate(name: &str) -> CandidateFacts {
    CandidateFacts {
        enclave: name.parse().unwrap(),
        release: None,
        groups: vec![],
        claims: claims(),
        conceded: [].into(),
    }
}

/// A minute after the attestation, without a peer.
pub(crate) fn context<'a>() -> Context<'a> {
    Context { now: NOW, attestation_age: Some(Duration::from_secs(60)), node: NodeId::from_bytes([9; 16]), peer: None }
}

/// `facts` ask for `operation` on `resource`, a minute after their attestation.
pub(crate) fn request<'a>(facts: &'a InstanceFacts, operation: Operation, resource: &str) -> Request<'a> {
    Request {
        principal: Principal::Instance(facts),
        operation,
        resource: resource.parse::<ResourceId>().unwrap().into(),
        context: context(),
    }
}

/// A stored policy with the id that `number` makes.
pub(crate) fn record(number: u8, tier: Tier, text: &str) -> PolicyRecord {
    PolicyRecord { id: PolicyId::from_bytes([number; 16]), tier, name: format!("p{number}"), text: text.to_owned() }
}

/// A snapshot of these texts, numbered from 1, in the domain's tier.
pub(crate) fn snapshot(texts: &[&str]) -> PolicySnapshot {
    PolicySnapshot::build((1..).zip(texts).map(|(number, text)| record(number, Tier::Domain, text))).unwrap()
}

/// The names of the policies that determined `decision`.
pub(crate) fn determining(decision: &Decision) -> Vec<&str> {
    decision.determining.iter().map(|policy| policy.name.as_str()).collect()
}
