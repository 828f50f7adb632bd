//! The confirmations: each side shows that it holds this grant and its channel secret, inside this TLS session.

use burgrave_seal::binding::{EXPORTER_CHANNEL, EXPORTER_LEN};
use burgrave_seal::{hmac_sha256, verify_hmac};
use burgrave_types::Secret;
use burgrave_types::encoding::Encoder;
use rustls::Connection;

use crate::{ChannelError, Role};

/// What a confirmation starts with, so that data in its place is known for what it is.
const MAGIC: [u8; 4] = *b"BGC1";

/// A confirmation: [`MAGIC`], then HMAC-SHA-256 under the channel secret.
const LENGTH: usize = MAGIC.len() + 32;

/// What both confirmations of a session are made of.
pub(super) struct Confirmations {
    secret: Secret<[u8; 32]>,
    exporter: Secret<[u8; EXPORTER_LEN]>,
}

impl Confirmations {
    /// For a session whose handshake is done: its exporter (RFC 8446 section 7.5) with the grant's digest as context ties
    /// the confirmations to it.
    pub(super) fn new(tls: &Connection, secret: Secret<[u8; 32]>, grant: &[u8; 32]) -> Result<Self, rustls::Error> {
        let exporter = tls.export_keying_material([0; EXPORTER_LEN], EXPORTER_CHANNEL, Some(grant))?;
        Ok(Self::over(secret, Secret::new(exporter)))
    }

    /// Over this channel secret and this exporter.
    pub(super) fn over(secret: Secret<[u8; 32]>, exporter: Secret<[u8; EXPORTER_LEN]>) -> Self {
        Self { secret, exporter }
    }

    /// What the side of `role` sends.
    pub(super) fn of(&self, role: Role) -> Vec<u8> {
        [MAGIC.as_slice(), &hmac_sha256(self.secret.expose(), &self.input(role))].concat()
    }

    /// Verifies the confirmation of `role` at the start of `received`: its length, or none where it is not whole yet.
    pub(super) fn verify(&self, role: Role, received: &[u8]) -> Result<Option<usize>, ChannelError> {
        if received.iter().zip(MAGIC).any(|(found, expected)| *found != expected) {
            return Err(ChannelError::Unconfirmed);
        }
        let Some(tag) = received.get(MAGIC.len()..LENGTH) else { return Ok(None) };
        let holds = verify_hmac(self.secret.expose(), &self.input(role), tag);
        if holds { Ok(Some(LENGTH)) } else { Err(ChannelError::Confirmation) }
    }

    fn input(&self, role: Role) -> Vec<u8> {
        Encoder::new().text("burgrave-channel-confirm-v1").text(role.as_str()).bytes(self.exporter.expose()).finish()
    }
}
