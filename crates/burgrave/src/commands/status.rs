//! `burgrave status`: how the node is.

use burgrave_client::Client;
use burgrave_types::api::{CollateralLevel, CollateralView};
use burgrave_types::{DomainClass, ProblemCode, Timestamp};

use super::Outcome;
use crate::output::{Facts, Failure, Output, Tone, deadline};

/// What is held, counted.
fn summary(held: &[CollateralView]) -> String {
    let count = |level| held.iter().filter(|one| one.level == level).count();
    let (current, ending) = (count(CollateralLevel::Current), count(CollateralLevel::Ending));
    let (ended, missing) = (count(CollateralLevel::Ended), count(CollateralLevel::Missing));
    if held.is_empty() {
        return "none is held: evidence brings its own".to_owned();
    }
    format!("{current} current, {ending} ending, {ended} ended, {missing} missing")
}

/// What an operator should look at.
fn alarm(one: &CollateralView, now: Timestamp, output: &Output) -> String {
    let (mark, when) = match (one.level, one.ends) {
        (CollateralLevel::Missing, _) => ("✗", "evidence asked for it, and it is not there".to_owned()),
        (CollateralLevel::Ended, _) => ("✗", "it has ended: evidence that needs it is refused".to_owned()),
        (_, Some(ends)) => ("!", deadline(now, ends)),
        (_, None) => ("!", "it ends soon".to_owned()),
    };
    let tone = if mark == "✗" { Tone::Bad } else { Tone::Warning };
    let why = one.problem.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!("{} {}: {when}{why}", output.tone(tone, mark), one.subject)
}

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
        let facts = status
            .collateral
            .iter()
            .filter(|one| one.level != CollateralLevel::Current)
            .fold(facts.fact("collateral", summary(&status.collateral)), |facts, one| {
                facts.fact("", alarm(one, status.at, output))
            });
        Ok(facts.finish())
    })?;
    let healthy = status.health.iter().all(|health| health.ok);
    if healthy { Ok(()) } else { Err(Failure::Quiet(ProblemCode::Unavailable.exit_code())) }
}
