//! What each derived key is derived from: the contexts of the KDF, written down in `docs/key-derivation.md`.
//!
//! A context is a list of fields in the canonical encoding ([`burgrave_types::encoding`]), so that two different lists
//! never give the same bytes. Its first field is the label, so that a context alone says which kind of key
//! it is of; its second is the domain's genesis hash.

use burgrave_seal::KeyLabel;
use burgrave_types::claims::HexBytes;
use burgrave_types::encoding::Encoder;
use burgrave_types::{EnclaveUid, GenesisHash, KeyUid, ReferenceDigest, ResourceName, SpkiHash, Tee};

use crate::KeyringError;

/// The algorithm that enclave keys and named keys serve: a key is good for no other.
pub const DATA_ALGORITHM: &str = "XAES-256-GCM";

/// What an enclave key is derived from, beside the domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnclaveKeyInput {
    /// The registration; one made again under the same name has another.
    pub enclave: EnclaveUid,
    /// What the registration binds the enclave's keys to.
    pub identity: IdentityInput,
    /// The keyspace.
    pub keyspace: ResourceName,
    /// The version of the enclave's key in that keyspace, from 1 on.
    pub version: u32,
}

/// What an enclave's keys are bound to, with the values that verified evidence showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IdentityInput {
    /// Nothing more than the registration: every accepted release has the same keys.
    Name,
    /// Who signed the code: releases of the same signer and product have the same keys.
    Signer {
        /// The TEE that proved the signer.
        tee: Tee,
        /// The digest of the signer's key.
        signer: HexBytes,
        /// The signer's product, where the TEE has such a claim.
        product_id: Option<String>,
    },
    /// The whole matched reference value: other code has other keys.
    Measurement(ReferenceDigest),
}

/// One derivation: from which key of the domain, under which label, over which context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Derivation {
    pub(crate) from: Source,
    pub(crate) label: KeyLabel,
    pub(crate) context: Vec<u8>,
}

/// Which of the domain's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Derivation,
    State,
    Channel,
}

impl Derivation {
    pub(crate) fn enclave_key(domain: &GenesisHash, input: &EnclaveKeyInput) -> Result<Self, KeyringError> {
        let identity = input.identity.encode()?;
        Ok(Self::new(Source::Derivation, KeyLabel::EnclaveKey, domain, |context| {
            context
                .bytes(input.enclave.as_bytes())
                .bytes(&identity)
                .text(&input.keyspace.to_string())
                .u64(input.version.into())
                .text(DATA_ALGORITHM)
        }))
    }

    pub(crate) fn named_key(domain: &GenesisHash, uid: KeyUid, version: u32) -> Self {
        Self::new(Source::Derivation, KeyLabel::NamedKey, domain, |context| {
            context.bytes(uid.as_bytes()).u64(version.into()).text(DATA_ALGORITHM)
        })
    }

    pub(crate) fn instance_key(domain: &GenesisHash, spki: &SpkiHash) -> Self {
        Self::new(Source::Derivation, KeyLabel::InstanceKey, domain, |context| context.bytes(spki.as_bytes()))
    }

    pub(crate) fn pair_key(domain: &GenesisHash, a: EnclaveUid, b: EnclaveUid, epoch: u64) -> Self {
        Self::new(Source::Channel, KeyLabel::PairKey, domain, |context| {
            context.bytes(a.min(b).as_bytes()).bytes(a.max(b).as_bytes()).u64(epoch)
        })
    }

    pub(crate) fn record_key(domain: &GenesisHash, epoch: u64) -> Self {
        Self::new(Source::State, KeyLabel::RecordKey, domain, |context| context.u64(epoch))
    }

    /// What the token makes its HMAC over.
    pub(crate) fn input(&self) -> Vec<u8> {
        burgrave_seal::fixed_input(self.label, &self.context)
    }

    fn new(from: Source, label: KeyLabel, domain: &GenesisHash, fields: impl FnOnce(Encoder) -> Encoder) -> Self {
        let context = Encoder::new().text(label.as_str()).bytes(domain.as_bytes());
        Self { from, label, context: fields(context).finish() }
    }
}

impl IdentityInput {
    /// One field of the context: the word for the kind of identity, then its values.
    fn encode(&self) -> Result<Vec<u8>, KeyringError> {
        Ok(match self {
            Self::Name => Encoder::new().text("name").finish(),
            Self::Signer { signer, .. } if signer.as_bytes().is_empty() => return Err(KeyringError::NoSigner),
            Self::Signer { tee, signer, product_id } => Encoder::new()
                .text("signer")
                .text(tee.as_str())
                .bytes(signer.as_bytes())
                .list(product_id.iter().collect::<Vec<_>>())
                .finish(),
            Self::Measurement(digest) => Encoder::new().text("measurement").bytes(digest.as_bytes()).finish(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burgrave_seal::derive;
    use burgrave_types::Secret;
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: GenesisHash = GenesisHash::from_bytes([0xd0; 32]);

    fn enclave_key(identity: IdentityInput) -> Derivation {
        let input = EnclaveKeyInput {
            enclave: EnclaveUid::from_bytes([0xe1; 16]),
            identity,
            keyspace: "payments/storage".parse().unwrap(),
            version: 1,
        };
        Derivation::enclave_key(&DOMAIN, &input).unwrap()
    }

    /// The derivations that the vectors are of, under their names there.
    fn published() -> Vec<(&'static str, Derivation)> {
        let signer = |product: Option<&str>| IdentityInput::Signer {
            tee: Tee::Sgx,
            signer: HexBytes(vec![0x51; 32]),
            product_id: product.map(str::to_owned),
        };
        let (a, b) = (EnclaveUid::from_bytes([0xe1; 16]), EnclaveUid::from_bytes([0xe2; 16]));
        vec![
            ("enclave key, identity name", enclave_key(IdentityInput::Name)),
            ("enclave key, identity signer", enclave_key(signer(Some("7")))),
            ("enclave key, identity signer without product", enclave_key(signer(None))),
            (
                "enclave key, identity measurement",
                enclave_key(IdentityInput::Measurement(ReferenceDigest::from_bytes([0x3e; 32]))),
            ),
            ("named key", Derivation::named_key(&DOMAIN, KeyUid::from_bytes([0x4e; 16]), 2)),
            ("instance key", Derivation::instance_key(&DOMAIN, &SpkiHash::from_bytes([0x5b; 32]))),
            ("pair key", Derivation::pair_key(&DOMAIN, b, a, 3)),
            ("record key", Derivation::record_key(&DOMAIN, 3)),
        ]
    }

    #[derive(serde::Deserialize)]
    struct Vectors {
        key: String,
        vectors: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        name: String,
        label: String,
        context: String,
        derived: String,
    }

    #[test]
    fn contexts_and_keys_are_those_of_the_published_vectors() {
        let file: Vectors = serde_json::from_str(include_str!("../testdata/contexts.json")).unwrap();
        let key = Secret::new(<[u8; 32]>::try_from(hex::decode(file.key).unwrap()).unwrap());
        let published = published();
        assert_eq!(file.vectors.len(), published.len());
        for (vector, (name, derivation)) in file.vectors.iter().zip(published) {
            assert_eq!((vector.name.as_str(), vector.label.as_str()), (name, derivation.label.as_str()));
            assert_eq!(vector.context, hex::encode(&derivation.context), "{name}");
            let derived = derive(&key, derivation.label, &derivation.context);
            assert_eq!(vector.derived, hex::encode(derived.expose()), "{name}");
        }
    }

    #[test]
    fn no_two_published_contexts_are_equal() {
        let contexts: BTreeSet<_> = published().into_iter().map(|(_, derivation)| derivation.context).collect();
        assert_eq!(contexts.len(), published().len());
    }

    /// The token crate builds the input of its check value by itself; it is the same KDF, under a label of its own.
    #[test]
    fn a_check_value_is_a_derivation_under_its_own_label() {
        let id = burgrave_hsm::KeyId::new(burgrave_hsm::KeyPurpose::StateKey, 3);
        let context = Encoder::new().text("state-key").u64(3).finish();
        assert_eq!(burgrave_hsm::KeyCheckValue::input(id), burgrave_seal::fixed_input(KeyLabel::CheckValue, &context));
    }

    /// Names that would run into each other if parts had no lengths before them.
    fn keyspace() -> impl Strategy<Value = ResourceName> {
        proptest::sample::select(vec!["a/b", "a/b/c", "ab/c", "a/bc", "abc/1"]).prop_map(|text| text.parse().unwrap())
    }

    fn identity() -> impl Strategy<Value = IdentityInput> {
        let bytes = proptest::collection::vec(0u8..2, 1..4);
        prop_oneof![
            Just(IdentityInput::Name),
            (prop_oneof![Just(Tee::Sgx), Just(Tee::Snp)], bytes, proptest::option::of("[01]{0,2}")).prop_map(
                |(tee, signer, product_id)| IdentityInput::Signer { tee, signer: HexBytes(signer), product_id }
            ),
            (0u8..3).prop_map(|n| IdentityInput::Measurement(ReferenceDigest::from_bytes([n; 32]))),
        ]
    }

    /// Few values for each field, so that inputs which differ in one field alone come up often.
    fn input() -> impl Strategy<Value = (GenesisHash, EnclaveKeyInput)> {
        (0u8..2, 0u8..2, identity(), keyspace(), 1u32..3).prop_map(|(domain, enclave, identity, keyspace, version)| {
            let enclave = EnclaveUid::from_bytes([enclave; 16]);
            (GenesisHash::from_bytes([domain; 32]), EnclaveKeyInput { enclave, identity, keyspace, version })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn distinct_inputs_give_distinct_contexts(one in input(), two in input()) {
            let context = |(domain, input): &(GenesisHash, EnclaveKeyInput)| {
                Derivation::enclave_key(domain, input).unwrap().context
            };
            prop_assert_eq!(one == two, context(&one) == context(&two));
        }
    }
}
