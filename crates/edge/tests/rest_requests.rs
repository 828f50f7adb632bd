//! What the REST door makes of requests, good and bad, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod world;

use std::time::Duration;

use burgrave_edge::rest::RestLimits;
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use world::{NOBODY, OPS, Reply, World, within};

fn enclave(name: &str) -> Value {
    let reference = json!({"tee": "simulated", "measurement": "00"});
    json!({
        "name": name, "tee": "simulated", "key_identity": "name", "reattest_every_secs": 60,
        "releases": [{"name": "v1", "reference": reference, "state": "active"}],
    })
}

async fn put(world: &World, method: &str, path: &str, if_match: Option<&str>, body: &Value) -> Reply {
    let authorization = format!("Bearer {OPS}");
    let mut headers = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    world.connect(None).await.send(method, path, &headers, &body.to_string()).await
}

#[tokio::test]
async fn a_change_must_say_what_it_is_based_on_and_be_based_on_what_stands() {
    let world = World::start().await;
    let made = put(&world, "POST", "/v1/enclaves", None, &enclave("payments/api")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let tag = made.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", made.json()["revision"]));

    let (path, change) = ("/v1/enclaves/payments/api", json!({"reattest_every_secs": 90}));
    put(&world, "PATCH", path, None, &change).await.problem(428, "precondition.required");
    put(&world, "PATCH", path, Some("*"), &change).await.problem(400, "request.invalid");
    put(&world, "PATCH", path, Some(&format!("W/{tag}")), &change).await.problem(400, "request.invalid");
    let changed = put(&world, "PATCH", path, Some(&tag), &change).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["reattest_every_secs"]), (200, &json!(90)), "{changed:?}");
    assert_ne!(changed.header("etag"), tag);
    put(&world, "PATCH", path, Some(&tag), &json!({"reattest_every_secs": 30})).await.problem(412, "conflict");

    let shown = world.ask(Some(OPS), "GET", path, None).await;
    assert_eq!((shown.header("etag"), &shown.json()["reattest_every_secs"]), (changed.header("etag"), &json!(90)));
    put(&world, "POST", "/v1/enclaves", None, &enclave("payments/api")).await.problem(409, "already-exists");
}

#[tokio::test]
async fn a_request_that_is_not_what_it_must_be_is_told_where() {
    let world = World::start().await;
    let mut unknown = enclave("payments/api");
    unknown["releases"][0]["reference"]["mesurement"] = json!("00");
    let problem = put(&world, "POST", "/v1/enclaves", None, &unknown).await.problem(400, "request.invalid");
    assert_eq!(problem["errors"][0]["at"], "/releases/0/reference/mesurement", "{problem}");

    let mut typed = enclave("payments/api");
    typed["releases"][0]["state"] = json!("actve");
    let problem = put(&world, "POST", "/v1/enclaves", None, &typed).await.problem(400, "request.invalid");
    assert_eq!(problem["errors"][0]["at"], "/releases/0/state", "{problem}");

    let problem = world.ask(Some(OPS), "GET", "/v1/enclaves?limt=3", None).await.problem(400, "request.invalid");
    assert!(problem["detail"].as_str().unwrap().contains("`limt`"), "{problem}");
    let problem = world.ask(Some(OPS), "GET", "/v1/instances/inst_x", None).await.problem(400, "request.invalid");
    assert!(problem["detail"].as_str().unwrap().contains("26 characters"), "{problem}");

    world.ask(Some(OPS), "GET", "/v1/enclave", None).await.problem(404, "not-found");
    world.ask(Some(OPS), "GET", "/v1/enclaves/payments/none", None).await.problem(404, "not-found");
    let method = world.ask(Some(OPS), "PUT", "/v1/enclaves", None).await;
    method.problem(405, "request.invalid");
    assert!(method.header("allow").contains("POST"), "{method:?}");

    let authorization = format!("Bearer {OPS}");
    let mut caller = world.connect(None).await;
    let plain = [("authorization", authorization.as_str()), ("content-type", "text/plain")];
    caller.send("POST", "/v1/keys", &plain, "{}").await.problem(415, "request.invalid");
    let long = json!({"resource": "x".repeat(1024 * 1024)});
    put(&world, "POST", "/v1/keys", None, &long).await.problem(413, "request.invalid");
}

#[tokio::test]
async fn faults_in_a_policy_are_told_with_line_and_column() {
    let world = World::start().await;
    let bad = json!({"namespace": "payments", "text": "permit (\n  principal,\n  action == Nothing,\n  resource);"});
    for path in ["/v1/policies", "/v1/policies/validate"] {
        let problem = put(&world, "POST", path, None, &bad).await.problem(422, "policy.invalid");
        assert!(problem["errors"][0]["at"].as_str().unwrap().contains("line 3"), "{problem}");
    }
    let rule = json!({"effect": "allow", "rule": "payments/api decrypt key/payments/pii max-age=1h"});
    let made = put(&world, "POST", "/v1/rules", None, &rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    let policy = made.json();
    assert!(policy["text"].as_str().unwrap().contains("permit"), "{policy}");
    let path = format!("/v1/policies/{}", policy["id"].as_str().unwrap());
    assert_eq!(world.ask(Some(OPS), "GET", &path, None).await.json(), policy);
    let deleted = put(&world, "DELETE", &path, Some(made.header("etag")), &json!({})).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (204, ""), "{deleted:?}");
    world.ask(Some(OPS), "GET", &path, None).await.problem(404, "not-found");
}

#[tokio::test]
async fn the_pages_of_a_list_are_the_list() {
    let world = World::start().await;
    for n in 0..5 {
        put(&world, "POST", "/v1/keys", None, &json!({"resource": format!("key/payments/k{n}")})).await;
    }
    let (mut found, mut path) = (Vec::new(), "/v1/keys?limit=2".to_owned());
    loop {
        let page = world.ask(Some(OPS), "GET", &path, None).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        found.extend(items.iter().map(|key| key["resource"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/keys?limit=2&page_token={}", next.replace('/', "%2F")),
            None => break,
        }
    }
    assert_eq!(found, (0..5).map(|n| format!("key/payments/k{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn health_and_metrics_name_parts_of_the_node_and_nothing_that_somebody_chose() {
    let world = World::start().await;
    put(&world, "POST", "/v1/enclaves", None, &enclave("secret-project/api")).await;
    let ready = world.ask(None, "GET", "/readyz", None).await;
    assert_eq!((ready.status.as_u16(), ready.body.as_str()), (200, "ok\n"));
    let parts = world.ask(Some(OPS), "GET", "/readyz?verbose", None).await;
    assert!(parts.body.contains("[+] hsm: ") && parts.body.contains("[+] audit: "), "{parts:?}");
    world.ask(Some(NOBODY), "GET", "/readyz?verbose", None).await.problem(403, "policy.denied");

    let metrics = world.ask(Some(OPS), "GET", "/metrics", None).await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "burgrave_enclaves 1\n",
        "burgrave_instances{standing=\"fresh\"} 0\n",
        "burgrave_ready{part=\"hsm\"} 1\n",
        "burgrave_decisions_total{outcome=\"denied\"} 1\n",
        "burgrave_http_responses_total{class=\"4xx\"} 1\n",
        "# TYPE burgrave_decisions_total counter\n",
    ] {
        assert!(metrics.body.contains(line), "no `{line}` in {}", metrics.body);
    }
    assert!(!metrics.body.contains("secret-project"), "{}", metrics.body);
    assert_eq!(metrics.header("cache-control"), "no-store");
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let world = World::start().await;
    let stream = world.tls(None, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/v1/domain").body(Empty::<Bytes>::new()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let domain: Value = serde_json::from_slice(&response.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(domain["genesis_hash"], world.trust.genesis_hash().to_string());
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_closed_and_one_that_watches_is_not() {
    let limits = RestLimits { idle: Duration::from_millis(100), ..RestLimits::default() };
    let world = World::with_limits(limits).await;
    let stream = world.tls(None, b"h2").await.unwrap();
    let (_sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let (_, mut events) = watch(&world, OPS, None).await;
    within(connection).await.unwrap();
    put(&world, "POST", "/v1/enclaves", None, &enclave("payments/api")).await;
    until(&mut events, "enclave.created").await;
}

/// A stream of events as bytes.
async fn watch(world: &World, token: &str, last: Option<&str>) -> (u16, Incoming) {
    let stream = world.tls(None, b"http/1.1").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get("/v1/events").header("host", "localhost");
    request = request.header("authorization", format!("Bearer {token}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    (response.status().as_u16(), response.into_body())
}

/// Reads until an event of this kind comes: its id, its data.
async fn until(body: &mut Incoming, kind: &str) -> (String, Value) {
    let mut text = String::new();
    within(async {
        loop {
            let frame = body.frame().await.expect("the stream has ended").unwrap();
            text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let data: Value = field("data:").map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
                if data["kind"] == kind {
                    return (field("id:").unwrap_or_default().to_owned(), data);
                }
                text = rest.to_owned();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_watcher_goes_on_where_its_stream_broke() {
    let world = World::start().await;
    let (status, mut events) = watch(&world, OPS, None).await;
    assert_eq!(status, 200);
    put(&world, "POST", "/v1/enclaves", None, &enclave("payments/one")).await;
    let (id, event) = until(&mut events, "enclave.created").await;
    assert_eq!(event["subject"], "payments/one");
    drop(events);
    put(&world, "POST", "/v1/enclaves", None, &enclave("payments/two")).await;
    let (_, mut events) = watch(&world, OPS, Some(&id)).await;
    let (_, event) = until(&mut events, "enclave.created").await;
    assert_eq!(event["subject"], "payments/two", "what was seen does not come again");
    let (_, mut events) = watch(&world, OPS, Some("12-3")).await;
    until(&mut events, "events.missed").await;
    let (status, _) = watch(&world, NOBODY, None).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn watchers_are_counted_and_sent_away_when_the_server_ends() {
    let world = World::with_limits(RestLimits { watchers: 1, ..RestLimits::default() }).await;
    let (_, mut events) = watch(&world, OPS, None).await;
    let (status, _) = watch(&world, OPS, None).await;
    assert_eq!(status, 429);
    within(world.server.stop()).await;
    within(async { while events.frame().await.is_some_and(|frame| frame.is_ok()) {} }).await;
    assert!(world.tls(None, b"http/1.1").await.is_err(), "a server that has ended took a connection");
}

#[tokio::test]
async fn a_certificate_that_runs_out_ends_its_streams() {
    let limits = RestLimits { recheck: Duration::from_millis(50), ..RestLimits::default() };
    let world = World::with_limits(limits).await;
    let admin = world.admin("root").await;
    let stream = world.tls(Some(&admin), b"http/1.1").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/v1/events").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let mut events = within(sender.send_request(request)).await.unwrap().into_body();
    world.clock.advance(2 * world::HOUR);
    within(async { while events.frame().await.is_some_and(|frame| frame.is_ok()) {} }).await;
}
