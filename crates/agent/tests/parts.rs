//! The evidence of devices beside the TEE, as a node gets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod liar;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_agent::{Notice, local};
use burgrave_attester::{PartSpec, SimulatedAttester, WithParts};
use burgrave_protocol::wire::{self, push};
use burgrave_seal::binding::part_nonce;
use burgrave_types::{Evidence, InstanceId, ProblemCode, Revision, Tee};
use liar::{ENCLAVE, Liar, within};

/// The agent's TEE, beside which this shell script tells of GPUs; it gets the nonce as `$1`.
fn with_gpus(script: &str) -> WithParts {
    let words = ["/bin/sh", "-c", script, "sh", "{nonce}"].map(str::to_owned);
    let gpus = PartSpec::new(Tee::NvidiaGpu, words.into()).unwrap();
    WithParts::new(Box::new(SimulatedAttester::of_code("payments-api-1.0")), vec![gpus]).unwrap()
}

/// The beginning of a report over this nonce: what an agent looks at.
fn report(nonce: &[u8; 32]) -> Vec<u8> {
    [&[0x11, 0xe0, 0x01, 0xff][..], nonce, b"and the rest"].concat()
}

#[tokio::test]
async fn gpus_answer_a_nonce_that_the_challenge_gives_them_and_go_along_with_the_lead() {
    let liar = Liar::new().await;
    let nonce = part_nonce(&liar::challenge().nonce, Tee::NvidiaGpu);
    let chain = |gpu: usize| format!("-----BEGIN CERTIFICATE-----\nof {gpu}\n");
    let entry = |gpu, nonce| serde_json::json!({"evidence": STANDARD.encode(report(nonce)), "certificate": STANDARD.encode(chain(gpu))});
    let folder = tempfile::tempdir().unwrap();
    let answer = serde_json::json!({"evidences": [entry(0, &nonce), entry(1, &nonce)]});
    let name: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(folder.path().join(name), answer.to_string()).unwrap();
    let agent = liar.agent(with_gpus(&format!("cat {}/\"$1\"", folder.path().display())));
    let mut connection = liar.welcome(0).await;
    let (stream, attest) = connection.evidence().await;
    let evidence = Evidence::decode(&attest.evidence).unwrap();
    assert_eq!((evidence.lead.tee, evidence.others.len()), (Tee::Simulated, 2));
    for (gpu, part) in evidence.others.iter().enumerate() {
        assert_eq!((part.tee, part.item("report.bin").unwrap()), (Tee::NvidiaGpu, report(&nonce).as_slice()));
        assert_eq!(part.item("chain.pem").unwrap(), chain(gpu).as_bytes());
    }
    connection.respond(stream, burgrave_types::Problem::new(ProblemCode::AttestationRejected, "no GPU of mine")).await;
    assert_eq!(within(agent.wait_attested()).await.unwrap_err().code, ProblemCode::AttestationRejected);
}

#[tokio::test]
async fn where_a_gpu_gives_no_evidence_the_agent_says_why_and_tries_again() {
    let liar = Liar::new().await;
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let nonce = part_nonce(&liar::challenge().nonce, Tee::NvidiaGpu);
    let certificate = STANDARD.encode("-----BEGIN CERTIFICATE-----\n");
    let answer = serde_json::json!([{"evidence": STANDARD.encode(report(&nonce)), "certificate": certificate}]);
    let script = format!("cat {} || {{ echo the driver is not loaded >&2; exit 4; }}", ready.display());
    let agent = liar.agent(with_gpus(&script));
    let mut connection = liar.welcome(0).await;
    let (stream, _) = connection.request().await;
    connection.respond(stream, liar::challenge()).await;
    let problem = within(agent.watch().wait_for(|status| status.problem.is_some())).await.unwrap().problem.clone();
    let problem = problem.unwrap();
    assert_eq!(problem.code, ProblemCode::Unavailable);
    for named in ["nvidia-gpu", "{nonce}", "exit status: 4", "the driver is not loaded`", "run it by hand"] {
        assert!(problem.detail.contains(named), "{named}: {problem}");
    }

    std::fs::write(&ready, answer.to_string()).unwrap();
    let mut connection = liar.welcome(0).await;
    connection.admit(InstanceId::from_bytes([5; 16]), ENCLAVE, Some([1; 32])).await;
    within(agent.wait_attested()).await.unwrap();
}

#[tokio::test]
async fn what_a_node_tells_is_heard_while_a_gpu_takes_its_time() {
    let liar = Liar::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let nonce = part_nonce(&liar::challenge().nonce, Tee::NvidiaGpu);
    let certificate = STANDARD.encode("-----BEGIN CERTIFICATE-----\n");
    let answer = serde_json::json!([{"evidence": STANDARD.encode(report(&nonce)), "certificate": certificate}]);
    std::fs::write(path("answer"), answer.to_string()).unwrap();
    // Where the gate is, it opens when somebody writes into it.
    let script = format!("cd {}; [ -p gate ] && cat gate; exec cat answer", folder.path().display());
    let agent = liar.agent(with_gpus(&script));
    let mut connection = liar.welcome(0).await;
    connection.admit(InstanceId::from_bytes([5; 16]), ENCLAVE, Some([1; 32])).await;
    within(agent.wait_attested()).await.unwrap();

    assert!(std::process::Command::new("mkfifo").arg(path("gate")).status().unwrap().success());
    let mut notices = agent.notices();
    connection.push(push::Notice::Reattest(liar::challenge())).await;
    let lost = wire::Lost { operation: "derive".to_owned(), resource: "key/payments/pii".to_owned() };
    connection.push(push::Notice::Revision(wire::RevisionNotice { revision: 7, lost: vec![lost] })).await;
    assert!(matches!(within(notices.recv()).await.unwrap(), Notice::Lost { revision: Revision(7), .. }));
    assert_eq!(agent.status().attestations, 1);

    let gate = path("gate");
    tokio::task::spawn_blocking(move || std::fs::write(gate, "").unwrap()).await.unwrap();
    std::fs::remove_file(path("gate")).unwrap();
    connection.admit(InstanceId::from_bytes([5; 16]), ENCLAVE, None).await;
    within(agent.watch().wait_for(|status| status.attestations == 2)).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_stopped_does_not_wait_for_a_gpu_nor_leave_its_command() {
    let liar = Liar::new().await;
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    assert!(std::process::Command::new("mkfifo").arg(&pid).status().unwrap().success());
    let more = format!(
        r#"
        attester = "simulated:payments-api-1.0"
        [[part]]
        tee = "nvidia-gpu"
        command = ["/bin/sh", "-c", "echo $$ > {}; sleep 1000", "{{nonce}}"]
        timeout_secs = 55
        "#,
        pid.display()
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let agent = tokio::spawn(local::run(liar.configuration(&more), async { drop(stopped.await) }));
    let mut connection = liar.welcome(0).await;
    let (stream, _) = connection.request().await;
    connection.respond(stream, liar::challenge()).await;
    let running = tokio::task::spawn_blocking(move || std::fs::read_to_string(pid).unwrap()).await.unwrap();
    stop.send(()).unwrap();
    within(agent).await.unwrap().unwrap();
    let stat = std::path::Path::new("/proc").join(running.trim()).join("stat");
    let is_over = || !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    within(async {
        while !is_over() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
