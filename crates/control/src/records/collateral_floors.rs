//! How new collateral must be, at least.

use burgrave_collateral::Floors;
use serde::{Deserialize, Serialize};

use super::Stored;

/// The lowest numbers and dates of vendors' collateral that are still taken, by any node of the domain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollateralFloorsRecord {
    pub(crate) schema: u32,
    pub(crate) floors: Floors,
}

impl Stored for CollateralFloorsRecord {
    const KIND: &'static str = "collateral-floors";

    fn path(&self) -> String {
        format!("{}/domain", Self::KIND)
    }
}
