//! An agent on a machine that a TPM measures, live, where `swtpm` is installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::sync::Arc;

use burgrave_agent::{Agent, AgentConfig};
use burgrave_attester::TpmAttester;
use burgrave_attester::swtpm::Swtpm;
use burgrave_control::{NewEnclave, NewRelease};
use burgrave_seal::SystemRandom;
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{KeyIdentity, Operation, ReleaseState, SystemClock, Tee};
use burgrave_verifier::tpm::ek_digest;
use common::{STORAGE, World, root_admin, within};

const GATEWAY: &str = "boot/gateway";

#[tokio::test]
async fn a_machine_with_a_listed_tpm_attests_over_the_link_and_again_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    if Swtpm::find().is_none() {
        eprintln!("skipped: `swtpm` is not installed (apt-get install swtpm)");
        return;
    }
    let tpm = Swtpm::start(folder.path()).unwrap();
    let mut attester = TpmAttester::new(tpm.transport());
    let pcrs = attester.read_pcrs().unwrap();
    let reference = ReferenceValue {
        tee: Tee::Tpm,
        measurement: None,
        signer: None,
        product_id: None,
        min_svn: None,
        registers: [0, 7].map(|pcr| (format!("pcr{pcr}"), pcrs[&pcr].clone())).into(),
        config: None,
    };
    let release = NewRelease {
        name: "v1".parse().unwrap(),
        reference,
        state: ReleaseState::Active,
        origin: "from the machine".to_owned(),
        log: Default::default(),
        valid_until: None,
    };
    let world = World::new().await;
    let enclave = NewEnclave {
        name: GATEWAY.parse().unwrap(),
        tee: Tee::Tpm,
        key_identity: KeyIdentity::Measurement,
        reattest_every_secs: 2,
        releases: vec![release],
        requirements: Default::default(),
        tpm_ek_digests: vec![HexBytes::from(ek_digest(&attester.ek_public().unwrap()).as_slice())],
    };
    world.control.create_enclave(&root_admin(), enclave).await.unwrap();
    world.permit(GATEWAY, &[Operation::Encrypt], STORAGE, None).await;

    let config = AgentConfig {
        nodes: vec![world.address.parse().unwrap()],
        genesis: world.genesis(),
        enclave: GATEWAY.parse().unwrap(),
        attester: Box::new(attester),
    };
    let agent = Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap();
    let first = within(agent.wait_attested()).await.unwrap();
    within(agent.encrypt(&STORAGE.parse().unwrap(), b"", b"x")).await.unwrap_or_else(|problem| panic!("{problem}"));
    let again = within(agent.watch().wait_for(|status| status.attestations > 1)).await.unwrap().clone();
    assert_eq!(again.instance, first.instance);
}
