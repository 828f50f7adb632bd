//! The hub between connections without sockets: what holds when a call returns.

use burgrave_control::{LinkDirectory, Notice, OpenedChannel};
use burgrave_protocol::frame::{Decoder, FrameType};
use burgrave_protocol::wire::{self, push};
use burgrave_types::{Operation, ResourceId, Revision, Timestamp};

use super::directory::notices;
use super::*;

fn instance(n: u8) -> InstanceId {
    InstanceId::from_bytes([n; 16])
}

fn opened(channel: u8) -> OpenedChannel {
    OpenedChannel {
        channel: ChannelId::from_bytes([channel; 16]),
        grant: b"grant".to_vec(),
        initiator_secret: b"for the initiator".to_vec(),
        acceptor: instance(2),
        acceptor_secret: b"for the acceptor".to_vec(),
        byte_limit: 1,
        not_after: Timestamp::from_unix_secs(0),
    }
}

/// A hub with the connections of two instances.
fn hub() -> (Arc<LinkHub>, Arc<Peer>, Arc<Peer>) {
    let hub = LinkHub::new();
    let (a, b) = (hub.connect(4), hub.connect(4));
    hub.bind(instance(1), &a);
    hub.bind(instance(2), &b);
    (hub, a, b)
}

fn kinds(peer: &Peer) -> Vec<FrameType> {
    let mut batch = Vec::new();
    peer.fill(&mut batch, usize::MAX);
    let mut decoder = Decoder::new();
    decoder.push(&batch);
    std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|frame| frame.kind).collect()
}

fn reason() -> Problem {
    Problem::new(ProblemCode::ChannelCut, "the policy changed")
}

#[test]
fn a_cut_that_comes_before_the_route_holds() {
    let (hub, a, b) = hub();
    let opened = opened(7);
    hub.cut(opened.channel, &reason());
    // However many others are cut meanwhile.
    for n in 0..10_000u128 {
        hub.cut(ChannelId::from_bytes(n.to_be_bytes()), &reason());
    }
    let asked = std::cell::Cell::new(false);
    let refused = hub.open(&opened, &a, 1, 4, || {
        asked.set(true);
        assert!(lock(&hub.state).routes.contains_key(&opened.channel), "a cut from here on finds the route");
        false
    });
    assert_eq!(refused.unwrap_err().code, ProblemCode::ChannelCut);
    assert!(asked.get() && lock(&hub.state).routes.is_empty());
    assert!(a.channel(1).is_none() && b.channels().is_empty());
    assert!(!kinds(&b).contains(&FrameType::Open));
}

#[test]
fn a_cut_between_the_route_and_its_offer_holds() {
    let (hub, a, b) = hub();
    let opened = opened(7);
    let refused = hub.open(&opened, &a, 1, 4, || {
        hub.cut(opened.channel, &reason());
        true
    });
    assert!(refused.is_err() && a.channel(1).is_none() && b.channels().is_empty());
    assert!(!kinds(&b).contains(&FrameType::Open));
}

#[test]
fn a_newer_link_of_an_instance_ends_the_older_with_its_channels() {
    let (hub, a, b) = hub();
    hub.open(&opened(7), &a, 1, 4, || true).unwrap();
    assert_eq!((kinds(&a), kinds(&b)), (vec![FrameType::Response], vec![FrameType::Open]));
    let newer = hub.connect(4);
    hub.bind(instance(1), &newer);
    assert!(a.has_ended() && !newer.has_ended());
    assert_eq!(kinds(&b), [FrameType::Cut]);
    assert_eq!(a.take_unreported(), [opened(7).channel]);
    hub.disconnected(&a, Some(instance(1)));
    assert!(hub.is_linked(instance(1)), "the end of the older link is not that of the instance");
}

#[test]
fn a_connection_that_ended_while_it_attested_is_no_link() {
    let (hub, a, _b) = hub();
    hub.disconnected(&a, Some(instance(1)));
    a.end_silently();
    hub.bind(instance(1), &a);
    assert!(!hub.is_linked(instance(1)));
    assert!(!lock(&hub.state).instances.contains_key(&instance(1)));
}

#[test]
fn a_disconnected_instance_is_gone_when_the_call_returns() {
    let (hub, a, b) = hub();
    hub.open(&opened(7), &a, 1, 4, || true).unwrap();
    hub.disconnect(instance(2), &reason());
    assert!(!hub.is_linked(instance(2)) && b.has_ended());
    assert!(kinds(&a).contains(&FrameType::Cut));
    assert_eq!(hub.open(&opened(8), &a, 3, 4, || true).unwrap_err().code, ProblemCode::PeerUnavailable);
}

#[test]
fn where_all_links_end_nothing_is_relayed_when_the_call_returns() {
    let (hub, a, b) = hub();
    let stranger = hub.connect(4);
    hub.open(&opened(7), &a, 1, 4, || true).unwrap();
    let directory: &dyn LinkDirectory = &*hub;
    directory.end_all(&reason());
    assert!(a.has_ended() && b.has_ended() && stranger.has_ended());
    assert!(a.channel(1).is_none() && b.channels().is_empty() && lock(&hub.state).routes.is_empty());
    assert!(!hub.is_linked(instance(1)));
    assert_eq!(hub.open(&opened(8), &a, 3, 4, || true).unwrap_err().code, ProblemCode::PeerUnavailable);
}

#[test]
fn a_channel_that_was_closed_is_cut_with_the_instance_until_its_last_bytes_are_gone() {
    for ended in [instance(1), instance(2)] {
        let (hub, a, b) = hub();
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
        let (route, side) = a.channel(1).unwrap();
        route.data(side, vec![1; 100].into(), None).unwrap();
        assert!(!hub.close_route(&route, side));
        hub.disconnect(ended, &reason());
        assert!(!kinds(&b).contains(&FrameType::Data));
        assert!(lock(&hub.state).routes.is_empty());
    }
}

#[test]
fn what_an_agent_sent_before_it_closed_and_left_arrives_and_the_channel_is_over_then() {
    let (hub, a, b) = hub();
    hub.open(&opened(7), &a, 1, 4, || true).unwrap();
    let (route, side) = a.channel(1).unwrap();
    route.data(side, vec![1; 100].into(), None).unwrap();
    hub.close_route(&route, side);
    a.end_silently();
    hub.disconnected(&a, Some(instance(1)));
    let mut batch = Vec::new();
    let drained = b.fill(&mut batch, usize::MAX);
    assert!(batch.windows(100).any(|bytes| bytes == [1; 100]));
    assert!(drained.iter().all(|route| hub.drained(route)) && drained.len() == 1);
    assert!(lock(&hub.state).routes.is_empty() && b.channels().is_empty());
}

#[test]
fn a_peer_that_reads_nothing_is_offered_no_more_channels() {
    let (hub, a, b) = hub();
    let mut cycles = 0;
    let refused = loop {
        if let Err(problem) = hub.open(&OpenedChannel { grant: vec![0; 8000], ..opened(7) }, &a, 1, 4, || true) {
            break problem;
        }
        hub.cut(opened(7).channel, &reason());
        kinds(&a);
        cycles += 1;
        assert!(cycles < 1000, "nothing holds it back");
    };
    assert_eq!(refused.code, ProblemCode::PeerUnavailable);
    assert!(!b.has_ended() && a.channels().is_empty());
    kinds(&b);
    hub.open(&opened(7), &a, 1, 4, || true).unwrap();
}

#[test]
fn channels_beyond_the_limit_are_refused() {
    let (hub, a, _b) = hub();
    hub.open(&opened(7), &a, 1, 1, || true).unwrap();
    assert_eq!(hub.open(&opened(8), &a, 3, 1, || true).unwrap_err().code, ProblemCode::Limit);
    hub.cut(opened(7).channel, &reason());
    hub.open(&opened(8), &a, 3, 1, || true).unwrap();
}

#[test]
fn a_long_list_of_what_was_lost_goes_out_in_pushes_that_fit() {
    let resource: ResourceId = format!("key/{}/{}", "n".repeat(63), "k".repeat(63)).parse().unwrap();
    let lost = vec![(Operation::Decrypt, resource); 1000];
    let pushes = notices(Notice::Revision { revision: Revision(9), lost });
    let longest = pushes.iter().map(|notice| prost::Message::encoded_len(&wire::Push { notice: Some(notice.clone()) }));
    assert!(longest.max().unwrap() <= *FrameType::Push.payload().end());
    let told: usize = pushes
        .iter()
        .map(|notice| match notice {
            push::Notice::Revision(notice) => notice.lost.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(told, 1000);
}
