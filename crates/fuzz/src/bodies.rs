//! Bodies that stand here because they hold what a decoder took against something else: what was written, or what the one
//! domain of `testdata` has signed.

use std::sync::Arc;

use burgrave_collateral::{Floors, Source, Store};
use burgrave_identity::{CertificateDer, DomainTrust, IdentityError, jws, verify_chain, verify_self_signed};
use burgrave_policy::{RuleEffect, SimpleRule, Tier};
use burgrave_seal::hpke::{HpkeError, Psk, Sealed, SealingKey};
use burgrave_types::api::KeySet;
use burgrave_types::encoding::Encoder;
use burgrave_types::{Secret, Timestamp};
use burgrave_verifier::Roots;
use data_encoding::BASE64URL_NOPAD;

use crate::domain::{NOW, PROFILES, TOKEN, domain};

/// The agent's configuration.
pub(crate) fn agent_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = burgrave_agent::local::FileConfig::parse(text) {
        assert!(!config.nodes.is_empty(), "an agent was configured without a node");
    }
}

/// A grant as it is signed; what is read must be written as it was.
pub(crate) fn grant(bytes: &[u8]) {
    if let Ok(grant) = burgrave_channel::ChannelGrant::decode(bytes) {
        assert_eq!(grant.encode(), bytes, "a grant has two encodings");
    }
}

/// A grant as it travels: none but the one that was signed.
pub(crate) fn signed_grant(bytes: &[u8]) {
    if let Ok(signed) = burgrave_channel::SignedGrant::verify(bytes, &domain().trust, NOW) {
        assert_eq!(signed.grant(), &domain().grant, "a grant was taken that nobody signed");
        assert_eq!(signed.bytes(), bytes);
    }
}

/// Collateral of all vendors, twice: what is held is not kept again.
pub(crate) fn collateral(bytes: &[u8]) {
    /// Midsummer 2025, when the genuine collateral among the seeds was in force.
    const THEN: Timestamp = Timestamp::from_unix_secs(1_750_500_000);
    let store = Store::new(Roots::vendor(), Floors::default(), Arc::new(drop));
    let _ = store.offer(bytes, &Source::Operator, THEN);
    let held = store.status(THEN).len();
    let again = store.offer(bytes, &Source::Operator, THEN);
    assert!(again.is_err() || again.is_ok_and(|again| again.kept.is_empty()), "what was held is kept again");
    assert_eq!(store.status(THEN).len(), held, "the same bytes were held twice");
}

/// A certificate, as a leaf of every profile, as a CA's, and as an agent's own.
pub(crate) fn certificate(bytes: &[u8]) {
    let domain = domain();
    let certificate = CertificateDer::from(bytes);
    for profile in PROFILES {
        if let Ok(identity) = verify_chain(std::slice::from_ref(&certificate), &domain.trust, NOW, profile) {
            assert!(domain.identities.contains(&identity), "a certificate was taken that the CA did not sign");
        }
    }
    if let Ok(trust) = DomainTrust::from_chain(&certificate, &domain.genesis) {
        assert_eq!(trust.genesis(), domain.trust.genesis(), "another domain was taken for the pinned one");
    }
    let _ = verify_self_signed(&certificate, NOW);
}

/// A key set, each key of which is the one that it is named after.
pub(crate) fn key_set(bytes: &[u8]) {
    let Ok(set) = serde_json::from_slice::<KeySet>(bytes) else { return };
    for key in &set.keys {
        if let Ok(spki) = burgrave_identity::spki_of_jwk(key) {
            let again = burgrave_identity::jwk(&spki, &[]).map(|again| (again.x, again.y, again.kid));
            assert_eq!(again, Ok((key.x.clone(), key.y.clone(), key.kid.clone())), "a key is another one when read");
        }
    }
}

/// The kind of the domain's one token.
const KIND: &str = jws::TYP_ATTESTATION_RESULT;

/// A token as it comes; and the same bytes as the header and as the payload of one, which are hard to reach through Base64.
pub(crate) fn token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        verify_token(text);
    }
    let part = BASE64URL_NOPAD.encode(bytes);
    let mut parts = TOKEN.split('.');
    if let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next()) {
        verify_token(&format!("{part}.{payload}.{signature}"));
        is_signed(jws::verify_with_keys(&format!("{header}.{part}.{signature}"), KIND, &domain().keys));
    }
}

fn verify_token(token: &str) {
    let domain = domain();
    is_signed(jws::verify(token, KIND, &domain.trust, NOW).map(|(_, payload)| payload));
    is_signed(jws::verify_with_keys(token, KIND, &domain.keys));
    if let Ok(trust) = jws::trust_of(token, KIND, &domain.genesis) {
        assert_eq!(trust.genesis(), domain.trust.genesis(), "another domain was taken for the pinned one");
    }
}

fn is_signed(verified: Result<serde_json::Value, IdentityError>) {
    if let Ok(payload) = verified {
        assert_eq!(payload, serde_json::json!({"ear.status": "affirming"}), "a token was taken that nobody signed");
    }
}

/// What is read must be written as it was.
pub(crate) fn trust(bytes: &[u8]) {
    if let Ok(genesis) = burgrave_identity::Genesis::decode(bytes) {
        assert_eq!(genesis.encode(), bytes, "a genesis record has two encodings");
    }
    if let Ok(chain) = burgrave_identity::TrustChain::decode(bytes) {
        assert_eq!(chain.encode(), bytes, "a trust chain has two encodings");
    }
}

/// The node's configuration.
pub(crate) fn node_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = burgrave_node::NodeConfig::parse(text) {
        assert!(!config.link.listen.is_empty(), "a node was configured without a link");
    }
}

/// A policy's text, of the domain's tier and of a namespace's: what is admitted is admitted again, as it is kept.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(namespace) = "payments".parse() else { return };
    for tier in [Tier::Domain, Tier::Namespace(namespace)] {
        if let Ok(policy) = burgrave_policy::validate(text, &tier) {
            let again = burgrave_policy::validate(policy.text(), &tier).map(|again| again.text().to_owned());
            assert_eq!(again.as_deref(), Ok(policy.text()), "a policy is refused in the form in which it is kept");
        }
    }
}

/// The words of a simple rule: as the policy that it stands for, it is admitted and is the same rule.
pub(crate) fn rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(rule) = SimpleRule::parse(RuleEffect::Allow, text) else { return };
    let cedar = rule.to_cedar();
    if cedar.len() <= burgrave_policy::MAX_POLICY_BYTES {
        let policy = burgrave_policy::validate(&cedar, &Tier::Domain);
        assert_eq!(
            policy.as_ref().map(|policy| policy.rule()),
            Ok(Some(&rule)),
            "a rule is another as a policy: {cedar}"
        );
    }
}

/// An envelope of the seal format.
pub(crate) fn envelope(bytes: &[u8]) {
    let _ = burgrave_seal::envelope::Envelope::parse(bytes);
}

/// What messages of [`sealed`] are for.
const INFO: &[u8] = b"what the fuzzer seals";

/// A sealed message: none opens but those that were sealed.
pub(crate) fn sealed(bytes: &[u8]) {
    let Ok(message) = Sealed::from_bytes(bytes) else { return };
    assert_eq!(message.to_bytes(), bytes, "a sealed message has two encodings");
    let opens = |with_psk: bool| -> Result<bool, HpkeError> {
        let key = SealingKey::from_private_key(&Secret::new([9; 32]))?;
        let psk = Secret::new([8; 32]);
        let psk = with_psk.then_some(Psk { psk: &psk, id: b"psk" });
        key.open(psk, INFO, b"", &message).map(|plaintext| plaintext.expose() == b"a secret")
    };
    let taken = [false, true].map(opens);
    if taken.iter().any(Result::is_ok) {
        assert!(sealed_messages().is_ok_and(|known| known.iter().any(|known| known == bytes)), "a forgery opens");
    }
}

/// The messages that open: one in base mode, one in PSK mode.
pub(crate) fn sealed_messages() -> Result<[Vec<u8>; 2], HpkeError> {
    /// The same "ephemeral" key each time.
    struct Same;
    impl burgrave_types::Random for Same {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }
    let recipient = SealingKey::from_private_key(&Secret::new([9; 32]))?.public();
    let psk = Secret::new([8; 32]);
    let seal = |psk| burgrave_seal::hpke::seal(&recipient, psk, INFO, b"", b"a secret", &Same);
    Ok([seal(None)?.to_bytes(), seal(Some(Psk { psk: &psk, id: b"psk" }))?.to_bytes()])
}

/// What is read must be written as it was.
pub(crate) fn changes(bytes: &[u8]) {
    if let Ok(changes) = burgrave_store::Change::decode_all(bytes) {
        assert_eq!(burgrave_store::Change::encode_all(&changes), bytes, "changes have two encodings");
    }
}

/// As the bytes are, and with the checksum that a whole file ends with, which no mutation would find.
pub(crate) fn token_file(bytes: &[u8]) {
    burgrave_hsm::fuzz::token_file(bytes);
    let checksum = Encoder::new().bytes(&burgrave_seal::sha256(bytes)).finish();
    burgrave_hsm::fuzz::token_file(&[bytes, &checksum].concat());
}

/// Evidence of any TEE, without a trust anchor: none may be accepted.
pub(crate) fn verify(bytes: &[u8]) {
    assert!(!burgrave_verifier::fuzz_verify(bytes), "evidence was accepted under no trust anchor at all");
}

/// Certificates, lists and collateral.
pub(crate) fn endorsement(bytes: &[u8]) {
    let _ = burgrave_verifier::Endorsements::default().add(bytes);
}
