//! What a machine loads after its boot, with a TPM, live, where `swtpm` is installed: the kernel's log is a file of the test's.

use std::io::Write;
use std::path::{Path, PathBuf};

use burgrave_attester::swtpm::Swtpm;
use burgrave_attester::{EventLogs, TpmAttester};
use burgrave_control::EnclaveChange;
use burgrave_seal::sha256;
use burgrave_types::DomainClass;
use burgrave_types::api::RunTimeRequirement;
use burgrave_types::claims::Proved;

use crate::agent::Agent;
use crate::node::{Node, root};
use crate::tpm::{GATEWAY, attester, registration, start};

/// A machine: its TPM, and the kernel's files below a folder.
struct Machine {
    tpm: Swtpm,
    root: PathBuf,
}

impl Machine {
    fn boot(folder: &Path) -> Option<Self> {
        let machine = Self { tpm: start(&folder.join("tpm"))?, root: folder.join("root") };
        std::fs::create_dir_all(machine.log().parent().unwrap()).unwrap();
        // PCRs 0 to 9 are zero: nothing was measured into them.
        machine.measures("boot_aggregate", &sha256(&[0; 320]));
        Some(machine)
    }

    fn log(&self) -> PathBuf {
        self.root.join("sys/kernel/security/ima/binary_runtime_measurements")
    }

    /// The kernel measures a file, by the template `ima-ng`.
    fn measures(&self, path: &str, digest: &[u8; 32]) {
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
        let (digest, path) = ([b"sha256:\0".as_slice(), digest].concat(), [path.as_bytes(), b"\0"].concat());
        let data = [field(&digest), field(&path)].concat();
        // The log has the SHA-1 of the data, which the SHA-256 bank does not use.
        let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &data);
        let entry = [&10u32.to_le_bytes()[..], sha1.as_ref(), &field(b"ima-ng"), &field(&data)].concat();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(&entry).unwrap();
        attester(&self.tpm).extend_pcr(10, &sha256(&data)).unwrap();
    }

    fn runs(&self, path: &str) {
        self.measures(path, &sha256(path.as_bytes()));
    }

    fn agent(&self) -> Agent {
        Agent::with(GATEWAY, self.attester())
    }

    fn attester(&self) -> TpmAttester {
        attester(&self.tpm).with_logs(EventLogs::new(&self.root))
    }
}

fn allowing(paths: &[&str]) -> RunTimeRequirement {
    let files = paths.iter().map(|path| format!("sha256:{}", crate::node::hex(&sha256(path.as_bytes()))));
    RunTimeRequirement { files: files.collect(), ..RunTimeRequirement::default() }
}

async fn registered(machine: &Machine, allowed: &[&str]) -> Node {
    let node = Node::new(DomainClass::Production).await;
    let mut new = registration(&mut attester(&machine.tpm));
    new.requirements.run_time = Some(allowing(allowed));
    node.control.create_enclave(&root(), new).await.unwrap();
    node
}

#[tokio::test]
async fn a_machine_that_loads_what_is_allowed_stays_and_one_that_loads_more_is_told_what() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = Machine::boot(folder.path()) else { return };
    let node = registered(&machine, &["/usr/bin/init", "/usr/bin/app"]).await;
    machine.runs("/usr/bin/init");
    let mut agent = machine.agent();
    agent.attest(&node).await.unwrap();
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert!(shown.claims.proved.contains(&Proved::Runtime));

    // From then on only what is new is sent.
    agent.attester.log_taken();
    let sent = std::fs::read(machine.log()).unwrap().len();
    machine.runs("/usr/bin/app");
    let request = agent.request(&node);
    let lead = &request.evidence.lead;
    assert_eq!(lead.item("ima.offset").unwrap(), sent.to_string().as_bytes());
    assert_eq!(lead.item("ima.bin").unwrap(), &std::fs::read(machine.log()).unwrap()[sent..]);
    node.control.attest(request).await.unwrap();

    agent.attester.log_taken();
    machine.runs("/tmp/evil");
    let problem = agent.attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("runtime.unlisted"), "{problem}");
    assert!(problem.detail.contains("/tmp/evil") && problem.fix.unwrap().contains("--run-time"), "{}", problem.detail);
}

#[tokio::test]
async fn a_node_that_knows_nothing_of_the_log_wants_it_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = Machine::boot(folder.path()) else { return };
    let node = registered(&machine, &["/usr/bin/init"]).await;
    machine.runs("/usr/bin/init");
    let mut agent = machine.agent();
    agent.attest(&node).await.unwrap();
    agent.attester.log_taken();
    let node = node.restart().await;
    let problem = agent.attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("log.gap"), "{problem}");
    agent.attester.log_forgotten();
    agent.attest(&node).await.unwrap();
}

#[tokio::test]
async fn what_is_allowed_no_more_refuses_who_loaded_it_before() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = Machine::boot(folder.path()) else { return };
    let node = registered(&machine, &["/usr/bin/init", "/usr/bin/app"]).await;
    machine.runs("/usr/bin/init");
    machine.runs("/usr/bin/app");
    let mut agent = machine.agent();
    agent.attest(&node).await.unwrap();
    agent.attester.log_taken();
    let enclave = node.control.enclave(&root(), &GATEWAY.parse().unwrap()).await.unwrap();
    let requirements =
        burgrave_types::api::Requirements { run_time: Some(allowing(&["/usr/bin/init"])), ..enclave.requirements };
    let change = EnclaveChange { requirements: Some(requirements), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &enclave.name, Some(enclave.revision), change).await.unwrap();
    // Under other sets all of it is appraised anew.
    assert_eq!(agent.attest(&node).await.unwrap_err().cause.as_deref(), Some("log.gap"));
    agent.attester.log_forgotten();
    let problem = agent.attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("runtime.unlisted"));
    assert!(problem.detail.contains("/usr/bin/app"), "{problem}");
}

#[tokio::test]
async fn a_machine_without_a_log_is_refused_where_one_is_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machine) = Machine::boot(folder.path()) else { return };
    let node = registered(&machine, &["/usr/bin/init"]).await;
    let problem = Agent::with(GATEWAY, attester(&machine.tpm)).attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("log.absent"), "{problem}");
}

#[tokio::test]
async fn allowed_sets_that_cannot_be_read_or_allow_nothing_are_not_registered() {
    let node = Node::dev().await;
    for run_time in [
        allowing(&[]),
        RunTimeRequirement { files: vec!["sha1:00".to_owned()], ..allowing(&[]) },
        RunTimeRequirement { keys: vec!["no key".to_owned()], ..allowing(&[]) },
    ] {
        let mut new = crate::tees::registration(burgrave_types::Tee::Tdx, &[1; 48]);
        new.requirements.run_time = Some(run_time);
        let problem = node.control.create_enclave(&root(), new).await.unwrap_err();
        assert_eq!(problem.errors[0].at, "/requirements/run_time", "{problem:?}");
    }
    let mut new = crate::tees::registration(burgrave_types::Tee::Nitro, &[1; 48]);
    (new.requirements.run_time, new.requirements.boot_log) = (Some(allowing(&["/a"])), true);
    let problem = node.control.create_enclave(&root(), new).await.unwrap_err();
    assert_eq!(problem.errors.len(), 2, "{problem:?}");
}
