//! What a log has for each register, for explanations and for reference logs.

use std::collections::BTreeMap;

use burgrave_types::claims::HexBytes;
use serde::{Deserialize, Serialize};

use crate::ReferenceLog;

/// The events of a boot event log by register, under the names that claims have for registers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeasuredLog(pub BTreeMap<String, MeasuredRegister>);

impl MeasuredLog {
    /// Whether there is no log, or none of a bank that was quoted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a release's reference may keep of it, to say later where another log departs: the digests of each register that
    /// the log was proven to explain.
    pub fn reference(&self) -> ReferenceLog {
        let proven = self.0.iter().filter(|(_, register)| register.proven);
        let digests = |register: &MeasuredRegister| register.events.iter().map(|event| event.digest.clone()).collect();
        ReferenceLog(proven.map(|(name, register)| (name.clone(), digests(register))).collect())
    }

    /// Whether the log was proven to explain any register.
    pub fn proves_any(&self) -> bool {
        self.0.values().any(|register| register.proven)
    }
}

/// The events of one register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredRegister {
    /// Whether their replay gives the register that the evidence vouches for. Where not, they are their bringer's word.
    pub proven: bool,
    /// The events, in their order.
    pub events: Vec<MeasuredEvent>,
}

/// An event, as people see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEvent {
    /// Its type. No register covers that.
    pub kind: String,
    /// What its data say. No register covers that either, unless the digest is that of the data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What extended the register.
    pub digest: HexBytes,
}
