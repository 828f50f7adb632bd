//! The answer, with all that explains it. It is recorded as it stands, so it owns its data and speaks serde.

use burgrave_types::{PolicyId, Timestamp};
use serde::{Deserialize, Serialize};

/// What the policies say to one request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Decision {
    /// Whether the operation may go ahead.
    pub allowed: bool,
    /// The policies that made it so: the permits of an allowed request; the forbids of a denied one, those included that
    /// failed while they were evaluated. Empty where nothing permits.
    pub determining: Vec<PolicyRef>,
    /// What failed while deciding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// For a denial that no forbid made: the permits that came near, nearest first, at most [`NearMiss::MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_misses: Vec<NearMiss>,
    /// When time alone may change the answer; `None` where no policy in question looks at the time. An answer must not
    /// be kept beyond this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// A policy as decisions refer to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its id; `None` for a standing policy, which is part of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PolicyId>,
    /// Its name: `guard/no-debug` for a standing one.
    pub name: String,
}

/// Something that failed while deciding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The policy in which it failed; `None` where it failed outside any, which denies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// What failed.
    pub message: String,
}

/// A permit that did not apply, but nearly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NearMiss {
    /// The permit.
    pub policy: PolicyRef,
    /// Which of its parts did not hold.
    pub part: Part,
    /// What that part asks for.
    pub condition: String,
    /// What was found instead.
    pub found: String,
}

impl NearMiss {
    /// How many of them a decision lists at most.
    pub const MAX: usize = 8;
}

/// A part of a policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A condition, after `when` or `unless`.
    Condition,
    /// The action of the scope.
    Action,
    /// The resource of the scope.
    Resource,
    /// The principal of the scope.
    Principal,
}

impl std::fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "`{}` ({id})", self.name),
            None => write!(f, "the standing policy `{}`", self.name),
        }
    }
}

impl Decision {
    /// The denial of a request that could not be decided.
    pub(crate) fn failed(message: String) -> Self {
        Self {
            allowed: false,
            determining: Vec::new(),
            errors: vec![Fault { policy: None, message }],
            near_misses: Vec::new(),
            valid_until: None,
        }
    }
}
