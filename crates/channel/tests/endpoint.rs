//! Two endpoints joined in memory, with a relay between them that looks, alters, cuts and replays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::io::Write;
use std::sync::{Arc, LazyLock};

use burgrave_channel::{
    AcceptError, AcceptedIds, ChannelError, ChannelGrant, Endpoint, GrantError, Received, Setup, SignedGrant, State,
};
use burgrave_identity::tls::{ALPN_CHANNEL, PinnedPeerVerifier, client_config, hybrid_only_provider};
use burgrave_types::encoding::Encoder;
use burgrave_types::{ChannelId, Clock, Secret, Timestamp};
use common::{Enclave, MINUTE, NOW, World, fresh};
use proptest::prelude::*;

struct Cast {
    world: World,
    api: Enclave,
    ledger: Enclave,
    mallory: Enclave,
}

static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let world = World::new();
    let (api, ledger) = (world.enclave("payments/api", 1), world.enclave("payments/ledger", 2));
    let mallory = world.enclave("payments/ledger", 3);
    Cast { world, api, ledger, mallory }
});

/// Two ends and everything the relay saw.
struct Pair {
    initiator: Endpoint,
    acceptor: Endpoint,
    tap: Vec<u8>,
}

type Outcome = (Result<(), ChannelError>, Result<(), ChannelError>);

impl Pair {
    fn of(initiator: Setup, acceptor: Setup) -> Self {
        Self {
            initiator: Endpoint::initiator(initiator, &mut fresh(), NOW).unwrap(),
            acceptor: Endpoint::acceptor(acceptor, &mut fresh(), NOW).unwrap(),
            tap: Vec::new(),
        }
    }

    /// Relays until nothing more comes; the first error of each end.
    fn relay(&mut self) -> Outcome {
        let mut outcome: Outcome = (Ok(()), Ok(()));
        loop {
            let (there, back) = (self.initiator.take_output(), self.acceptor.take_output());
            if there.is_empty() && back.is_empty() {
                return outcome;
            }
            self.tap.extend_from_slice(&there);
            self.tap.extend_from_slice(&back);
            outcome.1 = outcome.1.and(self.acceptor.feed(&there, NOW));
            outcome.0 = outcome.0.and(self.initiator.feed(&back, NOW));
        }
    }

    fn open() -> Self {
        let mut pair = setups(|_| ()).into_pair();
        let (initiator, acceptor) = pair.relay();
        initiator.unwrap();
        acceptor.unwrap();
        assert_eq!((pair.initiator.state(), pair.acceptor.state()), (State::Open, State::Open));
        pair
    }
}

struct Setups(Setup, Setup);

impl Setups {
    fn into_pair(self) -> Pair {
        Pair::of(self.0, self.1)
    }
}

fn setups(change: impl Fn(&mut ChannelGrant)) -> Setups {
    let grant = signed(change);
    Setups(CAST.world.setup(&grant, &CAST.api), CAST.world.setup(&grant, &CAST.ledger))
}

fn signed(change: impl Fn(&mut ChannelGrant)) -> SignedGrant {
    let mut grant = CAST.world.grant(&CAST.api, &CAST.ledger);
    change(&mut grant);
    CAST.world.sign(grant)
}

/// Where the versions of TLS records stand: bytes that mean nothing (RFC 8446 section 5.1) and that nothing protects.
fn legacy_versions(records: &[u8]) -> Vec<usize> {
    let (mut places, mut at) = (Vec::new(), 0);
    while let Some([_, _, _, high, low]) = records.get(at..at + 5) {
        places.extend([at + 1, at + 2]);
        at += 5 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    places
}

fn read_all(endpoint: &mut Endpoint) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 1000];
    while let Received::Bytes(count) = endpoint.read(&mut piece, NOW).unwrap() {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

#[test]
fn two_enclaves_talk_and_the_relay_sees_no_plaintext() {
    let mut pair = Pair::open();
    let (question, answer) = (b"what is the balance of account 17".repeat(50), b"the balance is forty-two".repeat(50));
    assert_eq!(pair.initiator.write(&question, NOW).unwrap(), question.len());
    assert_eq!(pair.acceptor.write(&answer, NOW).unwrap(), answer.len());
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(read_all(&mut pair.acceptor), question);
    assert_eq!(read_all(&mut pair.initiator), answer);

    for secret in [&b"balance"[..], &[9; 32], b"account"] {
        assert!(!pair.tap.windows(secret.len()).any(|window| window == secret), "the relay saw a secret");
    }
    assert!(pair.tap.len() > question.len() + answer.len());
    assert_eq!(pair.initiator.peer(), &CAST.ledger.side.spiffe_id);
}

#[test]
fn closing_ends_both_directions_in_order() {
    let mut pair = Pair::open();
    pair.initiator.write(b"last words", NOW).unwrap();
    pair.initiator.close();
    assert!(matches!(pair.initiator.write(b"more", NOW), Err(ChannelError::Closed)));
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(pair.acceptor.state(), State::Closing);
    pair.acceptor.write(b"still here", NOW).unwrap();
    pair.acceptor.close();
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(read_all(&mut pair.acceptor), b"last words");
    assert_eq!(read_all(&mut pair.initiator), b"still here");
    assert_eq!(pair.acceptor.read(&mut [0; 8], NOW).unwrap(), Received::End);
    assert_eq!((pair.initiator.state(), pair.acceptor.state()), (State::Closed, State::Closed));
    pair.acceptor.end_of_input().unwrap();
}

#[test]
fn closing_before_it_is_open_opens_nothing() {
    let mut pair = setups(|_| ()).into_pair();
    pair.initiator.close();
    assert_eq!(pair.initiator.state(), State::Handshaking);
    let (_, acceptor) = pair.relay();
    assert!(acceptor.is_err());
    assert_ne!(pair.initiator.state(), State::Open);
    assert_ne!(pair.initiator.state(), State::Closing);
}

#[test]
fn an_end_without_a_close_is_a_truncation() {
    let mut pair = Pair::open();
    pair.initiator.write(b"pay 100 to", NOW).unwrap();
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert!(matches!(pair.acceptor.end_of_input(), Err(ChannelError::Truncated)));
    assert_eq!((pair.acceptor.state(), pair.acceptor.unread()), (State::Failed, 0));
    assert!(matches!(pair.acceptor.read(&mut [0; 8], NOW), Err(ChannelError::Truncated)));
}

#[test]
fn a_peer_with_another_key_is_refused_by_either_side() {
    // Mallory holds a genuine SVID of the same enclave, but is not the instance that the grant names.
    let mut as_acceptor = CAST.world.grant(&CAST.api, &CAST.mallory);
    let honest = signed(|_| ());
    as_acceptor.channel = honest.grant().channel;
    let forged = CAST.world.sign(as_acceptor);
    let mut pair = Pair::of(CAST.world.setup(&honest, &CAST.api), CAST.world.setup(&forged, &CAST.mallory));
    let (initiator, acceptor) = pair.relay();
    assert!(matches!(initiator, Err(ChannelError::Peer(_))), "{initiator:?}");
    assert!(matches!(acceptor, Err(ChannelError::PeerRefused(_))), "{acceptor:?}");

    let mallory = CAST.world.enclave("payments/api", 4);
    let mut as_initiator = CAST.world.grant(&mallory, &CAST.ledger);
    as_initiator.channel = honest.grant().channel;
    let forged = CAST.world.sign(as_initiator);
    let mut pair = Pair::of(CAST.world.setup(&forged, &mallory), CAST.world.setup(&honest, &CAST.ledger));
    let (initiator, acceptor) = pair.relay();
    assert!(matches!(acceptor, Err(ChannelError::Peer(_))), "{acceptor:?}");
    assert!(matches!(initiator, Err(ChannelError::PeerRefused(_))), "{initiator:?}");
}

#[test]
fn a_grant_for_another_instance_opens_nothing() {
    let grant = signed(|_| ());
    let mallory = CAST.world.setup(&grant, &CAST.mallory);
    let error = Endpoint::acceptor(mallory, &mut fresh(), NOW).unwrap_err();
    assert!(matches!(error, ChannelError::NotOurs { what: "key", .. }), "{error}");
    let swapped = CAST.world.setup(&grant, &CAST.ledger);
    let error = Endpoint::initiator(swapped, &mut fresh(), NOW).unwrap_err();
    assert!(matches!(error, ChannelError::NotOurs { what: "SPIFFE id", .. }), "{error}");
}

#[test]
fn two_sides_with_different_grants_do_not_confirm() {
    let (honest, channel) = (signed(|_| ()), ChannelId::from_bytes([5; 16]));
    for (change, expect_other_channel) in [
        (Box::new(move |grant: &mut ChannelGrant| grant.channel = channel) as Box<dyn Fn(&mut ChannelGrant)>, true),
        (Box::new(|grant: &mut ChannelGrant| grant.byte_limit += 1), false),
    ] {
        let mut other = honest.grant().clone();
        change(&mut other);
        let other = CAST.world.sign(other);
        let mut pair = Pair::of(CAST.world.setup(&honest, &CAST.api), CAST.world.setup(&other, &CAST.ledger));
        let (_, acceptor) = pair.relay();
        match acceptor {
            Err(ChannelError::OtherChannel { .. }) => assert!(expect_other_channel),
            Err(ChannelError::Confirmation) => assert!(!expect_other_channel),
            other => panic!("{other:?}"),
        }
        assert_ne!(pair.initiator.state(), State::Open);
    }
}

#[test]
fn a_side_without_the_channel_secret_is_refused() {
    let Setups(initiator, acceptor) = setups(|_| ());
    let mut pair = Pair::of(Setup { secret: Secret::new([8; 32]), ..initiator }, acceptor);
    let (_, acceptor) = pair.relay();
    assert!(matches!(acceptor, Err(ChannelError::Confirmation)), "{acceptor:?}");
    assert_ne!(pair.initiator.state(), State::Open);
    assert_eq!(pair.initiator.write(b"secret", NOW).unwrap(), 0, "nothing leaves before the channel is open");
}

/// An initiator of our own making: it holds every key, and keeps to no order.
struct RawInitiator {
    tls: rustls::ClientConnection,
    grant: SignedGrant,
}

impl RawInitiator {
    fn connected_to(acceptor: &mut Endpoint, grant: SignedGrant) -> Self {
        let peer = &grant.grant().acceptor;
        let clock = Arc::new(Still);
        let verifier = PinnedPeerVerifier::new(CAST.world.trust.clone(), clock, peer.spiffe_id.clone(), peer.spki_hash);
        let credential = Some(CAST.api.credential.clone());
        let config = client_config(hybrid_only_provider(), verifier, credential, &[ALPN_CHANNEL]).unwrap();
        let name = grant.grant().channel.to_string().try_into().unwrap();
        let mut raw = Self { tls: rustls::ClientConnection::new(Arc::new(config), name).unwrap(), grant };
        while raw.tls.is_handshaking() {
            raw.send_to(acceptor).unwrap();
            let answer = acceptor.take_output();
            raw.tls.read_tls(&mut answer.as_slice()).unwrap();
            raw.tls.process_new_packets().unwrap();
        }
        raw
    }

    fn confirmation(&self, role: &str) -> Vec<u8> {
        let context = *self.grant.digest().as_bytes();
        let exporter =
            self.tls.export_keying_material([0; 32], b"EXPORTER-burgrave-channel-v1", Some(&context)).unwrap();
        let input = Encoder::new().text("burgrave-channel-confirm-v1").text(role).bytes(&exporter).finish();
        [b"BGC1".as_slice(), &burgrave_seal::hmac_sha256(&[9; 32], &input)].concat()
    }

    fn write(&mut self, plaintext: &[u8]) {
        self.tls.writer().write_all(plaintext).unwrap();
    }

    fn send_to(&mut self, acceptor: &mut Endpoint) -> Result<(), ChannelError> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        acceptor.feed(&bytes, NOW)
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn raw_pair() -> (RawInitiator, Endpoint) {
    let grant = signed(|_| ());
    let mut acceptor = Endpoint::acceptor(CAST.world.setup(&grant, &CAST.ledger), &mut fresh(), NOW).unwrap();
    (RawInitiator::connected_to(&mut acceptor, grant), acceptor)
}

#[test]
fn data_in_place_of_a_confirmation_is_refused() {
    let (mut raw, mut acceptor) = raw_pair();
    raw.write(b"data without a word of who I am, long enough to be a confirmation");
    let error = raw.send_to(&mut acceptor).unwrap_err();
    assert!(matches!(error, ChannelError::Unconfirmed), "{error}");
    assert_eq!(acceptor.unread(), 0);
}

#[test]
fn data_before_the_other_side_has_confirmed_is_refused() {
    // In one piece with the confirmation, and in a piece after it that comes too early.
    for pieces in [1, 2] {
        let (mut raw, mut acceptor) = raw_pair();
        raw.write(&raw.confirmation("initiator"));
        if pieces == 2 {
            raw.send_to(&mut acceptor).unwrap();
        }
        raw.write(b"impatient");
        let error = raw.send_to(&mut acceptor).unwrap_err();
        assert!(matches!(error, ChannelError::Unconfirmed), "{error}");
    }
    // The same initiator, patient, is heard.
    let (mut raw, mut acceptor) = raw_pair();
    raw.write(&raw.confirmation("initiator"));
    raw.send_to(&mut acceptor).unwrap();
    assert!(!acceptor.take_output().is_empty());
    raw.write(b"patient");
    raw.send_to(&mut acceptor).unwrap();
    assert_eq!(read_all(&mut acceptor), b"patient");
}

#[test]
fn a_confirmation_of_the_other_role_or_an_altered_one_confirms_nothing() {
    let (mut raw, mut acceptor) = raw_pair();
    raw.write(&raw.confirmation("acceptor"));
    assert!(matches!(raw.send_to(&mut acceptor), Err(ChannelError::Confirmation)));

    let (mut raw, mut acceptor) = raw_pair();
    let mut altered = raw.confirmation("initiator");
    altered[10] ^= 1;
    raw.write(&altered);
    assert!(matches!(raw.send_to(&mut acceptor), Err(ChannelError::Confirmation)));
}

#[test]
fn an_altered_byte_ends_the_channel() {
    let mut pair = Pair::open();
    pair.initiator.write(b"pay 100 to alice", NOW).unwrap();
    let mut bytes = pair.initiator.take_output();
    *bytes.last_mut().unwrap() ^= 1;
    let error = pair.acceptor.feed(&bytes, NOW).unwrap_err();
    assert!(matches!(error, ChannelError::Tls(rustls::Error::DecryptError)), "{error}");
    assert_eq!(pair.acceptor.unread(), 0);

    // The alert tells the other side.
    let alert = pair.acceptor.take_output();
    let error = pair.initiator.feed(&alert, NOW).unwrap_err();
    assert!(matches!(error, ChannelError::PeerRefused(_)), "{error}");
}

#[test]
fn a_replayed_or_reordered_record_ends_the_channel() {
    let mut pair = Pair::open();
    pair.initiator.write(b"one", NOW).unwrap();
    let one = pair.initiator.take_output();
    pair.acceptor.feed(&one, NOW).unwrap();
    assert!(matches!(pair.acceptor.feed(&one, NOW), Err(ChannelError::Tls(_))));

    let mut pair = Pair::open();
    pair.initiator.write(b"one", NOW).unwrap();
    let _withheld = pair.initiator.take_output();
    pair.initiator.write(b"two", NOW).unwrap();
    let two = pair.initiator.take_output();
    assert!(matches!(pair.acceptor.feed(&two, NOW), Err(ChannelError::Tls(_))));
}

#[test]
fn a_channel_id_is_accepted_once_by_each_side() {
    let grant = signed(|_| ());
    let mut accepted = AcceptedIds::new(8);
    Endpoint::acceptor(CAST.world.setup(&grant, &CAST.ledger), &mut accepted, NOW).unwrap();
    let error = Endpoint::acceptor(CAST.world.setup(&grant, &CAST.ledger), &mut accepted, NOW).unwrap_err();
    assert!(matches!(error, ChannelError::Accept(AcceptError::Replayed(_))), "{error}");
}

#[test]
fn an_ended_grant_opens_nothing_and_ends_a_live_channel() {
    let grant = signed(|_| ());
    let late = NOW + MINUTE;
    let error = Endpoint::acceptor(CAST.world.setup(&grant, &CAST.ledger), &mut fresh(), late).unwrap_err();
    assert!(matches!(error, ChannelError::Grant(GrantError::Validity { .. })), "{error}");

    let mut pair = Pair::open();
    pair.initiator.write(b"in time", NOW).unwrap();
    let bytes = pair.initiator.take_output();
    assert!(matches!(pair.acceptor.feed(&bytes, late), Err(ChannelError::Expired { .. })));
    assert!(matches!(pair.initiator.write(b"too late", late), Err(ChannelError::Expired { .. })));
    assert_eq!((pair.initiator.state(), pair.acceptor.state()), (State::Failed, State::Failed));
}

#[test]
fn no_more_bytes_pass_than_the_grant_allows() {
    let mut pair = setups(|grant| grant.byte_limit = 10).into_pair();
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(pair.initiator.write(b"twelve bytes", NOW).unwrap(), 10);
    assert!(matches!(pair.initiator.write(b"es", NOW), Err(ChannelError::ByteLimit(10))));
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(read_all(&mut pair.acceptor), b"twelve byt");
}

#[test]
fn a_full_output_takes_no_more_until_it_is_taken() {
    let mut pair = Pair::open();
    let block = vec![1; 64 * 1024];
    let mut taken = 0;
    loop {
        match pair.initiator.write(&block, NOW).unwrap() {
            0 => break,
            count => taken += count,
        }
        assert!(taken < 1024 * 1024, "there is no bound");
    }
    let (there, back) = pair.relay();
    there.and(back).unwrap();
    assert_eq!(read_all(&mut pair.acceptor).len(), taken);
    assert!(pair.initiator.write(&block, NOW).unwrap() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cutting_of_the_bytes_gives_the_same_stream(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..6),
        cuts in prop::collection::vec(1usize..700, 1..20),
    ) {
        let Pair { mut initiator, mut acceptor, .. } = setups(|_| ()).into_pair();
        let mut cuts = cuts.iter().cycle();
        let mut relay = |from: &mut Endpoint, to: &mut Endpoint| {
            let bytes = from.take_output();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                to.feed(piece, NOW).unwrap();
                rest = after;
            }
            !bytes.is_empty()
        };
        while relay(&mut initiator, &mut acceptor) | relay(&mut acceptor, &mut initiator) {}
        for message in &messages {
            prop_assert_eq!(initiator.write(message, NOW).unwrap(), message.len());
            prop_assert_eq!(acceptor.write(message, NOW).unwrap(), message.len());
            while relay(&mut initiator, &mut acceptor) | relay(&mut acceptor, &mut initiator) {}
        }
        let all = messages.concat();
        prop_assert_eq!(read_all(&mut acceptor), all.clone());
        prop_assert_eq!(read_all(&mut initiator), all);
    }

    #[test]
    fn an_alteration_of_the_handshake_or_the_confirmations_opens_nothing(at in 0usize..4000, bit in 0u8..8) {
        let Pair { mut initiator, mut acceptor, .. } = setups(|_| ()).into_pair();
        let (mut seen, mut altered) = (0, false);
        for round in 0..12 {
            let (from, to) = if round % 2 == 0 { (&mut initiator, &mut acceptor) } else { (&mut acceptor, &mut initiator) };
            let mut bytes = from.take_output();
            if let Some(byte) = at.checked_sub(seen).filter(|at| !legacy_versions(&bytes).contains(at)).and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1 << bit;
                altered = true;
            }
            seen += bytes.len();
            let _ = to.feed(&bytes, NOW);
        }
        let open = initiator.state() == State::Open && acceptor.state() == State::Open;
        prop_assert_eq!(open, !altered);
    }

    #[test]
    fn arbitrary_bytes_never_open_a_channel(bytes: Vec<u8>) {
        let Pair { mut initiator, mut acceptor, .. } = setups(|_| ()).into_pair();
        let _ = acceptor.feed(&bytes, NOW);
        let _ = initiator.feed(&bytes, NOW);
        prop_assert_ne!(acceptor.state(), State::Open);
        prop_assert_ne!(initiator.state(), State::Open);
    }
}
