//! Azure confidential machines: the paravisor's report from the vTPM, and a quote by the key that the report names.
//!
//! The report (NV index 0x01400001) holds the hardware's own, whose report data covers the vTPM's attestation key; that key
//! stands at the persistent handle 0x81000003. The binding is in the quote. What the hardware's report still needs, the host's
//! metadata service has: the quote of a TD report, the certificate of an SEV-SNP report.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use burgrave_types::{Evidence, Tee};
use serde::Deserialize;

use super::ops::Tpm;
use super::{DEFAULT_PCRS, Transport, add_logs, choice_of_pcrs, quoted};
use crate::{Attester, AttesterError, BindingData, EventLogs, gramine, metadata};

/// Where the paravisor's report and the vTPM's attestation key are (Microsoft, "Azure confidential VM guest attestation").
const REPORT_INDEX: u32 = 0x0140_0001;
const AK_HANDLE: u32 = 0x8100_0003;

/// Where Azure's hosts answer their guests.
const METADATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
const CERTIFICATES: &str = "/metadata/THIM/amd/certification";
const QUOTES: &str = "/acc/tdquote";

/// The hardware's report in the paravisor's: behind a header of 32 bytes, in a place of 1184; the kind of it stands 8 bytes
/// behind that place.
const HARDWARE: usize = 32;
const KIND: usize = HARDWARE + 1184 + 8;
const KIND_SNP: u32 = 2;
const KIND_TDX: u32 = 4;

/// A TD report's bytes.
const TD_REPORT: usize = 1024;

/// An attester in an Azure confidential machine (SEV-SNP or TDX below Azure's paravisor).
///
/// ```no_run
/// use burgrave_attester::{Attester, AzureAttester, BindingData, Transport};
///
/// let mut attester = AzureAttester::open(Transport::Device("/dev/tpmrm0".into()))?;
/// let evidence = attester.evidence(&BindingData { report_data: [0; 64], qualifying_data: [1; 32] })?;
/// assert!(evidence.lead.item("hcl-report.bin").is_some());
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Debug)]
pub struct AzureAttester {
    transport: Transport,
    metadata: SocketAddr,
    pcrs: BTreeSet<u8>,
    logs: Option<EventLogs>,
}

impl AzureAttester {
    /// Finds the paravisor's report in the TPM behind `transport`. PCRs 0 to 9 and 14 are quoted unless others are chosen.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where there is none, [`AttesterError::Connect`] where the TPM cannot be reached.
    pub fn open(transport: Transport) -> Result<Self, AttesterError> {
        let attester = Self { transport, metadata: METADATA, pcrs: DEFAULT_PCRS.into(), logs: None };
        attester.report(&mut Tpm::connect(&attester.transport)?)?;
        Ok(attester)
    }

    /// Chooses the PCRs (SHA-256 bank) that the quote covers.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for an empty choice or an index above 23.
    pub fn with_pcrs(mut self, pcrs: impl IntoIterator<Item = u8>) -> Result<Self, AttesterError> {
        self.pcrs = choice_of_pcrs(pcrs)?;
        Ok(self)
    }

    /// Adds the machine's event logs to the evidence, as [`crate::TpmAttester::with_logs`] does.
    #[must_use]
    pub fn with_logs(mut self, logs: EventLogs) -> Self {
        self.logs = Some(logs);
        self
    }

    fn report(&self, tpm: &mut Tpm) -> Result<Vec<u8>, AttesterError> {
        let report = tpm.read_owners(REPORT_INDEX)?.filter(|report| report.starts_with(b"HCLA"));
        report.ok_or_else(|| AttesterError::Absent {
            interface: "az-vtpm",
            why: format!(
                "the TPM at `{}` holds no report of Azure's paravisor (NV index {REPORT_INDEX:#010x}); it is in Azure's \
                 confidential machines alone",
                self.transport
            ),
        })
    }

    fn ask(&self, path: &str, json: Option<&str>) -> Result<Vec<u8>, AttesterError> {
        let at = format!("http://{}{path}", self.metadata);
        metadata::ask(self.metadata, path, json).map_err(|source| AttesterError::Kernel {
            doing: "ask Azure's metadata service at",
            at,
            source,
            advice: "the guest must reach it without a proxy",
        })
    }

    /// The quote of a TD report.
    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, AttesterError> {
        #[derive(Deserialize)]
        struct Answer {
            quote: String,
        }
        let request = serde_json::json!({ "report": URL_SAFE_NO_PAD.encode(report) }).to_string();
        let answer = self.ask(QUOTES, Some(&request))?;
        let quote = serde_json::from_slice::<Answer>(&answer).ok().and_then(|answer| any_base64(&answer.quote));
        quote.ok_or_else(|| AttesterError::Answer {
            what: "the quote of Azure's metadata service",
            why: "it is not JSON with a `quote` in base64".to_owned(),
        })
    }

    /// The certificate of the chip's key.
    fn certificate(&self) -> Result<Vec<u8>, AttesterError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            vcek_cert: String,
        }
        let answer = self.ask(CERTIFICATES, None)?;
        let certificate = serde_json::from_slice::<Answer>(&answer).ok().and_then(|answer| from_pem(&answer.vcek_cert));
        certificate.ok_or_else(|| AttesterError::Answer {
            what: "the certificate of Azure's metadata service",
            why: "it is not JSON with a `vcekCert` in PEM".to_owned(),
        })
    }
}

impl Attester for AzureAttester {
    fn tee(&self) -> Tee {
        Tee::AzVtpm
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let mut tpm = Tpm::connect(&self.transport)?;
        let report = self.report(&mut tpm)?;
        let mut part = quoted(&mut tpm, AK_HANDLE, &self.pcrs, &binding.qualifying_data)?;
        part.tee = Tee::AzVtpm;
        let kind = report.get(KIND..).and_then(<[u8]>::first_chunk).map(|kind| u32::from_le_bytes(*kind));
        match (kind, report.get(HARDWARE..HARDWARE + TD_REPORT)) {
            (Some(KIND_TDX), Some(td_report)) => {
                part.items.insert(gramine::QUOTE.to_owned(), self.quote(td_report)?);
            }
            (Some(KIND_SNP), _) => match self.certificate() {
                Ok(certificate) => _ = part.items.insert("vcek.der".to_owned(), certificate),
                // The verifier may have it from elsewhere; if not, it names what it lacks.
                Err(AttesterError::Kernel { source, .. }) if is_unreachable(&source) => {}
                Err(error) => return Err(error),
            },
            _ => {
                let why = "its hardware report is neither of SEV-SNP nor of TDX".to_owned();
                return Err(AttesterError::Answer { what: "the report of Azure's paravisor", why });
            }
        }
        part.items.insert("hcl-report.bin".to_owned(), report);
        add_logs(&mut self.logs, &self.pcrs, &mut part)?;
        Ok(Evidence::single(part))
    }

    fn log_taken(&mut self) {
        self.logs.iter_mut().for_each(EventLogs::taken);
    }

    fn log_forgotten(&mut self) {
        self.logs.iter_mut().for_each(EventLogs::forgotten);
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut, WouldBlock};

    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut | WouldBlock)
}

/// Bytes in base64 of either alphabet, padded or not.
fn any_base64(text: &str) -> Option<Vec<u8>> {
    let plain: String = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).ok().filter(|bytes| !bytes.is_empty())
}

/// The first certificate of a PEM text (RFC 7468).
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (base64, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let base64: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(base64).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::command::Command;
    use super::super::template;
    use super::*;
    use crate::metadata::tests::{ok, service};
    use crate::swtpm::Swtpm;

    const OWNER: u32 = 0x4000_0001;

    fn binding() -> BindingData {
        BindingData { report_data: [1; 64], qualifying_data: [0xb7; 32] }
    }

    /// A vTPM as Azure's paravisor provides it, with this report.
    fn vtpm(report: &[u8]) -> (Swtpm, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Swtpm::start(dir.path()).unwrap();
        let mut tpm = Tpm::connect(&emulator.transport()).unwrap();
        let public = [
            &REPORT_INDEX.to_be_bytes()[..],
            &[0, 0x0b],                                          // named by SHA-256
            &0x0002_0002u32.to_be_bytes(),                       // the owner may write and read
            &[0, 0],                                             // no policy
            &u16::try_from(report.len()).unwrap().to_be_bytes(), // size
        ]
        .concat();
        tpm.do_it(&Command::new("TPM2_NV_DefineSpace", 0x12a).with_password(OWNER).sized(&[]).sized(&public));
        for (number, piece) in report.chunks(512).enumerate() {
            let write = Command::new("TPM2_NV_Write", 0x137).with_password(OWNER).handle(REPORT_INDEX);
            tpm.do_it(&write.sized(piece).u16(u16::try_from(number * 512).unwrap()));
        }
        tpm.with_primary(template::AK.to_vec(), |tpm, ak| {
            let keep = Command::new("TPM2_EvictControl", 0x120).with_password(OWNER).handle(ak.handle);
            tpm.do_it(&keep.u32(AK_HANDLE));
            Ok(())
        })
        .unwrap();
        (emulator, dir)
    }

    /// A paravisor's report, as far as this side looks: signature, hardware report, its kind.
    fn report(kind: u32) -> Vec<u8> {
        let hardware: Vec<u8> = (0..1184).map(|n| n as u8).collect();
        [&b"HCLA"[..], &[0; 28], &hardware, &[0; 8], &kind.to_le_bytes(), b"runtime data"].concat()
    }

    fn attester(emulator: &Swtpm, metadata: SocketAddr) -> AzureAttester {
        AzureAttester { metadata, ..AzureAttester::open(emulator.transport()).unwrap() }
    }

    #[test]
    fn a_td_gives_report_quote_and_the_vtpms_quote() {
        let (emulator, _dir) = vtpm(&report(KIND_TDX));
        let (address, requests) = service(vec![ok("{\"quote\":\"BAAC-_8\"}"), ok("{\"quote\":\"BAAC+/8=\"}")]);
        let mut attester = attester(&emulator, address);
        for _ in 0..2 {
            let evidence = attester.evidence(&binding()).unwrap();
            let part = evidence.lead;
            assert_eq!(part.tee, Tee::AzVtpm);
            let names = ["hcl-report.bin", "pcrs.json", "quote.bin", "quote.msg", "quote.sig"];
            assert_eq!(part.items.keys().collect::<Vec<_>>(), names);
            assert_eq!(part.item("hcl-report.bin").unwrap(), report(KIND_TDX));
            assert_eq!(part.item("quote.bin").unwrap(), [4, 0, 2, 0xfb, 0xff]);
            assert!(part.item("quote.msg").unwrap().windows(32).any(|window| window == binding().qualifying_data));
        }
        let td_report = URL_SAFE_NO_PAD.encode(&report(KIND_TDX)[32..32 + 1024]);
        for request in requests.join().unwrap() {
            assert!(request.starts_with("POST /acc/tdquote "), "{request}");
            assert!(request.ends_with(&format!("{{\"report\":\"{td_report}\"}}")), "{request}");
        }
    }

    #[test]
    fn an_snp_machine_gives_the_chips_certificate_where_the_service_has_it() {
        let (emulator, _dir) = vtpm(&report(KIND_SNP));
        let pem = "-----BEGIN CERTIFICATE-----\\nMAMC\\nAQU=\\n-----END CERTIFICATE-----\\n";
        let (address, requests) = service(vec![ok(&format!("{{\"vcekCert\":\"{pem}\",\"tcbm\":\"00\"}}"))]);
        let mut attester = attester(&emulator, address);
        let part = attester.evidence(&binding()).unwrap().lead;
        assert_eq!(part.item("vcek.der").unwrap(), [0x30, 3, 2, 1, 5]);
        assert!(requests.join().unwrap()[0].starts_with("GET /metadata/THIM/amd/certification "));

        // The service is gone: nobody listens there any more.
        let part = attester.evidence(&binding()).unwrap().lead;
        assert_eq!(part.items.keys().collect::<Vec<_>>(), ["hcl-report.bin", "pcrs.json", "quote.msg", "quote.sig"]);
    }

    #[test]
    fn what_the_service_may_not_answer_is_refused() {
        let (emulator, _dir) = vtpm(&report(KIND_TDX));
        let (address, requests) = service(vec![ok("{}"), ok("{\"quote\":\"*\"}"), b"HTTP/1.1 500 No\r\n\r\n".to_vec()]);
        let mut attester = attester(&emulator, address);
        for said in ["JSON with a `quote`", "JSON with a `quote`", "status 500"] {
            let error = attester.evidence(&binding()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        requests.join().unwrap();
        let error = attester.evidence(&binding()).unwrap_err().to_string();
        assert!(error.contains("/acc/tdquote`") && error.contains("without a proxy"), "{error}");
    }

    #[test]
    fn another_machines_tpm_holds_no_such_report() {
        let dir = tempfile::tempdir().unwrap();
        let emulator = Swtpm::start(dir.path()).unwrap();
        let error = AzureAttester::open(emulator.transport()).unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("0x01400001"), "{error}");
        let (other, _dir) = vtpm(b"something else");
        assert!(AzureAttester::open(other.transport()).unwrap_err().is_absent());
        let (unknown, _dir) = vtpm(&report(3));
        let error = AzureAttester::open(unknown.transport()).unwrap().evidence(&binding()).unwrap_err().to_string();
        assert!(error.contains("neither of SEV-SNP nor of TDX"), "{error}");
    }
}
