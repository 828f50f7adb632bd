//! The node and its domain: who it is, how it is, what happens.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use burgrave_types::api::{CollateralLevel, DomainInfo, KeySet, Status};
use burgrave_types::problem::{InputError, Problem, ProblemCode};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::rest::Shared;
use crate::rest::answer::{OpenApi, Shown, Text};
use crate::rest::auth::{Admin, MaybeAdmin};
use crate::rest::events::watch_events;
use crate::rest::extract::Asked;
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

const PLAIN: &str = "text/plain; charset=utf-8";

/// The page that problems point to.
const ERRORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md"));

pub(super) fn routes(table: Table) -> Table {
    table
        .route(Method::GET, "/v1/domain", "showDomain", "What names the domain; for everybody.", domain)
        .route(
            Method::GET,
            "/v1/domain/keys",
            "showDomainKeys",
            "The keys that attestation results verify with, as a JSON Web Key set; for everybody.",
            domain_keys,
        )
        .route(Method::GET, "/v1/status", "showStatus", "How the node is.", status)
        .route(
            Method::GET,
            "/v1/events",
            "watchEvents",
            "What happens, as it happens (server-sent events). `events.missed` says that the lists must be read again.",
            watch_events,
        )
        .route(Method::GET, "/v1/openapi.json", "showOpenapi", "This document.", openapi)
        .route(Method::GET, "/docs/errors", "showErrors", "What each problem means and what to do.", errors)
        .route(Method::GET, "/livez", "showLive", "Whether the process lives.", live)
        .route(
            Method::GET,
            "/readyz",
            "showReady",
            "Whether the node can serve. `?verbose` lists its parts, for those who may see the status.",
            ready,
        )
        .route(Method::GET, "/metrics", "showMetrics", "Metrics, in the text format of Prometheus.", metrics)
}

async fn domain(State(shared): State<Arc<Shared>>) -> Shown<DomainInfo> {
    Shown(shared.control.domain())
}

async fn domain_keys(State(shared): State<Arc<Shared>>) -> Result<Shown<KeySet>, Refusal> {
    Ok(Shown(shared.control.key_set()?))
}

async fn status(admin: Admin) -> Result<Shown<Status>, Refusal> {
    Ok(Shown(admin.control().status(&admin.identity).await?))
}

async fn openapi(State(shared): State<Arc<Shared>>) -> OpenApi {
    OpenApi(shared.document.clone())
}

async fn errors() -> Text {
    Text("text/markdown; charset=utf-8", ERRORS.to_owned())
}

async fn live() -> Text {
    Text(PLAIN, "ok\n".to_owned())
}

/// How much is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReadyQuery {
    /// Present: each part by itself.
    verbose: Option<String>,
}

async fn ready(
    State(shared): State<Arc<Shared>>,
    MaybeAdmin(admin): MaybeAdmin,
    Asked(query): Asked<ReadyQuery>,
) -> Result<Text, Refusal> {
    if query.verbose.is_none() {
        shared.control.ready()?;
        return Ok(Text(PLAIN, "ok\n".to_owned()));
    }
    let health = shared.control.status(&admin?.identity).await?.health;
    let failed = health.iter().filter(|part| !part.ok);
    let faults: Vec<_> = failed.map(|part| InputError { at: part.part.clone(), reason: part.detail.clone() }).collect();
    if let Some(first) = faults.first() {
        let detail = format!("{} cannot serve: {}", first.at, first.reason);
        return Err(Problem::new(ProblemCode::Unavailable, detail).with_errors(faults).into());
    }
    let lines = health.iter().map(|part| format!("[+] {}: {}\n", part.part, part.detail));
    Ok(Text(PLAIN, lines.collect()))
}

async fn metrics(admin: Admin) -> Result<Text, Refusal> {
    let shared = &admin.shared;
    let status = shared.control.status(&admin.identity).await?;
    let responses = shared.responses.each_ref().map(|counter| counter.load(Ordering::Relaxed));
    Ok(Text("text/plain; version=0.0.4; charset=utf-8", exposition(&status, responses)))
}

/// The metrics as text. Label values are words of this program, never names that somebody chose.
fn exposition(status: &Status, responses: [u64; 4]) -> String {
    let (allowed, denied, failed) = status.decisions;
    let (instances, class) = (status.instances, status.class);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
        // Writing into a text does not fail.
        let _ = writeln!(text, "# HELP burgrave_{name} {help}\n# TYPE burgrave_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "burgrave_{name}{labels} {value}");
        }
    };
    let plain = |value: usize| [(String::new(), value as u64)];
    let by = |label: &str, values: &[(&str, u64)]| -> Vec<(String, u64)> {
        values.iter().map(|(word, value)| (format!("{{{label}=\"{word}\"}}"), *value)).collect()
    };
    let build = format!("{{version=\"{}\",class=\"{class}\"}}", env!("CARGO_PKG_VERSION"));
    metric("build_info", "gauge", "The program, and the class of the domain that it serves.", &[(build, 1)]);
    metric("revision", "gauge", "The ledger position that is served.", &[(String::new(), status.revision.0)]);
    metric("enclaves", "gauge", "Registered enclaves.", &plain(status.enclaves));
    let standings = [("fresh", instances.fresh), ("stale", instances.stale), ("revoked", instances.revoked)];
    let standings = standings.map(|(word, count)| (word, count as u64));
    metric("instances", "gauge", "Instances by standing.", &by("standing", &standings));
    metric("policies", "gauge", "Policies in force.", &plain(status.policies));
    metric("keys", "gauge", "Named keys and keyspaces.", &plain(status.keys));
    metric("channels", "gauge", "Open channels.", &plain(status.channels));
    let outcomes = by("outcome", &[("allowed", allowed), ("denied", denied), ("failed", failed)]);
    metric("decisions_total", "counter", "Decisions since the start; failed ones were denied.", &outcomes);
    let parts: Vec<_> = status.health.iter().map(|part| (part.part.as_str(), u64::from(part.ok))).collect();
    metric("ready", "gauge", "Whether a part of the node can serve.", &by("part", &parts));
    let levels = [
        ("current", CollateralLevel::Current),
        ("ending", CollateralLevel::Ending),
        ("ended", CollateralLevel::Ended),
        ("missing", CollateralLevel::Missing),
    ];
    let held =
        levels.map(|(word, level)| (word, status.collateral.iter().filter(|one| one.level == level).count() as u64));
    metric("collateral", "gauge", "Vendors' collateral by how it stands.", &by("level", &held));
    let [good, other, client, server] = responses;
    let classes = by("class", &[("2xx", good), ("3xx", other), ("4xx", client), ("5xx", server)]);
    metric("http_responses_total", "counter", "Responses of REST by class of status.", &classes);
    text
}
