//! The registry, the policies and the keys, as administrators manage them.
//!
//! Every call is authorized by the policy engine (principal `Admin`, action `administer`) and durably audited before it
//! answers. Updates say which revision they are based on.

mod check;
mod demands;
mod enclaves;
mod instances;
mod keys;
mod page;
mod policies;
mod releases;

pub(crate) use check::if_match;
pub(crate) use enclaves::registered;
pub(crate) use keys::active_number;
pub(crate) use page::page;
pub(crate) use releases::no_release;

use burgrave_policy::Resource;
use burgrave_types::{EnclaveName, Problem, ProblemCode, ResourceId, ResourceKind, Segment};

/// An enclave, as what is administered.
pub(crate) fn of_enclave(name: &EnclaveName) -> Result<Resource, Problem> {
    let name = crate::authorizer::enclave_resource(name)?;
    Ok(ResourceId { kind: ResourceKind::Enclave, name }.into())
}

/// A tier, as what is administered.
pub(crate) fn of_tier(namespace: Option<&Segment>) -> Resource {
    namespace.map_or(Resource::Domain, |namespace| Resource::Namespace(namespace.clone()))
}

/// The problem of a thing that is not there.
pub(crate) fn not_found(what: &str, name: impl std::fmt::Display, list: &str) -> Problem {
    Problem::new(ProblemCode::NotFound, format!("there is no {what} `{name}`"))
        .with_fix(format!("list them with `{list}`"))
}

/// The problem of an enclave that is not there.
pub(crate) fn no_enclave(name: &EnclaveName) -> Problem {
    not_found("enclave", name, "burgrave enclave list")
}
