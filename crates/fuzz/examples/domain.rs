//! Makes the trust domain of `testdata/domain` anew, with keys that are forgotten at once: what it signed cannot be signed
//! again, so whatever else a decoder accepts under it is a fault. `cargo run -p burgrave-fuzz --example domain`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use burgrave_channel::{ChannelGrant, GrantSide, SignedGrant};
use burgrave_identity::{
    CertificateDer, CertificateTemplate, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile, TrustChain,
    jwk, jws,
};
use burgrave_seal::SystemRandom;
use burgrave_types::api::KeySet;
use burgrave_types::{ChannelId, DomainClass, InstanceId, NodeId, ResultDigest, Revision, SpiffeId, SpkiHash};

/// When all of it is valid, and some time before and after.
const NOW: burgrave_types::Timestamp = burgrave_types::Timestamp::from_unix_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/domain");
    let ca = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?;
    let node = NodeId::from_bytes([7; 16]);
    let genesis = genesis(&ca, node)?;
    let root = issue(&ca, Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) }, &spki(&ca)?)?;

    let domain = &genesis.body.trust_domain;
    let id = SpiffeId::node(domain, node);
    let key = IdentityKey::generate()?;
    let signer = issue(&ca, Profile::NodeSigning { id: id.clone() }, key.spki())?;
    let dns_names = vec!["localhost".to_owned()];
    let node = Profile::Node { id: id.clone(), dns_names, ip_addresses: vec!["127.0.0.1".parse()?] };
    let admin = Profile::Admin { id: SpiffeId::admin(domain, &"root".parse()?) };
    let enclave = Profile::Enclave { id: format!("spiffe://{domain}/payments/api").parse()? };

    let chain = [signer.clone(), root.clone()];
    let result = serde_json::json!({"ear.status": "affirming"});
    let token = jws::sign(&result, jws::TYP_ATTESTATION_RESULT, &key, &chain)?;
    let keys = KeySet { keys: vec![jwk(key.spki(), &chain)?] };
    let grant = SignedGrant::sign(grant(id)?, &key, &chain)?;

    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).with_context(|| format!("`{name}` cannot be written"))
    };
    write("genesis-hash.txt", genesis.hash().to_string().as_bytes())?;
    write("ca.der", &root)?;
    write("node-signing.der", &signer)?;
    write("node.der", &issue(&ca, node, IdentityKey::generate()?.spki())?)?;
    write("admin.der", &issue(&ca, admin, IdentityKey::generate()?.spki())?)?;
    write("enclave.der", &issue(&ca, enclave, IdentityKey::generate()?.spki())?)?;
    write("result.jws", token.as_bytes())?;
    write("keys.json", &serde_json::to_vec(&keys)?)?;
    write("grant.bin", grant.bytes())
}

fn genesis(ca: &EcdsaKeyPair, node_id: NodeId) -> Result<Genesis> {
    let (operator, node, head) = (IdentityKey::generate()?, IdentityKey::generate()?, IdentityKey::generate()?);
    let body = GenesisBody {
        trust_domain: "example.org".parse()?,
        class: DomainClass::Dev,
        operators: vec![operator.spki().to_vec()],
        quorum: 1,
        node_id,
        node_identity: node.spki().to_vec(),
        issuing_ca: spki(ca)?,
        head_signing: head.spki().to_vec(),
        created: NOW - HOUR,
    };
    let signed = body.encode();
    let operator_signatures = vec![OperatorSignature { operator: 0, signature: operator.sign_der(&signed)? }];
    Ok(Genesis { node_signature: node.sign_der(&signed)?, operator_signatures, body })
}

fn grant(issued_by: SpiffeId) -> Result<ChannelGrant> {
    let side = |name: &str, number: u8| -> Result<GrantSide> {
        Ok(GrantSide {
            spiffe_id: format!("spiffe://example.org/payments/{name}").parse()?,
            instance: InstanceId::from_bytes([number; 16]),
            spki_hash: SpkiHash::from_bytes([number; 32]),
            result_digest: ResultDigest::from_bytes([number; 32]),
        })
    };
    Ok(ChannelGrant {
        channel: ChannelId::from_bytes([4; 16]),
        initiator: side("api", 1)?,
        acceptor: side("ledger", 2)?,
        policy_revision: Revision(3),
        epoch: 1,
        not_before: NOW - HOUR,
        not_after: NOW + HOUR,
        byte_limit: 1 << 30,
        issued_by,
    })
}

fn spki(key: &EcdsaKeyPair) -> Result<Vec<u8>> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der()?;
    Ok(der.as_ref().to_vec())
}

fn issue(ca: &EcdsaKeyPair, profile: Profile, subject: &[u8]) -> Result<CertificateDer<'static>> {
    let template = CertificateTemplate {
        profile,
        class: DomainClass::Dev,
        subject_spki: subject.to_vec(),
        issuer_spki: spki(ca)?,
        not_before: NOW - HOUR,
        not_after: NOW + HOUR,
    };
    let tbs = template.to_be_signed(&SystemRandom)?;
    Ok(tbs.assemble(ca.sign(&aws_lc_rs::rand::SystemRandom::new(), tbs.bytes())?.as_ref())?)
}
