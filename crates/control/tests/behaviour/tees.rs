//! Every TEE through the node: machines made in the test attest and are renewed; genuine evidence, which is bound to somebody
//! else's challenge, is refused for that and nothing before it.

use burgrave_attester::Attester;
use burgrave_control::{AttestRequest, EnclaveChange, NewEnclave, NewRelease};
use burgrave_types::claims::ReferenceValue;
use burgrave_types::{DomainClass, Evidence, EvidencePart, KeyIdentity, Problem, ProblemCode, Tee};
use burgrave_verifier::{Roots, inspect};

use crate::agent::Agent;
use crate::made::{Azure, Dcap, NitroEnclave, Snp, packaged};
use crate::node::{Node, hex, release, root, simulated};
use crate::platform;
use crate::requirements::node;

/// A registration of `tee` with that measurement.
pub(crate) fn registration(tee: Tee, measurement: &[u8]) -> NewEnclave {
    let reference = ReferenceValue { tee, measurement: Some(hex(measurement)), ..crate::node::reference("") };
    let releases = vec![NewRelease { reference, ..release("v1", "") }];
    NewEnclave { name: name(tee), tee, releases, ..simulated("payments/api", KeyIdentity::Measurement) }
}

fn name(tee: Tee) -> burgrave_types::EnclaveName {
    format!("payments/{tee}").parse().unwrap()
}

async fn attests(node: &Node, tee: Tee, measurement: &[u8], machine: impl Attester + 'static) {
    node.control.create_enclave(&root(), registration(tee, measurement)).await.unwrap();
    let mut agent = Agent::with(&name(tee).to_string(), machine);
    let first = agent.attest(node).await.unwrap();
    assert_eq!(agent.attest(node).await.unwrap().revision, first.revision, "a renewal is no record");
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert_eq!((shown.claims.tee, shown.claims.launch.measurement), (tee, Some(hex(measurement))));
    assert!(shown.claims.platform_id.is_some() && shown.conceded.is_empty());
    // The same evidence over another link.
    let mut request = agent.request(node);
    request.link.exporter = [8; 32];
    let problem = node.control.attest(request).await.unwrap_err();
    let cause = if tee == Tee::AzVtpm { "binding.nonce" } else { "binding.report_data" };
    assert_eq!(problem.cause.as_deref(), Some(cause), "{problem}");
}

#[tokio::test]
async fn machines_of_each_tee_attest_and_are_renewed() {
    let node = node().await;
    let snp = Snp::new();
    attests(&node, Tee::Snp, &snp.measurement(), snp.clone()).await;
    attests(&node, Tee::Tdx, &[0xaa; 48], Dcap(platform::td(4, 2))).await;
    attests(&node, Tee::Sgx, &[0xe1; 32], Dcap(platform::sgx())).await;
    attests(&node, Tee::Nitro, &[1; 48], NitroEnclave { image: 1, parent: 4, signer: 8 }).await;
    attests(&node, Tee::AzVtpm, &snp.measurement(), Azure(snp.clone(), [1, 2, 3])).await;
}

#[tokio::test]
async fn demands_on_hardware_reach_through_a_paravisor() {
    let node = node().await;
    let mut new = registration(Tee::AzVtpm, &Snp::new().measurement());
    new.requirements = crate::requirements::of(serde_json::json!({
        "platforms": [hex(&Snp::new().chip())], "tcb_floors": [{"component": "milan.snp", "minimum": 8}],
    }));
    let enclave = node.control.create_enclave(&root(), new.clone()).await.unwrap();
    let attest = async |machine| Agent::with("payments/az-vtpm", machine).attest(&node).await.map_err(|no| no.cause);
    attest(Azure(Snp::new(), [1, 2, 3])).await.unwrap();
    assert_eq!(attest(Azure(Snp::new().debug(), [1, 2, 3])).await.unwrap_err().as_deref(), Some("debug"));
    new.requirements.tcb_floors[0].minimum = 9;
    let change = EnclaveChange { requirements: Some(new.requirements), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &new.name, Some(enclave.revision), change).await.unwrap();
    assert_eq!(attest(Azure(Snp::new(), [1, 2, 3])).await.unwrap_err().as_deref(), Some("tcb.status"));
}

#[tokio::test]
async fn a_floor_on_intels_collateral_acts_as_one_on_firmware() {
    let node = node().await;
    let number = platform::td(4, 2).tcb_info["tcbEvaluationDataNumber"].as_u64().unwrap();
    for (minimum, cause) in [(number, None), (number + 1, Some("tcb.status"))] {
        let floor = serde_json::json!({"tcb_floors": [{"component": "dcap.evaluation", "minimum": minimum}]});
        let mut new = registration(Tee::Tdx, &[0xaa; 48]);
        new.name = format!("payments/at-{minimum}").parse().unwrap();
        new.requirements = crate::requirements::of(floor);
        let mut agent = Agent::with(&new.name.to_string(), Dcap(platform::td(4, 2)));
        node.control.create_enclave(&root(), new).await.unwrap();
        assert_eq!(agent.attest(&node).await.err().and_then(|problem| problem.cause).as_deref(), cause);
    }
}

/// Genuine or packaged evidence: its TEE, its folder, items under the names that they have there, the time, further roots.
struct Packaged {
    tee: Tee,
    folder: &'static str,
    items: &'static [&'static str],
    at: &'static str,
    roots: &'static [&'static str],
    /// Why it is refused, when all before its binding was looked at.
    cause: &'static str,
}

const PACKAGED: &[Packaged] = &[
    Packaged {
        tee: Tee::Snp,
        folder: "snp/milan-v2-virtee",
        items: &["report.bin", "vcek.der"],
        at: "2026-03-01T00:00:00Z",
        roots: &[],
        cause: "binding.report_data",
    },
    Packaged {
        tee: Tee::Tdx,
        folder: "tdx/v5-td15ex-uptodate",
        items: &["quote.bin", "collateral.json"],
        at: "2026-10-20T00:00:00Z",
        roots: &[],
        cause: "binding.report_data",
    },
    Packaged {
        tee: Tee::Tdx,
        folder: "tdx/v4-b0c06f-uptodate",
        items: &["quote.bin", "collateral.json"],
        at: "2025-06-20T00:00:00Z",
        roots: &[],
        cause: "binding.report_data",
    },
    Packaged {
        tee: Tee::Nitro,
        folder: "nitro/prod-2025-public-key",
        items: &["document.cose"],
        at: "2025-01-06T16:07:06Z",
        roots: &[],
        cause: "binding.report_data",
    },
    Packaged {
        tee: Tee::Cca,
        folder: "cca/token-02",
        items: &["token.cbor"],
        at: "2026-03-01T00:00:00Z",
        roots: &["cca/token-02/trust-anchor.json"],
        cause: "binding.report_data",
    },
    Packaged {
        tee: Tee::Tpm,
        folder: "tpm/swtpm-rsa",
        items: &["quote.msg", "quote.sig", "ak.pub", "ek.pub", "pcrs.json", "ekcert-rsa.der", "issuer.pem"],
        at: "2026-12-01T00:00:00Z",
        roots: &["tpm/swtpm-rsa/test-root.pem"],
        cause: "binding.nonce",
    },
];

impl Packaged {
    fn part(&self) -> EvidencePart {
        let items = self.items.iter().map(|item| ((*item).to_owned(), packaged(&format!("{}/{item}", self.folder))));
        EvidencePart { tee: self.tee, items: items.collect() }
    }

    async fn node(&self) -> Node {
        let roots = Roots::vendor().with(self.roots.iter().map(|root| packaged(root))).unwrap();
        Node::with(DomainClass::Production, self.at.parse().unwrap(), roots).await
    }

    /// A registration that the evidence would match.
    fn registration(&self) -> NewEnclave {
        let claims = inspect(&self.part()).unwrap().claims.unwrap();
        let reference = ReferenceValue {
            tee: self.tee,
            measurement: claims.launch.measurement.filter(|_| self.tee != Tee::Tpm),
            registers: match self.tee {
                Tee::Tpm => [("pcr0".to_owned(), hex(&[0; 32]))].into(),
                _ => claims.registers.into_iter().collect(),
            },
            ..crate::node::reference("")
        };
        let releases = vec![NewRelease { reference, ..release("v1", "") }];
        let tpm_ek_digests = match self.tee {
            Tee::Tpm => vec![hex(&burgrave_verifier::tpm::ek_digest(&packaged(&format!("{}/ek.pub", self.folder))))],
            _ => Vec::new(),
        };
        let simulated = simulated("payments/api", KeyIdentity::Name);
        NewEnclave { name: name(self.tee), tee: self.tee, releases, tpm_ek_digests, ..simulated }
    }
}

/// What the node says to this evidence for an enclave.
async fn refusal(node: &Node, enclave: Tee, part: EvidencePart) -> Problem {
    let mut agent = Agent::new(&name(enclave).to_string());
    let request = AttestRequest { evidence: Evidence::single(part), ..agent.request(node) };
    let problem = node.control.attest(request).await.unwrap_err();
    assert_eq!(problem.code, ProblemCode::AttestationRejected, "{problem}");
    problem
}

#[tokio::test]
async fn genuine_evidence_is_refused_for_its_binding_alone() {
    for packaged in PACKAGED {
        let node = packaged.node().await;
        node.control.create_enclave(&root(), packaged.registration()).await.unwrap();
        let problem = refusal(&node, packaged.tee, packaged.part()).await;
        assert_eq!(problem.cause.as_deref(), Some(packaged.cause), "{}: {problem}", packaged.folder);
    }
}

#[tokio::test]
async fn evidence_of_another_tee_than_it_says_is_refused_as_what_it_is_not() {
    for packaged in PACKAGED {
        let node = packaged.node().await;
        node.control.create_enclave(&root(), packaged.registration()).await.unwrap();
        for tee in Tee::ALL.iter().filter(|tee| **tee != packaged.tee) {
            let cause =
                refusal(&node, packaged.tee, EvidencePart { tee: *tee, ..packaged.part() }).await.cause.unwrap();
            assert!(
                ["format.", "platform.unlisted", "chain.untrusted"].iter().any(|expected| cause.starts_with(expected)),
                "{} as {tee}: {cause}",
                packaged.folder
            );
        }
    }
}

#[tokio::test]
async fn evidence_of_one_tee_for_an_enclave_of_another_is_refused_with_what_differs() {
    let node = node().await;
    node.control.create_enclave(&root(), registration(Tee::Nitro, &[1; 48])).await.unwrap();
    let problem = Agent::with("payments/nitro", Snp::new()).attest(&node).await.unwrap_err();
    assert_eq!(problem.cause.as_deref(), Some("measurement.unknown"));
    assert!(problem.detail.contains("tee: expected nitro, found snp"), "{problem}");
}
