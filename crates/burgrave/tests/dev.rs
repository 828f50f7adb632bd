//! `burgrave dev`, its five next commands, and every noun over REST, as a person would type them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Serving, burgrave, exits};
use serde_json::Value;

#[test]
fn the_five_commands_work_when_pasted_and_every_noun_answers() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut node = Serving::start(burgrave(here).arg("dev"));
    let welcome = node.stdout_until("burgrave why");
    let said = welcome.join("\n");
    assert!(said.contains("a DEV node") && said.contains("proves nothing"), "{said}");

    let pasted: Vec<&str> = welcome.iter().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(pasted.len(), 5, "{said}");
    let answers: Vec<String> = pasted.iter().map(|line| paste(here, line)).collect();
    assert!(answers[4].contains("allowed") && answers[4].contains("payments/api"), "{}", answers[4]);

    let link = word_after(&said, "agents");
    everything_is_shown(here);
    data_comes_back_to_its_enclave_alone(here, &link, answers[3].trim());
    failures_have_their_exit_codes(here, &link);
    let (url, genesis) = (word_after(&said, "REST"), word_after(&said, "genesis"));
    let proven = exits(0, burgrave(here).args(["domain", "verify", &url, "--genesis", &genesis]));
    assert!(proven.contains("belongs to this domain"), "{proven}");
    let other = "00".repeat(32);
    let refused = exits(7, burgrave(here).args(["domain", "verify", &url, "--genesis", &other]));
    assert!(refused.contains(&other), "{refused}");

    a_third_party_can_check_a_result(here, &link, &genesis);

    changes_are_made(here);

    assert!(node.stop());
    assert_eq!(exits(0, burgrave(here).args(["context", "list", "-o", "json"])).trim(), "[]");
}

#[test]
fn a_domain_that_is_kept_is_opened_again_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let data = here.join("data");
    let mut node = Serving::start(burgrave(here).arg("dev").arg("--data").arg(&data));
    let before = word_after(&node.stdout_until("burgrave why").join("\n"), "genesis");
    exits(0, burgrave(here).args(["enclave", "create", "payments/api", "--simulate", "code"]));
    node.kill();
    exits(8, burgrave(here).args(["enclave", "list"]));

    let mut node = Serving::start(burgrave(here).arg("dev").arg("--data").arg(&data));
    let after = word_after(&node.stdout_until("burgrave why").join("\n"), "genesis");
    assert_eq!(before, after);
    assert!(exits(0, burgrave(here).args(["enclave", "list"])).contains("payments/api"));
    assert!(node.stop());
}

fn everything_is_shown(here: &Path) {
    for words in [
        "status",
        "domain show",
        "enclave list",
        "enclave show payments/api",
        "instance list",
        "policy list",
        "key list",
        "key show keyspace/payments/storage",
        "channel list",
        "audit tail",
        "why",
        "context list",
        "context show",
        "can payments/api encrypt keyspace/payments/storage",
    ] {
        let table = exits(0, burgrave(here).args(words.split(' ')));
        let json = exits(0, burgrave(here).args(words.split(' ')).args(["-o", "json"]));
        if words == "audit tail" {
            assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json}");
        } else {
            serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{words}: {error}: {json}"));
        }
        assert!(!table.is_empty() || words == "channel list", "{words} shows nothing");
    }
    let instances = exits(0, burgrave(here).args(["instance", "list"]));
    assert!(instances.contains("fresh, ") && instances.contains(" left"), "{instances}");
    let all: Value = serde_json::from_str(&exits(0, burgrave(here).args(["instance", "list", "-o", "json"]))).unwrap();
    let shown = exits(0, burgrave(here).args(["instance", "show", all[0]["id"].as_str().unwrap()]));
    assert!(shown.contains("measurement") && shown.contains("simulated"), "{shown}");
}

fn data_comes_back_to_its_enclave_alone(here: &Path, link: &str, ciphertext: &str) {
    let file = here.join("ciphertext");
    std::fs::write(&file, ciphertext).unwrap();
    let decrypt = |enclave: &str, code: &str| {
        let mut command = burgrave(here);
        let attester = format!("simulated:{code}");
        command.args(["data", "decrypt", "--as", enclave, "--attester", &attester, "--node", link]).arg(&file);
        command
    };
    assert_eq!(exits(0, &mut decrypt("payments/api", "payments-api-1.0")), "4111 1111 1111 1111\n");
    let patched = exits(7, &mut decrypt("payments/api", "payments-api-1.0-patched"));
    assert!(patched.contains("expected ") && patched.contains("found ") && patched.contains("fix: "), "{patched}");
    exits(0, burgrave(here).args(["enclave", "create", "payments/ledger", "--simulate", "ledger"]));
    let denied = exits(3, &mut decrypt("payments/ledger", "ledger"));
    assert!(denied.contains("why: burgrave why dec_"), "{denied}");
    let why = denied.lines().find_map(|line| line.strip_prefix("why: burgrave ")).unwrap();
    assert!(exits(0, burgrave(here).args(why.split(' '))).contains("denied"));
}

fn a_third_party_can_check_a_result(here: &Path, link: &str, genesis: &str) {
    let attest =
        ["evidence", "attest", "--as", "payments/api", "--attester", "simulated:payments-api-1.0", "--node", link];
    let result = here.join("result.jwt");
    std::fs::write(&result, exits(0, burgrave(here).args(attest))).unwrap();
    let keys = here.join("keys.json");
    std::fs::write(&keys, exits(0, burgrave(here).args(["domain", "keys"]))).unwrap();
    let checked = |code: i32, arguments: &[&str]| {
        exits(code, burgrave(here).args(["evidence", "result"]).arg(&result).args(arguments))
    };
    let keys = keys.to_str().unwrap();
    assert!(checked(0, &["--genesis", genesis, "--enclave", "payments/api"]).contains("holds"));
    assert!(checked(0, &["--keys", keys]).contains("simulated affirming"));
    assert!(checked(7, &["--keys", keys, "--enclave", "payments/ledger"]).contains("result.enclave"));
    assert!(checked(7, &["--keys", keys, "--at", "2099-01-01T00:00:00Z"]).contains("result.ended"));
    assert!(checked(7, &["--genesis", &"00".repeat(32)]).contains("result.signature"));
    assert!(checked(2, &[]).contains("fix: add `--genesis HASH`"));
    let text = std::fs::read_to_string(&result).unwrap();
    let (signed, signature) = text.trim().rsplit_once('.').unwrap();
    std::fs::write(&result, format!("{signed}A.{signature}")).unwrap();
    assert!(checked(7, &["--keys", keys]).contains("result.signature"));
}

fn failures_have_their_exit_codes(here: &Path, link: &str) {
    exits(2, burgrave(here).args(["policy", "allow", "payments/api", "brew", "key/payments/pii"]));
    exits(3, burgrave(here).args(["can", "payments/api", "decrypt", "key/payments/pii"]));
    exits(5, burgrave(here).args(["enclave", "show", "payments/nobody"]));
    exits(5, burgrave(here).args(["status", "--context", "nowhere"]));
    exits(6, burgrave(here).args(["enclave", "create", "payments/api", "--simulate", "x"]));
    exits(2, burgrave(here).args(["enclave", "delete", "payments/api"]).stdin(std::process::Stdio::null()));
    let problem = exits(5, burgrave(here).args(["key", "show", "key/payments/nothing", "-o", "json"]));
    assert_eq!(serde_json::from_str::<Value>(&problem).unwrap()["code"], "not-found");
    let unknown = ["data", "encrypt", "key/a/b", "--as", "a/b", "--attester", "simulated:x", "--node", link];
    exits(7, burgrave(here).args(unknown).stdin(std::process::Stdio::null()));
    let policy = here.join("bad.cedar");
    std::fs::write(&policy, "permit (principal, action, resource)\nwhen { principal.nonsense };").unwrap();
    let faults = exits(2, burgrave(here).args(["policy", "validate"]).arg(&policy));
    assert!(faults.contains("line 2, column"), "{faults}");
}

fn changes_are_made(here: &Path) {
    exits(0, burgrave(here).args(["enclave", "update", "payments/api", "--reattest-every", "5m"]));
    exits(
        0,
        burgrave(here).args(["enclave", "release", "add", "payments/api", "v2", "--measurement", &"ab".repeat(48)]),
    );
    exits(0, burgrave(here).args(["enclave", "release", "state", "payments/api", "v2", "deprecated"]));
    let shown = exits(0, burgrave(here).args(["enclave", "show", "payments/api"]));
    assert!(shown.contains("5 min") && shown.contains("release v2") && shown.contains("deprecated"), "{shown}");

    exits(0, burgrave(here).args(["enclave", "create", "payments/lax", "--simulate", "code", "--max-vmpl", "0"]));
    let lax = ["enclave", "update", "payments/lax", "--allow-debug", "--platform", "0a0b", "--with", "simulated"];
    let shown = exits(0, burgrave(here).args(lax));
    for expected in ["taken: its host can look inside", "0a0b", "simulated (any)"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let strict =
        ["enclave", "update", "payments/lax", "--allow-debug=false", "--any-platform", "--without", "simulated"];
    let shown = exits(0, burgrave(here).args(strict));
    assert!(!shown.contains("debugging") && !shown.contains("0a0b") && !shown.contains("(any)"), "{shown}");
    exits(2, burgrave(here).args(["enclave", "update", "payments/lax", "--tcb-floor", "milan.snp=24"]));
    let measurement = "aa".repeat(48);
    let cloud = ["enclave", "create", "payments/td", "--tee", "tdx", "--measurement", &measurement];
    let taken = ["--allow-td", "sept-ve", "--allow-service-td", "--boot-log", "--unexplained", "rtmr2,rtmr3"];
    let shown = exits(0, burgrave(here).args(cloud).args(taken));
    for expected in ["sept-ve", "taken: it can read or move the TD", "rtmr2, rtmr3"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let strict = ["--refuse-td", "sept-ve", "--allow-service-td=false", "--unexplained", "default"];
    let shown = exits(0, burgrave(here).args(["enclave", "update", "payments/td"]).args(strict));
    assert!(!shown.contains("sept-ve") && !shown.contains("service TD") && !shown.contains("rtmr2"), "{shown}");
    exits(2, burgrave(here).args(["enclave", "update", "payments/td", "--pcrs", "0,7"]));
    let ending = ["enclave", "release", "state", "payments/api", "v2", "deprecated", "--until", "2d"];
    assert!(exits(0, burgrave(here).args(ending)).contains("ends 2"));

    exits(0, burgrave(here).args(["key", "create", "key/payments/pii"]));
    assert!(exits(0, burgrave(here).args(["key", "rotate", "key/payments/pii"])).contains("active"));
    exits(0, burgrave(here).args(["key", "delete", "key/payments/pii", "--yes"]));

    let json =
        exits(0, burgrave(here).args(["policy", "forbid", "payments/*", "derive", "key/payments/*", "-o", "json"]));
    let policy: Value = serde_json::from_str(&json).unwrap();
    let id = policy["id"].as_str().unwrap();
    assert_eq!(policy["rule"], "forbid payments/* derive key/payments/*");
    assert!(exits(0, burgrave(here).args(["policy", "show", id])).contains("forbid ("));
    exits(0, burgrave(here).args(["policy", "delete", id, "--yes"]));

    let revoked = exits(0, burgrave(here).args(["enclave", "revoke", "payments/api", "--reason", "a test"]));
    assert!(revoked.contains("inst_"), "{revoked}");
    assert!(exits(0, burgrave(here).args(["instance", "list"])).contains("revoked "));
    exits(0, burgrave(here).args(["enclave", "delete", "payments/api", "--yes"]));
    exits(5, burgrave(here).args(["enclave", "show", "payments/api"]));
}

fn paste(here: &Path, line: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("BURGRAVE_CONFIG", here.join("contexts.toml")).env("NO_COLOR", "1");
    exits(0, &mut shell)
}

/// The word that follows a name at the beginning of a line.
fn word_after(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no `{name}`: {text}"));
    line.split_whitespace().next().unwrap().to_owned()
}
