//! Policies.

use burgrave_types::{PolicyId, Segment, Timestamp};
use serde::{Deserialize, Serialize};

use super::Stored;

/// A stored policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyRecord {
    pub(crate) schema: u32,
    pub(crate) id: PolicyId,
    /// The namespace whose policy it is; `None` for the domain's own tier.
    pub(crate) namespace: Option<Segment>,
    /// The name by which decisions refer to it, beside its id.
    pub(crate) name: String,
    /// Cedar.
    pub(crate) text: String,
    pub(crate) description: String,
    pub(crate) changed: Timestamp,
    pub(crate) changed_by: String,
}

impl Stored for PolicyRecord {
    const KIND: &'static str = "policy";

    fn path(&self) -> String {
        // `_` is no namespace, since a name begins with a letter or digit.
        let tier = self.namespace.as_ref().map_or("_", Segment::as_str);
        format!("{}/{tier}/{}", Self::KIND, self.id)
    }
}
