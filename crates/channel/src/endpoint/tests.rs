//! The vectors of `docs/channel-protocol.md`, computed anew.

use burgrave_seal::sha256;
use burgrave_types::{ChannelId, InstanceId, NodeId, ResultDigest, Revision, Secret, SpiffeId, SpkiHash, Timestamp};

use super::confirm::Confirmations;
use crate::{ChannelGrant, GrantSide, Role, SignedGrant, channel_secret};

const DOCUMENT: &str = include_str!("../../../../docs/channel-protocol.md");

fn grant() -> ChannelGrant {
    let side = |id: &str, n: u8| GrantSide {
        spiffe_id: id.parse().unwrap(),
        instance: InstanceId::from_bytes([n; 16]),
        spki_hash: SpkiHash::from_bytes([n + 1; 32]),
        result_digest: ResultDigest::from_bytes([n + 2; 32]),
    };
    ChannelGrant {
        channel: ChannelId::from_bytes([0x11; 16]),
        initiator: side("spiffe://example.org/payments/api", 0x20),
        acceptor: side("spiffe://example.org/payments/ledger", 0x30),
        policy_revision: Revision(7),
        epoch: 1,
        not_before: Timestamp::from_unix_secs(1_800_000_000),
        not_after: Timestamp::from_unix_secs(1_800_003_600),
        byte_limit: 1 << 30,
        issued_by: SpiffeId::node(&"example.org".parse().unwrap(), NodeId::from_bytes([0x40; 16])),
    }
}

/// The document's hexadecimal, line breaks and spaces taken out.
fn document_holds(what: &str, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = DOCUMENT.split_whitespace().collect();
    assert!(text.contains(&hex), "the document has another {what}; expected {hex}");
}

#[test]
fn the_document_s_vectors_hold() {
    let grant = grant();
    document_holds("grant", &grant.encode());
    document_holds("grant digest", &sha256(&grant.encode()));

    let key = burgrave_identity::IdentityKey::generate().unwrap();
    let signed = SignedGrant::sign(grant, &key, &[]).unwrap();
    let secret = channel_secret(&Secret::new([0x55; 32]), &signed);
    document_holds("channel secret", secret.expose());

    let confirmations = Confirmations::over(secret, Secret::new([0x66; 32]));
    document_holds("initiator's confirmation", &confirmations.of(Role::Initiator));
    document_holds("acceptor's confirmation", &confirmations.of(Role::Acceptor));
}
