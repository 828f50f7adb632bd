//! What goes through the door: the questions that edges ask and the answers they get.
//!
//! Sealed values, grants and certificates travel as bytes: an edge moves them and never opens them. What administrators say
//! and are told is the JSON of REST and stands in [`burgrave_types::api`].

mod link;

pub use burgrave_types::api::{
    AdminIdentity, Advice, Can, CanCase, ChannelEnd, ChannelView, DecisionFilter, DecisionSubject, DecisionView,
    DomainInfo, EnclaveChange, EnclaveView, Event, Health, InstanceFilter, InstanceView, KeyVersionView, KeyView,
    NewEnclave, NewKey, NewPolicy, NewRelease, NewRule, Page, Paged, PlatformBarView, PolicyView, ReleaseView,
    Residual, Revoked, Rotation, RuleEffect, StandingCounts, Status, Subject, Why,
};
pub use link::{
    Activation, AttestRequest, AttestStep, Attested, Challenge, LinkBinding, LinkDirectory, Notice, OpenedChannel,
    ReleasedKey, Resumed, Verdict,
};
