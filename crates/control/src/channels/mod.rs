//! Channels between instances: asked for, granted, watched, cut.
//!
//! What a grant is and how its secret is made and sealed, `burgrave-channel` says; here is decided who gets one.

mod sweep;
mod table;

use std::sync::Arc;
use std::time::Duration;

use burgrave_audit::{ChannelStep, Durability, Kind};
use burgrave_channel::{ChannelGrant, GrantSide, Role, SignedGrant, channel_secret, seal_channel_secret};
use burgrave_policy::Resource;
use burgrave_types::{
    ChannelId, EnclaveName, InstanceId, Operation, Problem, ProblemCode, ResourceId, Secret, SpiffeId, Standing,
};

use crate::admin::{not_found, page};
use crate::attestation::{hsm_problem, sealing_key, sealing_problem};
use crate::live::InstanceEntry;
use crate::view::View;
use crate::{AdminIdentity, ChannelEnd, ChannelView, Control, OpenedChannel, Page, Paged};

pub(crate) use table::{ChannelTable, End, OpenChannel};

/// How long a channel may live at most.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Bytes of plaintext that a channel carries in each direction, at most.
const BYTE_LIMIT: u64 = 1 << 40;

/// The epoch of pair keys: raised by a rotation of the channel key, of which there is none yet.
const EPOCH: u64 = 1;

/// Instances of the peer that are asked about, at most, until one is permitted.
const ATTEMPTS: usize = 8;

impl Control {
    /// Opens a channel from an instance to a fresh, linked instance of `peer`, where the policy says yes for both sides.
    ///
    /// Of a name that the caller may not send to, it learns nothing: the policy is asked, and the answer is the same, whether or
    /// not there is such an enclave.
    ///
    /// # Errors
    /// `policy.denied`, `attestation.stale`, `revoked`, `peer.unavailable` for a peer that it may send to and that is not
    /// connected here or does not exist, `limit.reached`, `unavailable`.
    ///
    /// Side effects: a durable audit entry; the channel is in the table until [`Control::channel_closed`] or its end.
    pub async fn open_channel(&self, initiator: InstanceId, peer: &EnclaveName) -> Result<OpenedChannel, Problem> {
        let view = self.view()?;
        let resource = ResourceId::default_channel(peer);
        let from = self.fresh_for(&view, initiator, Operation::Send, &resource)?;
        let mut denial = None;
        for to in self.linked_instances(&view, peer, initiator) {
            let channel = self.new_channel(&view, &from, &to);
            match self.both_sides(&view, &channel) {
                Ok(turns) => return self.grant(OpenChannel { turns, ..channel }, &from, &to).await,
                Err(problem) => drop(denial.get_or_insert(problem)),
            }
        }
        if denial.is_none() {
            self.rule_for_nobody(&view, &from, &resource, peer)?;
        }
        Err(denial.unwrap_or_else(|| unavailable(peer)))
    }

    /// Says that a channel ended: closed by a side, its link gone, or refused by the acceptor.
    pub fn channel_closed(&self, channel: ChannelId, reason: &str) {
        if let Some(channel) = self.channel_table().remove(channel) {
            // It is over, whether or not that can be written down.
            let event = channel.event(ChannelStep::Closed, Some(reason.to_owned()));
            let _ = self.record(Kind::Channel(event), Durability::Batched);
            self.happened("channel.closed", &channel.id.to_string(), reason);
        }
    }

    /// Whether a channel is open: granted, and neither closed nor cut since. An edge asks after it made the channel's route,
    /// since a cut may have come before there was anything to cut.
    pub fn is_live(&self, channel: ChannelId) -> bool {
        self.channel_table().contains(channel)
    }

    /// The channels that are open.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn channels(&self, admin: &AdminIdentity, wanted: &Page) -> Result<Paged<ChannelView>, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let all = self.channel_table().all().into_iter();
        Ok(page(all, wanted, view.revision, |channel| channel.id.to_string(), show))
    }

    /// Cuts one channel now. The policy stays what it is: the sides may ask again.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn cut_channel(&self, admin: &AdminIdentity, channel: ChannelId, reason: &str) -> Result<(), Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let detail = format!("the administrator `{}` cut the channel `{channel}`: {reason}", admin.name);
        let reason = Problem::new(ProblemCode::ChannelCut, detail).with_fix("ask for a new channel");
        if self.cut(channel, &reason) { Ok(()) } else { Err(not_found("channel", channel, "burgrave channel list")) }
    }

    /// Fresh instances of the enclave that have a link here, in an order that is nobody's choice.
    fn linked_instances(&self, view: &View, peer: &EnclaveName, but: InstanceId) -> Vec<Arc<InstanceEntry>> {
        let Some(enclave) = view.enclaves.get(peer) else { return Vec::new() };
        let now = self.now();
        let fresh = |entry: &&Arc<InstanceEntry>| {
            entry.record.id != but
                && matches!(view.standing(entry, now), Standing::Fresh { .. })
                && self.is_linked(entry.record.id)
        };
        let mut found: Vec<Arc<InstanceEntry>> = view.instances_of(enclave.record.uid).filter(fresh).cloned().collect();
        if !found.is_empty() {
            let mut bytes = [0; 8];
            self.random().fill(&mut bytes);
            let start = usize::try_from(u64::from_be_bytes(bytes) % found.len() as u64).unwrap_or(0);
            found.rotate_left(start);
        }
        found.truncate(ATTEMPTS);
        found
    }

    fn new_channel(&self, view: &View, from: &InstanceEntry, to: &InstanceEntry) -> OpenChannel {
        let end = |entry: &InstanceEntry| End { instance: entry.record.id, enclave: entry.record.enclave_name.clone() };
        OpenChannel {
            id: ChannelId::random(self.random()),
            initiator: end(from),
            acceptor: end(to),
            opened: self.now(),
            not_after: self.now() + LIFETIME,
            revision: view.revision,
            turns: None,
        }
    }

    /// Makes grant and secrets for a channel that is permitted.
    async fn grant(
        &self,
        channel: OpenChannel,
        from: &InstanceEntry,
        to: &InstanceEntry,
    ) -> Result<OpenedChannel, Problem> {
        self.channel_table().insert(channel.clone())?;
        let made = self.make_grant(&channel, from, to).await;
        // INVARIANT: it is in the table before the newest view is asked, so that a change either is seen here or sees it.
        let permitted = made.and_then(|opened| {
            let view = self.view()?;
            let turns = self.still_permitted(&view, &channel)?;
            self.channel_table().decided(channel.id, view.revision, turns);
            self.record(Kind::Channel(channel.event(ChannelStep::Opened, None)), Durability::Durable)?;
            Ok(opened)
        });
        match permitted {
            Ok(opened) => {
                let detail = format!("from `{}` to `{}`", channel.initiator.enclave, channel.acceptor.enclave);
                self.happened("channel.opened", &channel.id.to_string(), &detail);
                Ok(opened)
            }
            Err(problem) => {
                self.channel_table().remove(channel.id);
                Err(problem)
            }
        }
    }

    async fn make_grant(
        &self,
        channel: &OpenChannel,
        from: &InstanceEntry,
        to: &InstanceEntry,
    ) -> Result<OpenedChannel, Problem> {
        let domain = self.trust().trust_domain();
        let side = |entry: &InstanceEntry| GrantSide {
            spiffe_id: entry.record.enclave_name.spiffe_id(domain),
            instance: entry.record.id,
            spki_hash: entry.record.spki_hash,
            result_digest: entry.result(),
        };
        let grant = ChannelGrant {
            channel: channel.id,
            initiator: side(from),
            acceptor: side(to),
            policy_revision: channel.revision,
            epoch: EPOCH,
            not_before: channel.opened - crate::signer::CLOCK_SKEW,
            not_after: channel.not_after,
            byte_limit: BYTE_LIMIT,
            issued_by: SpiffeId::node(domain, self.node()),
        };
        let signer = self.signer();
        let signed = SignedGrant::sign(grant, &signer.key, &signer.chain).map_err(|error| {
            tracing::error!(%error, "a channel grant could not be signed");
            Problem::new(ProblemCode::Internal, "the channel grant could not be signed").with_fix("try again")
        })?;
        let (a, b) = (from.record.enclave, to.record.enclave);
        let pair = self.keyring().pair_key(&self.trust().genesis_hash(), a, b, EPOCH, self.now()).await;
        let secret = channel_secret(&pair.map_err(|error| hsm_problem(&error))?, &signed);
        Ok(OpenedChannel {
            channel: channel.id,
            initiator_secret: self.seal_secret(&secret, &signed, Role::Initiator, from).await?,
            acceptor: to.record.id,
            acceptor_secret: self.seal_secret(&secret, &signed, Role::Acceptor, to).await?,
            grant: signed.bytes().to_vec(),
            byte_limit: BYTE_LIMIT,
            not_after: channel.not_after,
        })
    }

    async fn seal_secret(
        &self,
        secret: &Secret<[u8; 32]>,
        grant: &SignedGrant,
        role: Role,
        to: &InstanceEntry,
    ) -> Result<Vec<u8>, Problem> {
        let recipient = sealing_key(to.record.sealing_key.as_bytes())?;
        let instance_key = self.instance_key(to).await?;
        seal_channel_secret(secret, grant, role, &recipient, &instance_key, self.random())
            .map_err(|error| sealing_problem(&error))
    }
}

fn unavailable(peer: &EnclaveName) -> Problem {
    Problem::new(ProblemCode::PeerUnavailable, format!("`{peer}` has no fresh instance that is connected here"))
        .with_fix("check its name, and that an instance of it runs and is attested; then try again")
}

fn show(channel: OpenChannel) -> ChannelView {
    let end = |end: End| ChannelEnd { instance: end.instance, enclave: end.enclave };
    ChannelView {
        id: channel.id,
        initiator: end(channel.initiator),
        acceptor: end(channel.acceptor),
        opened: channel.opened,
        not_after: channel.not_after,
        revision: channel.revision,
    }
}
