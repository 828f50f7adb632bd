//! The certificates that a node needs for itself: the CA's own, its TLS certificate, an administrator's.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use burgrave_identity::tls::CredentialSlot;
use burgrave_identity::{CertificateDer, CertificateTemplate, DomainTrust, Genesis, IdentityKey, Profile, TrustChain};
use burgrave_keyring::Keyring;
use burgrave_types::{Clock, Random, Segment, SpiffeId, Timestamp};
use rustls_pki_types::pem::PemObject;

use crate::files::{self, DataDir};

/// The issuing CA's certificate lives as long as a domain plausibly does; the chain inside it is what is believed.
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 86_400);
/// The node's TLS certificate is one of hours, and is renewed when half of them are over.
const NODE_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// An administrator's certificate.
const ADMIN_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Certificates begin a little in the past, for clocks that differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// What issues certificates: the HSM's CA, the time and randomness for serial numbers.
pub(crate) struct Issuer {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) trust: DomainTrust,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Issuer {
    /// The issuer of the domain that `genesis` founds. The CA's certificate is read from the data folder; where it is not
    /// there, it is signed anew and written.
    pub(crate) async fn open(
        data: &DataDir,
        genesis: &Genesis,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        let path = data.ca_certificate();
        let certificate = if path.exists() {
            let pem = fs::read(&path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            CertificateDer::from_pem_slice(&pem)
                .with_context(|| format!("`{}` holds no certificate", path.display()))?
        } else {
            let certificate = sign_ca(genesis, &keyring, clock.now(), &*random).await?;
            files::write_new(&path, files::certificates_pem(std::slice::from_ref(&certificate))?.as_bytes())?;
            certificate
        };
        let trust = DomainTrust::from_chain(&certificate, &genesis.hash()).with_context(|| {
            format!("`{}` is not this domain's CA certificate; move it away, and it is made anew", path.display())
        })?;
        Ok(Self { keyring, trust, clock, random })
    }

    /// The node's TLS credential: a new key under a new certificate, which names `names`, the loopback addresses and `addresses`.
    pub(crate) async fn node(&self, names: &[String], addresses: &[IpAddr]) -> Result<NodeCredential> {
        let mut ip_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        ip_addresses.extend(addresses.iter().filter(|address| !address.is_loopback() && !address.is_unspecified()));
        let mut dns_names = vec!["localhost".to_owned()];
        dns_names.extend(names.iter().filter(|name| *name != "localhost").cloned());
        let id = SpiffeId::node(self.trust.trust_domain(), self.trust.genesis().body.node_id);
        let profile = Profile::Node { id, dns_names, ip_addresses };
        let key = IdentityKey::generate()?;
        let chain = self.issue(profile, &key, NODE_LIFETIME).await?;
        Ok(NodeCredential { chain, key, renew_at: self.clock.now() + NODE_LIFETIME / 2 })
    }

    /// A client certificate for the administrator `name`, with a new key.
    pub(crate) async fn admin(&self, name: &Segment) -> Result<(Vec<CertificateDer<'static>>, IdentityKey)> {
        let key = IdentityKey::generate()?;
        let profile = Profile::Admin { id: SpiffeId::admin(self.trust.trust_domain(), name) };
        Ok((self.issue(profile, &key, ADMIN_LIFETIME).await?, key))
    }

    async fn issue(
        &self,
        profile: Profile,
        key: &IdentityKey,
        lifetime: Duration,
    ) -> Result<Vec<CertificateDer<'static>>> {
        let now = self.clock.now();
        let template = CertificateTemplate {
            profile,
            class: self.trust.class(),
            subject_spki: key.spki().to_vec(),
            issuer_spki: self.trust.ca_spki().to_vec(),
            not_before: now - CLOCK_SKEW,
            not_after: now + lifetime,
        };
        let tbs = template.to_be_signed(&*self.random)?;
        let signature = self.keyring.sign_certificate(tbs.bytes()).await?;
        Ok(vec![tbs.assemble(&signature)?, self.trust.root_certificate().clone()])
    }
}

/// A node's TLS key and chain, and when to make the next.
pub(crate) struct NodeCredential {
    chain: Vec<CertificateDer<'static>>,
    key: IdentityKey,
    pub(crate) renew_at: Timestamp,
}

impl NodeCredential {
    /// A slot that shows this credential.
    pub(crate) fn slot(&self) -> Result<Arc<CredentialSlot>> {
        CredentialSlot::new(self.chain.clone(), &self.key).context("the node's TLS credential cannot be used")
    }

    /// Shows this credential from the next handshake on.
    pub(crate) fn show_in(&self, slot: &CredentialSlot) -> Result<()> {
        slot.replace(self.chain.clone(), &self.key).context("the node's TLS credential cannot be used")
    }
}

async fn sign_ca(
    genesis: &Genesis,
    keyring: &Keyring,
    now: Timestamp,
    random: &dyn Random,
) -> Result<CertificateDer<'static>> {
    let template = CertificateTemplate {
        profile: Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) },
        class: genesis.body.class,
        subject_spki: genesis.body.issuing_ca.clone(),
        issuer_spki: genesis.body.issuing_ca.clone(),
        not_before: now - CLOCK_SKEW,
        not_after: now + CA_LIFETIME,
    };
    let tbs = template.to_be_signed(random)?;
    let signature = keyring.sign_certificate(tbs.bytes()).await?;
    Ok(tbs.assemble(&signature)?)
}
