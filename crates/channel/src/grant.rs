//! The channel grant: a node's signed word that two instances may talk, once, until a time.

use burgrave_identity::{
    CertificateDer, DomainTrust, IdentityError, IdentityKey, ProfileKind, SignatureAlgorithm, verify_chain,
    verify_signature,
};
use burgrave_seal::sha256;
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};
use burgrave_types::{
    ChannelId, GrantDigest, InstanceId, ParseError, ResultDigest, Revision, SpiffeId, SpkiHash, Timestamp,
};

const BODY_FORMAT: &str = "burgrave-channel-grant-v1";
const FORMAT: &str = "burgrave-signed-channel-grant-v1";

/// The longest signed grant that is read, in bytes.
pub const MAX_GRANT_BYTES: usize = 64 * 1024;

/// Who opens the channel, and who takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The side that asked for the channel.
    Initiator,
    /// The side that it asked for.
    Acceptor,
}

impl Role {
    /// The role in a word, as confirmations carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initiator => "initiator",
            Self::Acceptor => "acceptor",
        }
    }

    /// The other role.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One side of a channel: exactly one attested instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantSide {
    /// The enclave.
    pub spiffe_id: SpiffeId,
    /// The instance of it.
    pub instance: InstanceId,
    /// The instance's identity key, which must prove itself in the handshake.
    pub spki_hash: SpkiHash,
    /// The attestation result on which the node relied.
    pub result_digest: ResultDigest,
}

/// What a node grants: one channel between two instances.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelGrant {
    /// The channel; each side takes it once.
    pub channel: ChannelId,
    /// The side that asked.
    pub initiator: GrantSide,
    /// The side that was asked for.
    pub acceptor: GrantSide,
    /// The revision of the policies that permitted it.
    pub policy_revision: Revision,
    /// The epoch of the pair key from which the channel secret comes.
    pub epoch: u64,
    /// First instant of validity. Issuers set it a few seconds back, for clocks that differ.
    pub not_before: Timestamp,
    /// From this instant on nothing is taken from the channel.
    pub not_after: Timestamp,
    /// How many bytes of plaintext the channel carries in each direction, at most.
    pub byte_limit: u64,
    /// The node that grants it: [`SpiffeId::node`].
    pub issued_by: SpiffeId,
}

impl ChannelGrant {
    /// The side of `role`.
    pub fn side(&self, role: Role) -> &GrantSide {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }

    /// The canonical bytes (see [`burgrave_types::encoding`]): what is signed, and what [`GrantDigest`] is the SHA-256 of.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .text(BODY_FORMAT)
            .bytes(self.channel.as_bytes())
            .bytes(&self.initiator.encode())
            .bytes(&self.acceptor.encode())
            .u64(self.policy_revision.0)
            .u64(self.epoch)
            .i64(self.not_before.unix_millis())
            .i64(self.not_after.unix_millis())
            .u64(self.byte_limit)
            .text(&self.issued_by.to_string())
            .finish()
    }

    /// Reads what [`ChannelGrant::encode`] wrote. It proves nothing: only [`SignedGrant::verify`] makes a grant to rely on.
    ///
    /// # Errors
    /// [`GrantError::Encoding`] or [`GrantError::Name`] where the bytes are broken.
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut decoder = Decoder::new(bytes);
        expect_format(&mut decoder, BODY_FORMAT)?;
        let grant = Self {
            channel: ChannelId::from_bytes(decoder.array()?),
            initiator: GrantSide::decode(decoder.bytes()?)?,
            acceptor: GrantSide::decode(decoder.bytes()?)?,
            policy_revision: Revision(decoder.u64()?),
            epoch: decoder.u64()?,
            not_before: Timestamp::from_unix_millis(decoder.i64()?),
            not_after: Timestamp::from_unix_millis(decoder.i64()?),
            byte_limit: decoder.u64()?,
            issued_by: decoder.text()?.parse()?,
        };
        decoder.finish()?;
        Ok(grant)
    }

    /// Checks what the grant says, apart from time and signature.
    fn check(&self) -> Result<(), GrantError> {
        let broken = |why| Err(GrantError::Broken(why));
        if self.not_after <= self.not_before {
            return broken("it ends before it begins");
        }
        if self.initiator.spki_hash == self.acceptor.spki_hash || self.initiator.instance == self.acceptor.instance {
            return broken("both sides are the same instance");
        }
        if self.issued_by.node_id().is_none() {
            return broken("it is not issued by a node");
        }
        for side in [&self.initiator, &self.acceptor] {
            if side.spiffe_id.enclave().is_none() {
                return broken("a side is not an enclave");
            }
            if side.spiffe_id.domain() != self.issued_by.domain() {
                return broken("a side is of another trust domain than the node");
            }
        }
        Ok(())
    }

    /// Refuses the use of the grant outside its validity.
    ///
    /// # Errors
    /// [`GrantError::Validity`].
    pub fn check_validity(&self, now: Timestamp) -> Result<(), GrantError> {
        if self.not_before <= now && now < self.not_after {
            return Ok(());
        }
        let (channel, not_before, not_after) = (self.channel, self.not_before, self.not_after);
        Err(GrantError::Validity { channel, not_before, not_after, now })
    }
}

impl GrantSide {
    fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .text(&self.spiffe_id.to_string())
            .bytes(self.instance.as_bytes())
            .bytes(self.spki_hash.as_bytes())
            .bytes(self.result_digest.as_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut decoder = Decoder::new(bytes);
        let side = Self {
            spiffe_id: decoder.text()?.parse()?,
            instance: InstanceId::from_bytes(decoder.array()?),
            spki_hash: SpkiHash::from_bytes(decoder.array()?),
            result_digest: ResultDigest::from_bytes(decoder.array()?),
        };
        decoder.finish()?;
        Ok(side)
    }
}

/// A grant that was signed here, or whose signature was verified: there is no other way to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedGrant {
    grant: ChannelGrant,
    digest: GrantDigest,
    bytes: Vec<u8>,
}

impl SignedGrant {
    /// Signs a grant with a node's signing key, whose certificate (profile node-signing) leads `chain`: the leaf alone, or
    /// leaf and issuing CA. It is for the node itself; everybody else verifies.
    ///
    /// # Errors
    /// [`GrantError::Broken`] for a grant that nobody would take, [`GrantError::Identity`] where signing fails.
    pub fn sign(grant: ChannelGrant, key: &IdentityKey, chain: &[CertificateDer<'_>]) -> Result<Self, GrantError> {
        grant.check()?;
        let body = grant.encode();
        let signature = key.sign_der(&body)?;
        let bytes = Encoder::new().text(FORMAT).bytes(&body).bytes(&signature).list(chain).finish();
        Ok(Self { digest: GrantDigest::from_bytes(sha256(&body)), grant, bytes })
    }

    /// Verifies what [`SignedGrant::bytes`] gave: the node's certificate under the domain's CA, that it is the node that the
    /// grant names, its signature, the validity of certificate and grant at `now`, and that the grant makes sense.
    ///
    /// # Errors
    /// [`GrantError`] for the first check that fails.
    pub fn verify(bytes: &[u8], trust: &DomainTrust, now: Timestamp) -> Result<Self, GrantError> {
        if bytes.len() > MAX_GRANT_BYTES {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let mut decoder = Decoder::new(bytes);
        expect_format(&mut decoder, FORMAT)?;
        let body = decoder.bytes()?;
        let signature = decoder.bytes()?;
        let chain: Vec<_> = decoder.list()?.into_iter().map(CertificateDer::from).collect();
        decoder.finish()?;

        let grant = ChannelGrant::decode(body)?;
        grant.check()?;
        grant.check_validity(now)?;
        let node = verify_chain(&chain, trust, now, ProfileKind::NodeSigning)?;
        if node.spiffe_id != grant.issued_by {
            return Err(GrantError::Issuer { named: grant.issued_by, signed: node.spiffe_id });
        }
        verify_signature(&node.spki, SignatureAlgorithm::EcdsaP256Sha256, body, signature)
            .map_err(|_| GrantError::Signature)?;
        Ok(Self { digest: GrantDigest::from_bytes(sha256(body)), grant, bytes: bytes.to_vec() })
    }

    /// The grant.
    pub fn grant(&self) -> &ChannelGrant {
        &self.grant
    }

    /// SHA-256 of the grant's canonical bytes. A signature made anew over the same grant does not change it.
    pub fn digest(&self) -> GrantDigest {
        self.digest
    }

    /// What travels: grant, signature and the node's certificate.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a grant is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The encoding is broken.
    #[error("the channel grant cannot be read: {0}")]
    Encoding(#[from] DecodeError),
    /// A name in it is none.
    #[error("the channel grant cannot be read: {0}")]
    Name(#[from] ParseError),
    /// It is longer than any grant.
    #[error("the channel grant has {0} bytes, more than the {MAX_GRANT_BYTES} that are taken")]
    TooLong(usize),
    /// It contradicts itself.
    #[error("the channel grant is not valid: {0}")]
    Broken(&'static str),
    /// It is used outside its validity.
    #[error("the grant of channel `{channel}` is valid from {not_before} until {not_after}, and it is {now}; {}", if .now < .not_before { "check this machine's clock" } else { "ask for a new channel" })]
    Validity {
        /// The channel.
        channel: ChannelId,
        /// First instant it is valid.
        not_before: Timestamp,
        /// From this instant on it is not.
        not_after: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// The node's certificate is not one, or signing failed.
    #[error("the node that signed the channel grant is not accepted: {0}")]
    Identity(#[from] IdentityError),
    /// Another node signed it than it names.
    #[error("the channel grant names the node `{named}`, but `{signed}` signed it")]
    Issuer {
        /// The node in the grant.
        named: SpiffeId,
        /// The node in the certificate.
        signed: SpiffeId,
    },
    /// The signature does not verify.
    #[error("the signature of the channel grant does not verify: it was altered, or another key signed it")]
    Signature,
}

fn expect_format(decoder: &mut Decoder<'_>, format: &str) -> Result<(), DecodeError> {
    if decoder.text()? == format { Ok(()) } else { Err(DecodeError::Value("format name of a channel grant")) }
}
