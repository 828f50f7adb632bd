//! How the vocabulary looks in the OpenAPI document: texts with an example, closed sets with their words.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::api::TcbComponent;
use crate::claims::{HexBytes, Proved, TcbStatus, TdAttribute};
use crate::{
    ChannelId, Concession, DecisionId, DomainClass, EnclaveName, EnclaveUid, GenesisHash, HeadHash, InstanceId,
    KeyIdentity, KeyUid, NodeId, Operation, PolicyId, ProblemCode, ReferenceDigest, ReleaseState, ResourceId,
    ResourceKind, ResultDigest, Revision, Segment, SpiffeId, SpkiHash, Tee, Timestamp, TrustDomain,
};

/// Types that are texts: what they are, and an example.
macro_rules! texts {
    ($($name:ident = $what:literal, $example:literal;)+) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).description(Some($what)).examples([$example]).into()
            }
        }
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

/// Types that are one of several words.
macro_rules! words {
    ($($name:ident = $what:literal;)+) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let all = $name::ALL.iter().map(|word| word.as_str());
                ObjectBuilder::new().schema_type(Type::String).description(Some($what)).enum_values(Some(all)).into()
            }
        }
        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

texts! {
    Segment = "A name: 1 to 63 characters a-z, 0-9, `-`, `_`, `.`, the first and last a letter or digit.", "payments";
    EnclaveName = "An enclave's name.", "payments/api";
    ResourceId = "A resource: `<kind>/<namespace>/<name>`.", "key/payments/pii";
    TrustDomain = "A SPIFFE trust domain.", "example.org";
    SpiffeId = "A SPIFFE id.", "spiffe://example.org/payments/api";
    EnclaveUid = "The id of a registration.", "enc_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    InstanceId = "The id of an instance.", "inst_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    PolicyId = "The id of a policy.", "pol_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    KeyUid = "The id of a key.", "key_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    DecisionId = "The id of a decision.", "dec_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    ChannelId = "The id of a channel.", "chan_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    NodeId = "The id of a node.", "node_aaaaaaaaaaaaaaaaaaaaaaaaaa";
    Timestamp = "A time, RFC 3339 in UTC.", "2026-03-01T00:00:00Z";
    HexBytes = "Bytes in hexadecimal.", "00ff";
    TcbComponent = "A component of a platform's firmware: an SEV-SNP family and `bl`, `tee`, `snp`, `ucode` or `fmc`, or `dcap.evaluation`.",
        "milan.snp";
    GenesisHash = "SHA-256 of the signed genesis record, which names the domain: 64 hexadecimal digits.",
        "0000000000000000000000000000000000000000000000000000000000000000";
    HeadHash = "SHA-256 of a signed head: 64 hexadecimal digits.",
        "0000000000000000000000000000000000000000000000000000000000000000";
    SpkiHash = "SHA-256 of a public key: 64 hexadecimal digits.",
        "0000000000000000000000000000000000000000000000000000000000000000";
    ResultDigest = "SHA-256 of a signed attestation result: 64 hexadecimal digits.",
        "0000000000000000000000000000000000000000000000000000000000000000";
    ReferenceDigest = "SHA-256 of a reference value: 64 hexadecimal digits.",
        "0000000000000000000000000000000000000000000000000000000000000000";
}

words! {
    Operation = "What an enclave may want to do, and `administer` for people.";
    ResourceKind = "A kind of resource.";
    Tee = "A kind of trusted execution environment.";
    TcbStatus = "How up to date the platform is.";
    Proved = "What evidence speaks of.";
    TdAttribute = "Something about a trust domain's attributes that is refused unless a registration takes it.";
    DomainClass = "The class of a domain; a production domain takes no simulated evidence.";
    KeyIdentity = "What an enclave's keys are derived from.";
    ReleaseState = "Where a release is in its life.";
    Concession = "What a registration lets pass that is refused unless it says so.";
    ProblemCode = "The stable code of a problem: see `/docs/errors`.";
}

impl PartialSchema for Revision {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .description(Some("A position of the ledger."))
            .into()
    }
}

impl ToSchema for Revision {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Revision")
    }
}
