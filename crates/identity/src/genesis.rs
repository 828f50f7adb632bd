//! The genesis record: what a trust domain is named by.

use std::collections::BTreeSet;

use burgrave_types::encoding::{Decoder, Encoder};
use burgrave_types::{DomainClass, GenesisHash, NodeId, Timestamp, TrustDomain};

use crate::key::{sha256, verify_signature_of};
use crate::{IdentityError, SignatureAlgorithm, check_spki};

const BODY_FORMAT: &str = "burgrave-genesis-body-v1";
const FORMAT: &str = "burgrave-genesis-v1";

/// What the operators and the first node sign, and what the domain is named by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisBody {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Its class, for good.
    pub class: DomainClass,
    /// The operators' public keys (ECDSA P-256, SPKI in DER), in the order that signatures refer to.
    pub operators: Vec<Vec<u8>>,
    /// How many operators must sign this and later changes: 1 to the number of operators.
    pub quorum: u32,
    /// The first node.
    pub node_id: NodeId,
    /// The first node's identity key, which lives in its HSM (ECDSA P-256, SPKI in DER).
    pub node_identity: Vec<u8>,
    /// The issuing CA's key (ECDSA P-384, SPKI in DER).
    pub issuing_ca: Vec<u8>,
    /// The key that signs the ledger's heads (ECDSA P-256, SPKI in DER).
    pub head_signing: Vec<u8>,
    /// When the domain was made.
    pub created: Timestamp,
}

/// An operator's signature over [`GenesisBody::encode`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OperatorSignature {
    /// The operator's place in [`GenesisBody::operators`].
    pub operator: u32,
    /// ECDSA P-256 with SHA-256, in DER.
    pub signature: Vec<u8>,
}

/// A genesis record with its signatures. What is decoded is not trusted before [`Genesis::verify`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// What is signed.
    pub body: GenesisBody,
    /// Signatures by operators: a quorum of distinct ones at least.
    pub operator_signatures: Vec<OperatorSignature>,
    /// The first node's signature over [`GenesisBody::encode`] (ECDSA P-256 with SHA-256, in DER).
    pub node_signature: Vec<u8>,
}

impl GenesisBody {
    /// Operators of a domain, at most.
    pub const MAX_OPERATORS: usize = 64;

    /// The canonical bytes: what is signed and hashed (see [`burgrave_types::encoding`]).
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .text(BODY_FORMAT)
            .text(self.trust_domain.as_str())
            .text(self.class.as_str())
            .list(&self.operators)
            .u64(u64::from(self.quorum))
            .bytes(self.node_id.as_bytes())
            .bytes(&self.node_identity)
            .bytes(&self.issuing_ca)
            .bytes(&self.head_signing)
            .i64(self.created.unix_millis())
            .finish()
    }

    /// The domain's name: SHA-256 of [`GenesisBody::encode`].
    pub fn hash(&self) -> GenesisHash {
        GenesisHash::from_bytes(sha256(&self.encode()))
    }

    fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let mut decoder = Decoder::new(bytes);
        expect_format(&mut decoder, BODY_FORMAT)?;
        let body = Self {
            trust_domain: decoder.text()?.parse()?,
            class: decoder.text()?.parse()?,
            operators: decoder.list()?.into_iter().map(<[u8]>::to_vec).collect(),
            quorum: u32::try_from(decoder.u64()?).map_err(|_| IdentityError::Genesis("the quorum is out of range"))?,
            node_id: NodeId::from_bytes(decoder.array()?),
            node_identity: decoder.bytes()?.to_vec(),
            issuing_ca: decoder.bytes()?.to_vec(),
            head_signing: decoder.bytes()?.to_vec(),
            created: Timestamp::from_unix_millis(decoder.i64()?),
        };
        decoder.finish()?;
        Ok(body)
    }

    /// Checks what the body says, apart from signatures.
    fn check(&self) -> Result<(), IdentityError> {
        let p256 = SignatureAlgorithm::EcdsaP256Sha256;
        if self.operators.is_empty() || self.operators.len() > Self::MAX_OPERATORS {
            return Err(IdentityError::Genesis("it names no operator, or more than 64"));
        }
        if self.quorum == 0 || self.quorum as usize > self.operators.len() {
            return Err(IdentityError::Genesis("its quorum is not between 1 and the number of operators"));
        }
        if self.operators.iter().collect::<BTreeSet<_>>().len() != self.operators.len() {
            return Err(IdentityError::Genesis("it names an operator's key twice"));
        }
        self.operators.iter().try_for_each(|operator| check_spki("operator's key", operator, p256))?;
        check_spki("node identity key", &self.node_identity, p256)?;
        check_spki("head-signing key", &self.head_signing, p256)?;
        check_spki("issuing CA's key", &self.issuing_ca, SignatureAlgorithm::EcdsaP384Sha384)
    }
}

impl Genesis {
    /// The bytes that [`Genesis::decode`] reads, signatures included.
    pub fn encode(&self) -> Vec<u8> {
        let signatures = self
            .operator_signatures
            .iter()
            .map(|signature| Encoder::new().u64(u64::from(signature.operator)).bytes(&signature.signature).finish());
        Encoder::new()
            .text(FORMAT)
            .bytes(&self.body.encode())
            .list(signatures.collect::<Vec<_>>())
            .bytes(&self.node_signature)
            .finish()
    }

    /// Reads what [`Genesis::encode`] wrote; verifies nothing.
    ///
    /// # Errors
    /// [`IdentityError::Encoding`], or [`IdentityError::Genesis`] for numbers out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let mut decoder = Decoder::new(bytes);
        expect_format(&mut decoder, FORMAT)?;
        let body = GenesisBody::decode(decoder.bytes()?)?;
        let operator_signatures =
            decoder.list()?.into_iter().map(decode_signature).collect::<Result<Vec<_>, IdentityError>>()?;
        let node_signature = decoder.bytes()?.to_vec();
        decoder.finish()?;
        Ok(Self { body, operator_signatures, node_signature })
    }

    /// The domain's name.
    pub fn hash(&self) -> GenesisHash {
        self.body.hash()
    }

    /// Verifies that the body is sound and that the first node and a quorum of distinct operators signed it.
    ///
    /// # Errors
    /// [`IdentityError::Genesis`], [`IdentityError::Key`], [`IdentityError::Signature`] (every signature that is there
    /// must verify) or [`IdentityError::Quorum`].
    pub fn verify(&self) -> Result<(), IdentityError> {
        let p256 = SignatureAlgorithm::EcdsaP256Sha256;
        self.body.check()?;
        let signed = self.body.encode();
        let node = "genesis record by the first node";
        verify_signature_of(node, &self.body.node_identity, p256, &signed, &self.node_signature)?;
        let mut signers = BTreeSet::new();
        for OperatorSignature { operator, signature } in &self.operator_signatures {
            let key = self.body.operators.get(*operator as usize);
            let key = key.ok_or(IdentityError::Genesis("a signature refers to an operator that it does not name"))?;
            verify_signature_of("genesis record by an operator", key, p256, &signed, signature)?;
            if !signers.insert(operator) {
                return Err(IdentityError::Genesis("an operator signed it twice"));
            }
        }
        let found = u32::try_from(signers.len()).unwrap_or(u32::MAX);
        if found < self.body.quorum {
            return Err(IdentityError::Quorum { needed: self.body.quorum, found });
        }
        Ok(())
    }
}

fn decode_signature(bytes: &[u8]) -> Result<OperatorSignature, IdentityError> {
    let mut decoder = Decoder::new(bytes);
    let operator = u32::try_from(decoder.u64()?)
        .map_err(|_| IdentityError::Genesis("a signature refers to an operator that it does not name"))?;
    let signature = decoder.bytes()?.to_vec();
    decoder.finish()?;
    Ok(OperatorSignature { operator, signature })
}

/// Reads the format name that opens every record of ours.
pub(crate) fn expect_format(decoder: &mut Decoder<'_>, expected: &str) -> Result<(), IdentityError> {
    let found = decoder.text()?;
    if found == expected {
        Ok(())
    } else {
        let shown: String = found.chars().take(64).collect();
        Err(IdentityError::encoding("record", format!("its format is `{shown}`, expected `{expected}`")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{TestDomain, sign_genesis};

    #[test]
    fn a_signed_genesis_reads_back_and_verifies() {
        let genesis = TestDomain::new(DomainClass::Dev).genesis;
        let again = Genesis::decode(&genesis.encode()).unwrap();
        assert_eq!(again, genesis);
        again.verify().unwrap();
        assert_eq!(again.hash(), genesis.hash());
    }

    #[test]
    fn fewer_operators_than_the_quorum_are_not_enough() {
        let domain = TestDomain::with_operators(DomainClass::Production, 3, 2);
        let mut genesis = domain.genesis;
        genesis.verify().unwrap();
        genesis.operator_signatures.truncate(1);
        assert_eq!(genesis.verify(), Err(IdentityError::Quorum { needed: 2, found: 1 }));
    }

    #[test]
    fn one_operator_does_not_count_twice() {
        let mut genesis = TestDomain::with_operators(DomainClass::Production, 3, 2).genesis;
        genesis.operator_signatures[1] = genesis.operator_signatures[0].clone();
        assert_eq!(genesis.verify(), Err(IdentityError::Genesis("an operator signed it twice")));
    }

    #[test]
    fn a_signature_of_a_stranger_is_refused() {
        let mut genesis = TestDomain::with_operators(DomainClass::Production, 3, 2).genesis;
        genesis.operator_signatures[1].operator = 2;
        assert_eq!(genesis.verify(), Err(IdentityError::Signature("genesis record by an operator")));
        genesis.operator_signatures[1].operator = 3;
        assert!(matches!(genesis.verify(), Err(IdentityError::Genesis(_))));
    }

    #[test]
    fn a_body_that_contradicts_itself_is_refused_though_signed() {
        let spoil: [fn(&mut GenesisBody); 6] = [
            |body| body.quorum = 0,
            |body| body.quorum = 4,
            |body| body.operators.clear(),
            |body| body.operators[1] = body.operators[0].clone(),
            |body| body.issuing_ca = body.node_identity.clone(),
            |body| body.head_signing.push(0),
        ];
        for (n, spoil) in spoil.into_iter().enumerate() {
            let domain = TestDomain::with_operators(DomainClass::Production, 3, 2);
            let mut body = domain.genesis.body.clone();
            spoil(&mut body);
            assert!(sign_genesis(body, &domain.operators, &domain.node_identity).verify().is_err(), "spoil {n}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn altered_bytes_are_refused_or_name_another_domain(at: proptest::sample::Index, bit in 0u8..8) {
            let genesis = &TestDomain::shared(DomainClass::Dev).genesis;
            let mut bytes = genesis.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(altered) = Genesis::decode(&bytes) {
                prop_assert!(altered.verify().is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Genesis::decode(&bytes).is_err());
        }
    }
}
