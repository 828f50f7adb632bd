//! A trust domain whose keys are gone: what it signed stands in `testdata/domain`, and nothing else can be signed by it.
//! So a decoder that takes anything else took a forgery. `examples/domain.rs` makes the folder anew.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use burgrave_channel::{ChannelGrant, SignedGrant};
use burgrave_identity::{CertificateDer, DomainTrust, ProfileKind, VerifiedIdentity, verify_chain};
use burgrave_types::api::KeySet;
use burgrave_types::{GenesisHash, Timestamp};

/// When all of it is valid.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

/// All profiles that a certificate of the domain's CA can have.
pub(crate) const PROFILES: [ProfileKind; 4] =
    [ProfileKind::NodeSigning, ProfileKind::Node, ProfileKind::Admin, ProfileKind::Enclave];

/// The certificates of [`PROFILES`], in that order.
pub(crate) const LEAVES: [&[u8]; 4] = [
    include_bytes!("../testdata/domain/node-signing.der"),
    include_bytes!("../testdata/domain/node.der"),
    include_bytes!("../testdata/domain/admin.der"),
    include_bytes!("../testdata/domain/enclave.der"),
];

/// The issuing CA's certificate.
pub(crate) const CA: &[u8] = include_bytes!("../testdata/domain/ca.der");
/// The one attestation result that was signed.
pub(crate) const TOKEN: &str = include_str!("../testdata/domain/result.jws");
/// The node's published keys.
pub(crate) const KEYS: &[u8] = include_bytes!("../testdata/domain/keys.json");
/// The one channel grant that was signed.
pub(crate) const GRANT: &[u8] = include_bytes!("../testdata/domain/grant.bin");

/// The domain, as who trusts it sees it.
pub(crate) struct Domain {
    pub(crate) genesis: GenesisHash,
    pub(crate) trust: DomainTrust,
    /// Whom the certificates are for.
    pub(crate) identities: Vec<VerifiedIdentity>,
    pub(crate) keys: KeySet,
    pub(crate) grant: ChannelGrant,
}

/// The domain of `testdata/domain`.
#[expect(clippy::panic, reason = "without its files nothing can be tried")]
pub(crate) fn domain() -> &'static Domain {
    static DOMAIN: LazyLock<Domain> = LazyLock::new(|| match read() {
        Ok(domain) => domain,
        Err(error) => panic!("`testdata/domain` is broken: {error:#}"),
    });
    &DOMAIN
}

fn read() -> Result<Domain> {
    let genesis: GenesisHash = include_str!("../testdata/domain/genesis-hash.txt").parse()?;
    let trust = DomainTrust::from_chain(&CertificateDer::from(CA), &genesis)?;
    let mut identities = Vec::new();
    for (leaf, profile) in LEAVES.into_iter().zip(PROFILES) {
        let identity = verify_chain(&[CertificateDer::from(leaf)], &trust, NOW, profile);
        identities.push(identity.with_context(|| format!("the certificate of {profile:?}"))?);
    }
    let grant = SignedGrant::verify(GRANT, &trust, NOW)?.grant().clone();
    Ok(Domain { genesis, trust, identities, keys: serde_json::from_slice(KEYS)?, grant })
}
