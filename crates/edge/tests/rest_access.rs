//! Who gets in at the REST door, and to what: each operation of the document has its denial here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod world;

use burgrave_identity::Profile;
use serde_json::{Value, json};
use world::{HOUR, NOBODY, OPS, World};

/// All operations: method, path with examples in it, and the operation.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(&burgrave_edge::rest::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut path = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "path" {
                    let name = parameter["name"].as_str().unwrap();
                    path = path.replace(&format!("{{{name}}}"), &example(&document, &parameter["schema"]));
                }
            }
            all.push((method.to_uppercase(), path, operation.clone()));
        }
    }
    assert!(all.len() > 35, "{}", all.len());
    all
}

fn example(document: &Value, schema: &Value) -> String {
    let schema = document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    let example = schema["examples"].get(0).or(schema["enum"].get(0)).unwrap();
    example.as_str().unwrap().to_owned()
}

/// A body that an operation takes.
fn body(operation: &Value) -> Option<Value> {
    operation.get("requestBody")?;
    let release = json!({"name": "v1", "reference": {"tee": "simulated", "measurement": "00"}, "state": "active"});
    Some(match operation["operationId"].as_str().unwrap() {
        "createEnclave" => json!({
            "name": "payments/api", "tee": "simulated", "key_identity": "name", "reattest_every_secs": 60,
            "releases": [release],
        }),
        "addRelease" => release,
        "updateEnclave" => json!({"reattest_every_secs": 90}),
        "setReleaseState" => json!({"state": "active"}),
        "revokeEnclave" | "revokeRelease" | "revokeInstance" | "cutChannel" => json!({"reason": "a test"}),
        "createPolicy" | "replacePolicy" | "validatePolicy" => {
            json!({"text": r#"permit (principal, action == Burgrave::Action::"attest", resource);"#})
        }
        "createRule" => json!({"effect": "allow", "rule": "payments/api decrypt key/payments/pii"}),
        "createKey" => json!({"resource": "key/payments/pii"}),
        "rotateKey" => json!({}),
        "authorize" => {
            json!({"subject": {"enclave": "payments/api"}, "operation": "decrypt", "resource": "key/payments/pii"})
        }
        other => panic!("say what body `{other}` takes"),
    })
}

#[tokio::test]
async fn without_a_credential_only_what_is_public_is_answered() {
    let world = World::start().await;
    let mut public = Vec::new();
    for (method, path, operation) in operations() {
        let reply = world.ask(None, &method, &path, body(&operation)).await;
        if operation["security"] == json!([]) {
            assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
            public.push(path);
        } else {
            reply.problem(401, "auth.required");
            assert_eq!(reply.header("www-authenticate"), "Bearer", "{method} {path}");
        }
    }
    assert_eq!(public, ["/docs/errors", "/livez", "/readyz", "/v1/domain", "/v1/domain/keys", "/v1/openapi.json"]);
    world.ask(None, "GET", "/readyz?verbose", None).await.problem(401, "auth.required");
}

#[tokio::test]
async fn an_administrator_without_a_role_is_denied_everything_with_a_decision_to_ask_about() {
    let world = World::start().await;
    for (method, path, operation) in operations() {
        if operation["security"] == json!([]) {
            continue;
        }
        let reply = world.ask(Some(NOBODY), &method, &path, body(&operation)).await;
        let problem = reply.problem(403, "policy.denied");
        let decision = problem["decision_id"].as_str().unwrap_or_else(|| panic!("{method} {path}: {reply:?}"));
        let why = world.ask(Some(OPS), "GET", &format!("/v1/decisions/{decision}"), None).await;
        assert_eq!(why.json()["decision"]["allowed"], false, "{method} {path}");
        assert_eq!(why.json()["decision"]["principal"], "admin nobody", "{method} {path}");
    }
    let enclaves = world.ask(Some(OPS), "GET", "/v1/enclaves", None).await.json();
    assert_eq!(enclaves["items"], json!([]), "nothing was made by those who may not");
}

#[tokio::test]
async fn a_token_that_is_nobodys_is_refused_even_beside_a_good_certificate() {
    let world = World::start().await;
    let admin = world.admin("root").await;
    let mut caller = world.connect(Some(&admin)).await;
    assert_eq!(caller.send("GET", "/v1/status", &[], "").await.status, 200);
    for bad in ["Bearer bgt_op", "Bearer bgt_ops2", "Bearer", "Basic Ymd0X29wcw=="] {
        let reply = caller.send("GET", "/v1/status", &[("authorization", bad)], "").await;
        reply.problem(401, "auth.required");
        assert!(!reply.body.contains("bgt_"), "a token comes back in {reply:?}");
    }
    assert_eq!(world.ask(Some(OPS), "GET", "/v1/status", None).await.status, 200);
}

#[tokio::test]
async fn a_certificate_that_runs_out_ends_on_the_connection_that_it_opened() {
    let world = World::start().await;
    let admin = world.admin("root").await;
    let mut caller = world.connect(Some(&admin)).await;
    assert_eq!(caller.send("GET", "/v1/status", &[], "").await.status, 200);
    world.clock.advance(2 * HOUR);
    let problem = caller.send("GET", "/v1/status", &[], "").await.problem(401, "auth.required");
    assert!(problem["detail"].as_str().unwrap().contains("`root` ran out at"), "{problem}");
}

#[tokio::test]
async fn certificates_of_enclaves_and_of_other_domains_open_nothing() {
    let (world, other) = (World::start().await, World::start().await);
    let enclave = Profile::Enclave { id: "spiffe://example.org/payments/api".parse().unwrap() };
    for stranger in [world.issue(enclave).await, other.admin("root").await] {
        // With TLS 1.3 the client learns of its refusal when it reads.
        let Ok(stream) = world.tls(Some(&stranger), b"http/1.1").await else { continue };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("/v1/domain").header("host", "localhost");
        let request = request.body(http_body_util::Empty::<hyper::body::Bytes>::new()).unwrap();
        assert!(sender.send_request(request).await.is_err(), "a stranger's certificate was taken");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_act_with_a_browsers_certificate() {
    let world = World::start().await;
    let admin = world.admin("root").await;
    let mut caller = world.connect(Some(&admin)).await;
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let reply = caller.send("GET", "/v1/status", &[("sec-fetch-site", site)], "").await;
        assert_eq!(reply.status, status, "{site}: {reply:?}");
    }
}
