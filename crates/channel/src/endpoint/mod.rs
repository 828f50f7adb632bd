//! One end of a channel: mutual TLS 1.3 with the granted peer, confirmation both ways, then a byte stream.

mod confirm;
mod session;
#[cfg(test)]
mod tests;
mod unread;

use std::io::{Read, Write};
use std::sync::Arc;

use burgrave_identity::tls::CredentialSlot;
use burgrave_identity::{DomainTrust, ProfileKind, verify_chain};
use burgrave_types::{ChannelId, Secret, SpiffeId, Timestamp};
use rustls::Connection;

use crate::{AcceptedIds, ChannelError, ChannelGrant, Role, SignedGrant};
use confirm::Confirmations;
use session::{Time, from_tls, session};
use unread::Unread;

/// How many bytes for the peer may wait in an endpoint before [`Endpoint::write`] takes no more.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// How many bytes of plaintext may wait to be read. The node's credit keeps a channel far below.
const UNREAD_LIMIT: usize = 16 * 1024 * 1024;

/// What an endpoint is made from.
#[derive(Debug)]
pub struct Setup {
    /// The node's word.
    pub grant: SignedGrant,
    /// The channel secret that came with it.
    pub secret: Secret<[u8; 32]>,
    /// The domain, in which the peer's certificate must stand.
    pub trust: DomainTrust,
    /// This instance's SVID and key.
    pub credential: Arc<CredentialSlot>,
}

/// How far a channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The TLS handshake runs.
    Handshaking,
    /// The handshake is done; the confirmations are on their way.
    Confirming,
    /// Both sides have confirmed: data flows.
    Open,
    /// It was open, and one side has closed its direction.
    Closing,
    /// Both sides have closed.
    Closed,
    /// It ended by an error.
    Failed,
}

/// What there is to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// So many bytes were put into the caller's buffer.
    Bytes(usize),
    /// Nothing now; more may come.
    Nothing,
    /// The peer has closed the channel and everything it sent was read.
    End,
}

/// One end of a channel.
///
/// The caller moves bytes: what the link brings goes into [`Endpoint::feed`], what [`Endpoint::take_output`] gives goes to
/// the link, after every call that may have made some. The time is the caller's too; it must not go back.
pub struct Endpoint {
    role: Role,
    grant: ChannelGrant,
    tls: Connection,
    time: Arc<Time>,
    phase: Phase,
    unread: Unread,
    /// What the TLS session had to say when it failed.
    last_words: Vec<u8>,
    sent: u64,
    received: u64,
    closed: bool,
    peer_closed: bool,
}

enum Phase {
    Handshaking {
        secret: Secret<[u8; 32]>,
        context: [u8; 32],
    },
    Confirming(Confirmations),
    /// `settled` says that this side's confirmation has left: before that, no honest peer sends data.
    Open {
        settled: bool,
    },
    Failed(ChannelError),
}

impl Endpoint {
    /// The end that opens the channel. Its first output is ready at once. Takes the channel id from `accepted`.
    ///
    /// # Errors
    /// [`ChannelError`] where the grant is not valid at `now`, not for this instance, or was used before.
    pub fn initiator(setup: Setup, accepted: &mut AcceptedIds, now: Timestamp) -> Result<Self, ChannelError> {
        Self::new(Role::Initiator, setup, accepted, now)
    }

    /// The end that waits for the initiator. Takes the channel id from `accepted`.
    ///
    /// # Errors
    /// As [`Endpoint::initiator`].
    pub fn acceptor(setup: Setup, accepted: &mut AcceptedIds, now: Timestamp) -> Result<Self, ChannelError> {
        Self::new(Role::Acceptor, setup, accepted, now)
    }

    fn new(role: Role, setup: Setup, accepted: &mut AcceptedIds, now: Timestamp) -> Result<Self, ChannelError> {
        let Setup { grant, secret, trust, credential } = setup;
        let (context, grant) = (*grant.digest().as_bytes(), grant.grant().clone());
        grant.check_validity(now)?;
        let own =
            verify_chain(&credential.chain(), &trust, now, ProfileKind::Enclave).map_err(ChannelError::OwnIdentity)?;
        let side = grant.side(role);
        for (what, expected, found) in [
            ("SPIFFE id", side.spiffe_id.to_string(), own.spiffe_id.to_string()),
            ("key", side.spki_hash.to_string(), own.spki_hash.to_string()),
        ] {
            if expected != found {
                return Err(ChannelError::NotOurs { role, what, expected, found });
            }
        }
        let time = Time::new(now);
        let mut tls = session(role, &grant, trust, credential, time.clone())?;
        tls.set_buffer_limit(Some(OUTPUT_LIMIT));
        accepted.accept(grant.channel, grant.not_after, now)?;
        Ok(Self {
            role,
            grant,
            tls,
            time,
            phase: Phase::Handshaking { secret, context },
            unread: Unread::default(),
            last_words: Vec::new(),
            sent: 0,
            received: 0,
            closed: false,
            peer_closed: false,
        })
    }

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.grant.channel
    }

    /// The peer's name, as the grant gives it and the handshake proves it.
    pub fn peer(&self) -> &SpiffeId {
        &self.grant.side(self.role.peer()).spiffe_id
    }

    /// How far the channel is.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Handshaking { .. } => State::Handshaking,
            Phase::Confirming(_) => State::Confirming,
            Phase::Open { .. } if self.closed && self.peer_closed => State::Closed,
            Phase::Open { .. } if self.closed || self.peer_closed => State::Closing,
            Phase::Open { .. } => State::Open,
            Phase::Failed(_) => State::Failed,
        }
    }

    /// Why the channel failed, where it did.
    pub fn failure(&self) -> Option<&ChannelError> {
        match &self.phase {
            Phase::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Takes bytes that the peer sent, in order, however they were cut into pieces.
    ///
    /// # Errors
    /// [`ChannelError`] for what the peer or the relay must not do, and for a grant that has ended. The endpoint then stays
    /// failed, has wiped what was not read, and may have an alert for the peer in its output.
    pub fn feed(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), ChannelError> {
        self.check(now)?;
        let result = self.take_in(bytes);
        self.settle(result)
    }

    /// Tells that no more bytes will come.
    ///
    /// # Errors
    /// [`ChannelError::Truncated`] where the peer has not closed the channel; it fails then, with what was not read.
    pub fn end_of_input(&mut self) -> Result<(), ChannelError> {
        let result = match &self.phase {
            Phase::Failed(error) => Err(error.clone()),
            _ if self.peer_closed => Ok(()),
            _ => Err(ChannelError::Truncated),
        };
        self.settle(result)
    }

    /// The bytes for the peer that have gathered; empty where there are none.
    pub fn take_output(&mut self) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.last_words);
        self.drain_into(&mut output);
        if let Phase::Open { settled } = &mut self.phase {
            *settled = true;
        }
        output
    }

    /// Takes plaintext for the peer; how many bytes of it. Fewer than given, or none, where the channel is not open yet or
    /// where enough waits in the output already: take that, and write the rest again.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] after [`Endpoint::close`], [`ChannelError::ByteLimit`] when the grant allows no more in this
    /// direction; [`ChannelError::Expired`], or what made the channel fail.
    pub fn write(&mut self, plaintext: &[u8], now: Timestamp) -> Result<usize, ChannelError> {
        self.check(now)?;
        if self.closed {
            return Err(ChannelError::Closed);
        }
        if !matches!(self.phase, Phase::Open { .. }) || plaintext.is_empty() {
            return Ok(0);
        }
        let left = usize::try_from(self.grant.byte_limit - self.sent).unwrap_or(usize::MAX);
        if left == 0 {
            return Err(ChannelError::ByteLimit(self.grant.byte_limit));
        }
        let taken = self.tls.writer().write(plaintext.get(..left).unwrap_or(plaintext)).unwrap_or(0);
        self.sent += taken as u64;
        Ok(taken)
    }

    /// Gives plaintext that the peer sent.
    ///
    /// # Errors
    /// [`ChannelError::Expired`], or what made the channel fail: nothing is given out after that.
    pub fn read(&mut self, out: &mut [u8], now: Timestamp) -> Result<Received, ChannelError> {
        self.check(now)?;
        let Phase::Open { .. } = self.phase else { return Ok(Received::Nothing) };
        Ok(match self.unread.take(out) {
            0 if self.unread.len() > 0 => Received::Nothing, // the caller's buffer is empty
            0 if self.peer_closed => Received::End,
            0 => Received::Nothing,
            taken => Received::Bytes(taken),
        })
    }

    /// How many bytes wait to be read.
    pub fn unread(&self) -> usize {
        if matches!(self.phase, Phase::Open { .. }) { self.unread.len() } else { 0 }
    }

    /// Closes this side's direction, so that the peer can tell the end from a cut. What was written before still goes; the
    /// peer may go on sending.
    pub fn close(&mut self) {
        if !self.closed && self.failure().is_none() {
            self.tls.send_close_notify();
            self.closed = true;
        }
    }

    /// Refuses to go on with a failed channel or an ended grant.
    fn check(&mut self, now: Timestamp) -> Result<(), ChannelError> {
        self.time.set(now);
        let result = match &self.phase {
            Phase::Failed(error) => Err(error.clone()),
            _ if now >= self.grant.not_after => {
                let (channel, not_after) = (self.grant.channel, self.grant.not_after);
                Err(ChannelError::Expired { channel, not_after, now })
            }
            _ => Ok(()),
        };
        self.settle(result)
    }

    /// Makes an error the channel's last.
    fn settle(&mut self, result: Result<(), ChannelError>) -> Result<(), ChannelError> {
        if let Err(error) = &result
            && self.failure().is_none()
        {
            self.phase = Phase::Failed(error.clone());
            self.unread = Unread::default();
            let mut last_words = Vec::new();
            self.drain_into(&mut last_words);
            self.last_words = last_words;
        }
        result
    }

    fn drain_into(&mut self, output: &mut Vec<u8>) {
        // Writing into memory does not fail; an error would leave the bytes where they are.
        while self.tls.wants_write() && self.tls.write_tls(output).is_ok_and(|written| written > 0) {}
    }

    fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            let full = |_| ChannelError::Tls(rustls::Error::General("a message is longer than TLS allows".to_owned()));
            if self.tls.read_tls(&mut bytes).map_err(full)? == 0 {
                return Ok(()); // the peer has closed: what follows is none of the channel's
            }
            let state = self.tls.process_new_packets().map_err(from_tls)?;
            self.advance()?;
            self.take_plaintext()?;
            self.peer_closed = state.peer_has_closed();
            if self.peer_closed && !matches!(self.phase, Phase::Open { .. }) {
                return Err(ChannelError::Truncated);
            }
        }
        Ok(())
    }

    /// Goes from the handshake to the confirmations, once it is done.
    fn advance(&mut self) -> Result<(), ChannelError> {
        let Phase::Handshaking { secret, context } = &self.phase else { return Ok(()) };
        if self.tls.is_handshaking() {
            return Ok(());
        }
        if let Connection::Server(server) = &self.tls {
            let expected = self.grant.channel;
            let found = server.server_name().unwrap_or("none");
            if found != expected.to_string() {
                return Err(ChannelError::OtherChannel { expected, found: found.to_owned() });
            }
        }
        let confirmations = Confirmations::new(&self.tls, secret.clone(), context).map_err(from_tls)?;
        if self.role == Role::Initiator {
            self.send(&confirmations.of(Role::Initiator))?;
        }
        self.phase = Phase::Confirming(confirmations);
        Ok(())
    }

    fn take_plaintext(&mut self) -> Result<(), ChannelError> {
        let mut piece = zeroize::Zeroizing::new([0; 4096]);
        while let Ok(length @ 1..) = self.tls.reader().read(piece.as_mut_slice()) {
            self.unread.put(piece.get(..length).unwrap_or_default());
            match &self.phase {
                Phase::Handshaking { .. } | Phase::Failed(_) => return Err(ChannelError::Unconfirmed),
                Phase::Confirming(_) => self.confirm()?,
                Phase::Open { settled: false } => return Err(ChannelError::Unconfirmed),
                Phase::Open { settled: true } => self.received += length as u64,
            }
            if self.received > self.grant.byte_limit {
                return Err(ChannelError::ByteLimit(self.grant.byte_limit));
            }
            if self.unread.len() > UNREAD_LIMIT {
                return Err(ChannelError::Overrun(UNREAD_LIMIT));
            }
        }
        Ok(())
    }

    /// Looks for the peer's confirmation at the start of what it sent.
    fn confirm(&mut self) -> Result<(), ChannelError> {
        let Phase::Confirming(confirmations) = &self.phase else { return Ok(()) };
        let verified = confirmations.verify(self.role.peer(), self.unread.bytes())?;
        let Some(length) = verified else { return Ok(()) };
        let own = confirmations.of(self.role);
        self.unread.skip(length);
        match self.role {
            // The acceptor had the initiator's word already, so its data may follow at once.
            Role::Initiator => {
                self.phase = Phase::Open { settled: true };
                self.received += self.unread.len() as u64;
                Ok(())
            }
            Role::Acceptor if self.unread.len() > 0 => Err(ChannelError::Unconfirmed),
            Role::Acceptor => {
                self.phase = Phase::Open { settled: false };
                self.send(&own)
            }
        }
    }

    fn send(&mut self, confirmation: &[u8]) -> Result<(), ChannelError> {
        let failed = |_| ChannelError::Tls(rustls::Error::General("the confirmation was not taken".to_owned()));
        self.tls.writer().write_all(confirmation).map_err(failed)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({} of {}, {:?})", self.role, self.grant.channel, self.state())
    }
}
