//! What a revocation did, in words.

use burgrave_types::EnclaveName;
use burgrave_types::api::{Residual, Revoked, Rotation};

use super::Outcome;
use crate::output::{Facts, Output, list};

/// Shows it.
pub(crate) fn show(revoked: &Revoked, output: &Output) -> Outcome {
    output.show(revoked, |revoked| {
        let rotated = revoked.rotated.iter().map(|Rotation { resource, enclave, version }| {
            format!("{resource}{}: version {version} from now on", whose(enclave.as_ref()))
        });
        let residual = revoked.residual.iter().map(|Residual { resource, enclave, versions, held_by }| {
            let (versions, holders) = (list(versions), list(held_by));
            format!("{resource}{}: what was written under version {versions}, by {holders}", whose(enclave.as_ref()))
        });
        let advice = revoked.advice.iter().map(|advice| format!("{}; {}", advice.detail, advice.fix));
        Ok(Facts::new(output)
            .fact("in force since revision", revoked.revision)
            .fact("instances ended", list(&revoked.instances))
            .fact("channels cut", list(&revoked.channels))
            .fact("platforms barred", list(&revoked.barred_platforms))
            .fact("keys rotated", lines(rotated))
            .fact("still readable", lines(residual))
            .maybe("to do", Some(lines(advice)).filter(|_| !revoked.advice.is_empty()))
            .finish())
    })
}

fn whose(enclave: Option<&EnclaveName>) -> String {
    enclave.map_or_else(String::new, |enclave| format!(" of {enclave}"))
}

fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "-".to_owned() } else { items.join("\n") }
}
