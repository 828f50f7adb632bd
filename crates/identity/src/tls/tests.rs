//! Handshakes in memory, one per verifier, and their failing twins.

use std::sync::Arc;

use burgrave_types::{DomainClass, SpiffeId};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConnection, NamedGroup, ServerConnection};

use super::*;
use crate::testing::{HOUR, NOW, Still, TestDomain, TestRandom, clock};
use crate::{CertificateDer, IdentityKey, Profile, self_signed_identity};

/// What one side shows.
struct Party {
    key: IdentityKey,
    chain: Vec<CertificateDer<'static>>,
}

impl Party {
    fn with(domain: &TestDomain, profile: Profile) -> Self {
        let key = IdentityKey::generate().unwrap();
        Self { chain: domain.chain(profile, &key), key }
    }

    fn unattested() -> Self {
        let key = IdentityKey::generate().unwrap();
        Self { chain: vec![self_signed_identity(&key, NOW, &TestRandom).unwrap()], key }
    }

    fn slot(&self) -> Arc<CredentialSlot> {
        CredentialSlot::new(self.chain.clone(), &self.key).unwrap()
    }
}

/// Both ends after a handshake.
struct Session {
    client: ClientConnection,
    server: ServerConnection,
}

impl Session {
    /// The client's chain, as the server saw it.
    fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.server.peer_certificates().unwrap_or_default()
    }
}

fn connect(client: ClientConfig, server: ServerConfig) -> Result<Session, rustls::Error> {
    let name = ServerName::try_from("node.invalid").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    // TLS 1.3 with client authentication takes two flights each way at most.
    for _ in 0..4 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Session { client, server })
}

fn handshake(
    client: Option<&Party>,
    server_verifier: Arc<dyn ServerCertVerifier>,
    server: &Party,
    client_verifier: Arc<dyn ClientCertVerifier>,
) -> Result<Session, rustls::Error> {
    let client = client_config(hybrid_only_provider(), server_verifier, client.map(Party::slot), &[ALPN_LINK]).unwrap();
    let server = server_config(hybrid_only_provider(), client_verifier, server.slot(), &[ALPN_LINK]).unwrap();
    connect(client, server)
}

/// The code of the refusal inside a failed handshake.
fn code(result: Result<Session, rustls::Error>) -> &'static str {
    match result {
        Ok(_) => "no refusal",
        Err(error) => refusal(&error).map_or("another error", IdentityError::code),
    }
}

/// An agent's link to a node: client and server verifiers of `domain`.
fn link(agent: &Party, node: &Party, domain: &TestDomain) -> Result<Session, rustls::Error> {
    let node_verifier = NodeVerifier::new(domain.genesis.hash(), clock());
    handshake(Some(agent), node_verifier, node, LinkClientVerifier::new(domain.trust(), clock()))
}

#[test]
fn an_unattested_agent_and_a_node_meet_by_the_genesis_hash() {
    let domain = TestDomain::shared(DomainClass::Production);
    let (agent, node) = (Party::unattested(), Party::with(domain, domain.node()));
    let session = link(&agent, &node, domain).unwrap();
    let verifier = LinkClientVerifier::new(domain.trust(), clock());
    let peer = verifier.classify(session.client_chain()).unwrap();
    assert_eq!(peer, LinkPeer::Unattested { spki: agent.key.spki().to_vec() });
    let verifier = NodeVerifier::new(domain.genesis.hash(), clock());
    let (trust, found) = verifier.identify(session.client.peer_certificates().unwrap()).unwrap();
    assert_eq!(trust, domain.trust());
    assert_eq!(found.spiffe_id.node_id(), Some(domain.genesis.body.node_id));
    assert_eq!(session.client.alpn_protocol(), Some(ALPN_LINK));
    assert_eq!(session.client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn an_attested_agent_is_known_by_its_svid() {
    let domain = TestDomain::shared(DomainClass::Production);
    let (agent, node) = (Party::with(domain, domain.enclave("payments/api")), Party::with(domain, domain.node()));
    let session = link(&agent, &node, domain).unwrap();
    let peer = LinkClientVerifier::new(domain.trust(), clock()).classify(session.client_chain()).unwrap();
    let LinkPeer::Svid(identity) = peer else { panic!("{peer:?}") };
    assert_eq!(identity.spiffe_id.to_string(), "spiffe://example.org/payments/api");
    assert_eq!(identity.spki_hash, agent.key.spki_hash());
}

#[test]
fn both_ends_of_a_link_export_the_same_secret_and_another_link_another() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let (agent, node) = (Party::unattested(), Party::with(domain, domain.node()));
    let export = |session: &Session| {
        let label = b"EXPORTER-burgrave-attest-v1";
        let client = session.client.export_keying_material([0; 32], label, None).unwrap();
        let server = session.server.export_keying_material([0; 32], label, None).unwrap();
        assert_eq!(client, server);
        client
    };
    let (first, second) = (link(&agent, &node, domain).unwrap(), link(&agent, &node, domain).unwrap());
    assert_ne!(export(&first), export(&second));
}

#[test]
fn an_agent_refuses_a_node_of_another_domain_and_what_is_no_node() {
    let (domain, other) = (TestDomain::shared(DomainClass::Dev), TestDomain::new(DomainClass::Dev));
    let agent = Party::unattested();
    assert_eq!(code(link(&agent, &Party::with(&other, other.node()), domain)), "identity.genesis.other");
    for profile in [domain.enclave("a/b"), domain.admin(), domain.node_signing()] {
        assert_eq!(code(link(&agent, &Party::with(domain, profile), domain)), "identity.profile");
    }
    assert_eq!(code(link(&agent, &Party::unattested(), domain)), "identity.chain.length");
}

#[test]
fn an_agent_refuses_a_node_whose_certificate_ran_out() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let node = Party::with(domain, domain.node());
    let late = NodeVerifier::new(domain.genesis.hash(), Arc::new(Still(NOW + 2 * HOUR)));
    let agents = LinkClientVerifier::new(domain.trust(), clock());
    assert_eq!(code(handshake(Some(&Party::unattested()), late, &node, agents)), "identity.validity");
}

#[test]
fn a_link_takes_neither_strangers_nor_other_profiles_nor_nobody() {
    let (domain, other) = (TestDomain::shared(DomainClass::Dev), TestDomain::new(DomainClass::Dev));
    let node = Party::with(domain, domain.node());
    assert_eq!(code(link(&Party::with(&other, other.enclave("a/b")), &node, domain)), "identity.genesis.other");
    for profile in [domain.node(), domain.admin(), domain.node_signing()] {
        assert_eq!(code(link(&Party::with(domain, profile), &node, domain)), "identity.profile");
    }
    let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
    let agents = LinkClientVerifier::new(domain.trust(), clock());
    let error = handshake(None, nodes, &node, agents).err().unwrap();
    assert_eq!(error, rustls::Error::NoCertificatesPresented);
}

#[test]
fn a_certificate_without_its_key_does_not_get_through() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let victim = Party::with(domain, domain.enclave("a/b"));
    let thief = IdentityKey::generate().unwrap();
    let error = CredentialSlot::new(victim.chain.clone(), &thief).unwrap_err();
    assert!(matches!(error, IdentityError::OtherPeer { .. }), "{error}");

    // Past our own check, with the TLS library alone.
    let pkcs8 = thief.to_pkcs8().unwrap();
    let der = rustls_pki_types::PrivateKeyDer::Pkcs8(pkcs8.expose().as_slice().into());
    let signer = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der).unwrap();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(victim.chain.clone(), signer));
    let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
    let mut client = client_config(hybrid_only_provider(), nodes, Some(victim.slot()), &[ALPN_LINK]).unwrap();
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    let agents = LinkClientVerifier::new(domain.trust(), clock());
    let node = Party::with(domain, domain.node());
    let server = server_config(hybrid_only_provider(), agents, node.slot(), &[ALPN_LINK]).unwrap();
    let error = connect(client, server).err().unwrap();
    assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::BadSignature));
}

#[test]
fn administrators_may_come_with_a_certificate_or_without() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let node = Party::with(domain, domain.node());
    let meet = |client: Option<&Party>| {
        let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
        handshake(client, nodes, &node, AdminClientVerifier::new(domain.trust(), clock()))
    };
    assert!(meet(None).unwrap().client_chain().is_empty());
    let session = meet(Some(&Party::with(domain, domain.admin()))).unwrap();
    let admins = AdminClientVerifier::new(domain.trust(), clock());
    let admin = admins.identify(session.client_chain()).unwrap();
    assert_eq!(admin.spiffe_id.administrator(), Some("root".parse().unwrap()));
    assert_eq!(code(meet(Some(&Party::with(domain, domain.enclave("a/b"))))), "identity.profile");
    assert_eq!(code(meet(Some(&Party::unattested()))), "identity.profile");
}

#[test]
fn the_two_ends_of_a_channel_accept_each_other_alone() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let (a, b) = (Party::with(domain, domain.enclave("pay/a")), Party::with(domain, domain.enclave("pay/b")));
    let (twin, stranger) = (Party::with(domain, domain.enclave("pay/b")), Party::with(domain, domain.enclave("pay/c")));
    let pin = |name: &str, party: &Party| {
        let id: SpiffeId = format!("spiffe://example.org/{name}").parse().unwrap();
        PinnedPeerVerifier::new(domain.trust(), clock(), id, party.key.spki_hash())
    };
    let meet = |client: &Party, server: &Party| handshake(Some(client), pin("pay/b", &b), server, pin("pay/a", &a));
    let session = meet(&a, &b).unwrap();
    assert_eq!(pin("pay/a", &a).identify(session.client_chain()).unwrap().spki, a.key.spki());
    assert_eq!(code(meet(&a, &twin)), "identity.peer");
    assert_eq!(code(meet(&a, &stranger)), "identity.peer");
    assert_eq!(code(meet(&stranger, &b)), "identity.peer");
    assert_eq!(code(meet(&Party::with(domain, domain.node()), &b)), "identity.profile");
    assert_eq!(code(meet(&Party::unattested(), &b)), "identity.profile");
}

#[test]
fn a_peer_without_the_hybrid_group_or_our_protocol_does_not_get_a_link() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let (agent, node) = (Party::unattested(), Party::with(domain, domain.node()));
    let classical = provider_of(vec![kx_group::X25519]);
    let meet = |provider, alpn: &[u8]| {
        let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
        let client = client_config(provider, nodes, Some(agent.slot()), &[alpn]).unwrap();
        let agents = LinkClientVerifier::new(domain.trust(), clock());
        connect(client, server_config(hybrid_only_provider(), agents, node.slot(), &[ALPN_LINK]).unwrap())
    };
    assert!(meet(hybrid_only_provider(), ALPN_LINK).is_ok());
    assert!(matches!(meet(classical, ALPN_LINK), Err(rustls::Error::PeerIncompatible(_))));
    assert_eq!(meet(hybrid_only_provider(), ALPN_CHANNEL).err().unwrap(), rustls::Error::NoApplicationProtocol);
}

#[test]
fn a_session_leaves_nothing_to_resume() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let (agent, node) = (Party::unattested(), Party::with(domain, domain.node()));
    let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
    let client = Arc::new(client_config(hybrid_only_provider(), nodes, Some(agent.slot()), &[ALPN_LINK]).unwrap());
    let agents = LinkClientVerifier::new(domain.trust(), clock());
    let server = Arc::new(server_config(hybrid_only_provider(), agents, node.slot(), &[ALPN_LINK]).unwrap());
    for _ in 0..2 {
        let session = connect(ClientConfig::clone(&client), ServerConfig::clone(&server)).unwrap();
        assert_eq!(session.client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(session.client.tls13_tickets_received(), 0);
    }
}

#[test]
fn a_replaced_credential_is_shown_from_the_next_handshake_on() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let (agent, node) = (Party::unattested(), Party::with(domain, domain.node()));
    let slot = agent.slot();
    let meet = || {
        let nodes = NodeVerifier::new(domain.genesis.hash(), clock());
        let client = client_config(hybrid_only_provider(), nodes, Some(slot.clone()), &[ALPN_LINK]).unwrap();
        let agents = LinkClientVerifier::new(domain.trust(), clock());
        connect(client, server_config(hybrid_only_provider(), agents, node.slot(), &[ALPN_LINK]).unwrap()).unwrap()
    };
    assert_eq!(meet().client_chain().len(), 1);
    slot.replace(domain.chain(domain.enclave("a/b"), &agent.key), &agent.key).unwrap();
    assert_eq!(meet().client_chain(), slot.chain());
    assert!(slot.replace(node.chain.clone(), &agent.key).is_err());
    assert_eq!(meet().client_chain().len(), 2);
}

#[test]
fn a_refusal_is_found_inside_an_io_error() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let error = link(&Party::unattested(), &Party::unattested(), domain).err().unwrap();
    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    assert_eq!(refusal(&error), Some(&IdentityError::ChainLength(1)));
    assert_eq!(refusal(&std::io::Error::other("disk")), None);
}
