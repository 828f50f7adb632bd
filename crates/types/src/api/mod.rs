//! The JSON of REST `/v1`: what administrators and applications say, and what they are told.
//!
//! `burgrave-control` takes and gives these, the REST edge carries them, and `burgrave-client` reads them; so there is one
//! definition of each. Unknown fields in requests are errors; unknown fields in answers are not.

mod admin;
mod answer;
mod key_set;
mod request;
mod requirements;
mod view;

pub use admin::{
    AdminIdentity, EnclaveChange, InstanceFilter, NewEnclave, NewKey, NewPolicy, NewRelease, NewRule, Page, Paged,
    RuleEffect, Subject,
};
pub use answer::{
    Advice, Can, CanCase, CollateralLevel, CollateralView, DecisionFilter, DecisionSubject, DecisionView, DomainInfo,
    Event, Health, Residual, Revoked, Rotation, StandingCounts, Status, Why,
};
pub use key_set::{Jwk, KeySet};
pub use request::{AuthorizeRequest, CutRequest, ReleaseStateChange, RevokeRequest, RotateRequest};
pub use requirements::{
    AcceptedTcb, RequiredPart, Requirements, RunTimeRequirement, Shortfall, TcbComponent, TcbFloor,
};
pub use view::{
    ChannelEnd, ChannelView, EnclaveView, InstanceView, KeyVersionView, KeyView, PlatformBarView, PolicyView,
    ReleaseView,
};
