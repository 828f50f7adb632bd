//! `burgrave status`: how the node is.

use burgrave_client::Client;
use burgrave_types::{DomainClass, ProblemCode};

use super::Outcome;
use crate::output::{Facts, Failure, Output, Tone};

/// Shows it; exit code 8 where a part of the node cannot serve.
pub(crate) async fn run(client: &Client, output: &Output) -> Outcome {
    let status = client.status().await?;
    output.show(&status, |status| {
        let class = match status.class {
            DomainClass::Dev => output.tone(Tone::Warning, "dev: simulated evidence is taken, so it proves nothing"),
            DomainClass::Production => "production".to_owned(),
        };
        let (fresh, stale, revoked) = (status.instances.fresh, status.instances.stale, status.instances.revoked);
        let (allowed, denied, failed) = status.decisions;
        let facts = Facts::new(output)
            .fact("domain", &status.trust_domain)
            .fact("class", class)
            .fact("node", status.node)
            .fact("revision", format!("{} (head {})", status.revision, status.head.short()))
            .fact("enclaves", status.enclaves)
            .fact("instances", format!("{fresh} fresh, {stale} stale, {revoked} revoked"))
            .fact("policies", status.policies)
            .fact("keys", status.keys)
            .fact("channels", status.channels)
            .fact("decisions", format!("{allowed} allowed, {denied} denied, {failed} denied because something failed"));
        let facts = status.health.iter().fold(facts, |facts, health| {
            let tone = if health.ok { Tone::Good } else { Tone::Bad };
            let mark = output.tone(tone, if health.ok { "✓" } else { "✗" });
            facts.fact(&health.part, format!("{mark} {}", health.detail))
        });
        Ok(facts.finish())
    })?;
    let healthy = status.health.iter().all(|health| health.ok);
    if healthy { Ok(()) } else { Err(Failure::Quiet(ProblemCode::Unavailable.exit_code())) }
}
