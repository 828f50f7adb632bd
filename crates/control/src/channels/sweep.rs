//! What a change or a lapse does to channels that are open: each that is no longer permitted is cut on both sides.

use std::sync::Arc;

use burgrave_audit::{ChannelStep, Durability, Kind};
use burgrave_types::{ChannelId, Operation, Problem, ProblemCode, ResourceId, Timestamp};

use super::table::OpenChannel;
use crate::Control;
use crate::live::InstanceEntry;
use crate::view::{Touched, View};

impl Control {
    /// Looks at the channels that a change may concern, under the new view, and cuts what it no longer permits. When this
    /// returns, the edge has cut them.
    pub(crate) fn sweep_channels(&self, view: &View, touched: &Touched) -> Vec<ChannelId> {
        let channels = if touched.policies || !touched.enclaves.is_empty() {
            self.channel_table().all()
        } else {
            touched.instances.iter().flat_map(|instance| self.channel_table().of(*instance)).collect()
        };
        let mut cut = Vec::new();
        for channel in channels {
            match self.still_permitted(view, &channel) {
                Ok(turns) => self.channel_table().decided(channel.id, view.revision, turns),
                Err(reason) if self.cut(channel.id, &reason) => cut.push(channel.id),
                Err(_) => {}
            }
        }
        cut
    }

    /// Cuts what has reached its end, has a side that did or that has no link here any more, or is no longer permitted by the
    /// time alone. (An edge reports a channel whose link ended; one report may be lost, and the channel count against its
    /// sides.)
    pub(crate) fn sweep_deadlines(&self, view: &View) {
        let now = self.now();
        for channel in self.channel_table().all() {
            let reason = if now >= channel.not_after {
                let detail = format!("the grant of channel `{}` ended at {}", channel.id, channel.not_after);
                Err(Problem::new(ProblemCode::ChannelCut, detail).with_fix("open a new channel"))
            } else if let Some(gone) =
                [&channel.initiator, &channel.acceptor].into_iter().find(|end| !self.is_linked(end.instance))
            {
                let detail = format!("the link of `{}`, a side of channel `{}`, ended", gone.instance, channel.id);
                Err(Problem::new(ProblemCode::ChannelCut, detail).with_fix("open a new channel"))
            } else if channel.turns.is_some_and(|turns| now >= turns) {
                self.still_permitted(view, &channel)
                    .map(|turns| self.channel_table().decided(channel.id, view.revision, turns))
            } else {
                self.sides(view, &channel).map(drop).map_err(|problem| cut_problem(&channel, &problem))
            };
            if let Err(reason) = reason {
                self.cut(channel.id, &reason);
            }
        }
    }

    /// Cuts a channel on both sides and says so; `false` where it was gone already.
    pub(crate) fn cut(&self, id: ChannelId, reason: &Problem) -> bool {
        let Some(channel) = self.channel_table().remove(id) else { return false };
        self.with_links(|links| links.cut(id, reason));
        self.say_cut(&channel, reason);
        true
    }

    /// Takes all channels out of the table and says so, where the edge has cut them already.
    pub(crate) fn forget_channels(&self, reason: &Problem) {
        for channel in self.channel_table().all() {
            if self.channel_table().remove(channel.id).is_some() {
                self.say_cut(&channel, reason);
            }
        }
    }

    /// Puts a cut on record. The channel is cut, whether or not that can be written down.
    fn say_cut(&self, channel: &OpenChannel, reason: &Problem) {
        let event = channel.event(ChannelStep::Cut, Some(reason.detail.clone()));
        let _ = self.record(Kind::Channel(event), Durability::Batched);
        self.happened("channel.cut", &channel.id.to_string(), &reason.detail);
    }

    /// Whether an open channel is still permitted, and when time alone may change that.
    pub(super) fn still_permitted(&self, view: &View, channel: &OpenChannel) -> Result<Option<Timestamp>, Problem> {
        let both = || {
            let (initiator, acceptor, resource) = self.sides(view, channel)?;
            let send = self.permitted(view, &initiator, Operation::Send, &resource, Some(&acceptor))?;
            let receive = self.permitted(view, &acceptor, Operation::Receive, &resource, Some(&initiator))?;
            Ok(send.into_iter().chain(receive).min())
        };
        both().map_err(|problem| cut_problem(channel, &problem))
    }

    /// Asks for both sides of a channel, on the record; a denial is the reason.
    pub(super) fn both_sides(&self, view: &View, channel: &OpenChannel) -> Result<Option<Timestamp>, Problem> {
        let (initiator, acceptor, resource) = self.sides(view, channel)?;
        let ask = |side: &InstanceEntry, operation, peer: &InstanceEntry| {
            self.rule(view, side, operation, &resource, Some(peer), Durability::Batched)?.or_denied()
        };
        let send = ask(&initiator, Operation::Send, &acceptor)?.turns;
        let receive = ask(&acceptor, Operation::Receive, &initiator)?.turns;
        Ok(send.into_iter().chain(receive).min())
    }

    /// Both sides, fresh, and what is asked for: the acceptor's channel.
    fn sides(
        &self,
        view: &View,
        channel: &OpenChannel,
    ) -> Result<(Arc<InstanceEntry>, Arc<InstanceEntry>, ResourceId), Problem> {
        let initiator = self.fresh(view, channel.initiator.instance)?;
        let acceptor = self.fresh(view, channel.acceptor.instance)?;
        Ok((initiator, acceptor, ResourceId::default_channel(&channel.acceptor.enclave)))
    }
}

/// Why a channel was cut, out of why it is no longer permitted.
fn cut_problem(channel: &OpenChannel, why: &Problem) -> Problem {
    let (from, to) = (&channel.initiator.enclave, &channel.acceptor.enclave);
    let detail = format!("the channel `{}` from `{from}` to `{to}` was cut: {}", channel.id, why.detail);
    let problem = Problem { decision_id: why.decision_id, ..Problem::new(ProblemCode::ChannelCut, detail) };
    match &why.fix {
        Some(fix) => problem.with_fix(fix.clone()),
        None => problem,
    }
}
