//! The table.

use crate::seeds::{self, Seeds};

/// A decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: the crate, then what is decoded.
    pub name: &'static str,
    /// The function that is called, as it stands in the source.
    pub function: &'static str,
    /// The body.
    pub body: fn(&[u8]),
    seeds: Seeds,
}

impl Target {
    /// Bytes to begin from.
    ///
    /// # Errors
    /// Where the repository's vectors cannot be read.
    pub fn seeds(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        (self.seeds)()
    }
}

macro_rules! targets {
    ($($name:literal $function:path, $seeds:expr;)*) => {
        /// All targets, each of which is a binary of `fuzz/Cargo.toml` too.
        pub const TARGETS: &[Target] = &[$(Target {
            name: $name,
            function: stringify!($function),
            body: |bytes| { let _ = $function(bytes); },
            seeds: $seeds,
        }),*];
    };
}

targets! {
    "attester-metadata" burgrave_attester::fuzz_metadata_answer, seeds::http;
    "attester-nsm" burgrave_attester::nsm::fuzz_response, || seeds::evidence("nitro", &["document.cose"]);
    "attester-run-time-log" burgrave_attester::fuzz_run_time_log, seeds::run_time_log;
    "attester-sev-guest" burgrave_attester::sev_guest::fuzz_response, || seeds::evidence("snp", &["report.bin"]);
    "attester-snp-certificates" burgrave_attester::fuzz_certificate_table, || seeds::evidence("snp", &["vek.der"]);
    "attester-tpm" burgrave_attester::tpm::fuzz_response, || seeds::evidence("tpm", &["quote.msg", "quote.sig", "ak.pub"]);
    "channel-grant" grant, seeds::grant;
    "control-record" burgrave_control::fuzz::record, seeds::json;
    "edge-body" burgrave_edge::rest::fuzz::body, seeds::json;
    "hsm-token-file" token_file, seeds::token_file;
    "identity-trust" trust, seeds::trust;
    "keyring-wrapped-keys" burgrave_keyring::fuzz::wrapped_keys, seeds::wrapped_keys;
    "ledger-link" burgrave_ledger::fuzz::link, seeds::link;
    "ledger-record" burgrave_ledger::fuzz::record, seeds::record;
    "policy-rule" rule, seeds::rules;
    "protocol-connection" burgrave_protocol::fuzz::connection, || seeds::members("protocol/testdata/frames.json", "frame");
    "protocol-message" burgrave_protocol::fuzz::message, || seeds::members("protocol/testdata/frames.json", "payload");
    "seal-envelope" envelope, || seeds::members("seal/testdata/envelope.json", "envelope");
    "store-changes" changes, seeds::changes;
    "verifier-azure" burgrave_verifier::azure::fuzz_decode, || seeds::evidence("az-vtpm", &["hcl-report-snp.bin", "hcl-report-tdx.bin"]);
    "verifier-cca" burgrave_verifier::cca::fuzz_decode, || seeds::evidence("cca", &["token.cbor", "trust-anchor.json"]);
    "verifier-dcap" burgrave_verifier::dcap::fuzz_decode, seeds::dcap;
    "verifier-endorsement" endorsement, seeds::endorsements;
    "verifier-event-log" burgrave_verifier::eventlog::fuzz_decode, seeds::event_log;
    "verifier-evidence" verify, seeds::whole_evidence;
    "verifier-ima" burgrave_verifier::ima::fuzz_decode, seeds::run_time_log;
    "verifier-nitro" burgrave_verifier::nitro::fuzz_decode, || seeds::evidence("nitro", &["document.cose"]);
    "verifier-nvidia" burgrave_verifier::nvidia::fuzz_decode, || seeds::evidence("nvidia-gpu", &["report.bin"]);
}

/// Evidence of any TEE, without a trust anchor: none may be accepted.
fn verify(bytes: &[u8]) {
    assert!(!burgrave_verifier::fuzz_verify(bytes), "evidence was accepted under no trust anchor at all");
}

fn endorsement(bytes: &[u8]) {
    let _ = burgrave_verifier::Endorsements::default().add(bytes);
}

/// As the bytes are, and with the checksum that a whole file ends with, which no mutation would find.
fn token_file(bytes: &[u8]) {
    use burgrave_types::encoding::Encoder;
    burgrave_hsm::fuzz::token_file(bytes);
    let checksum = Encoder::new().bytes(&burgrave_seal::sha256(bytes)).finish();
    burgrave_hsm::fuzz::token_file(&[bytes, &checksum].concat());
}

/// What is read must be written as it was.
fn grant(bytes: &[u8]) {
    if let Ok(grant) = burgrave_channel::ChannelGrant::decode(bytes) {
        assert_eq!(grant.encode(), bytes, "a grant has two encodings");
    }
}

/// As [`grant`].
fn trust(bytes: &[u8]) {
    if let Ok(genesis) = burgrave_identity::Genesis::decode(bytes) {
        assert_eq!(genesis.encode(), bytes, "a genesis record has two encodings");
    }
    if let Ok(chain) = burgrave_identity::TrustChain::decode(bytes) {
        assert_eq!(chain.encode(), bytes, "a trust chain has two encodings");
    }
}

/// As [`grant`].
fn changes(bytes: &[u8]) {
    if let Ok(changes) = burgrave_store::Change::decode_all(bytes) {
        assert_eq!(burgrave_store::Change::encode_all(&changes), bytes, "changes have two encodings");
    }
}

fn envelope(bytes: &[u8]) {
    let _ = burgrave_seal::envelope::Envelope::parse(bytes);
}

fn rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = burgrave_policy::SimpleRule::parse(burgrave_policy::RuleEffect::Allow, text);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_is_a_binary_of_the_fuzzers_package() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/Cargo.toml");
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(manifest).unwrap()).unwrap();
        let binaries = manifest["bin"].as_array().unwrap().iter().map(|binary| binary["name"].as_str().unwrap());
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        assert!(names.is_sorted());
        assert_eq!(binaries.collect::<Vec<_>>(), names);
    }

    /// Counts the bodies in a file: functions `fuzz_…`, and those of a module `fuzz`.
    fn bodies(source: &str) -> usize {
        let named = source.lines().filter(|line| line.trim_start().starts_with("pub fn fuzz_")).count();
        let module = source.split("\npub mod fuzz {\n").nth(1).and_then(|rest| rest.split("\n}\n").next());
        named + module.unwrap_or_default().lines().filter(|line| line.starts_with("    pub fn ")).count()
    }

    fn sources(folder: &Path, found: &mut usize) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                *found += bodies(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_body_in_the_crates_has_a_target() {
        let wrapped = [("hsm", 1), ("verifier", 1)]; // token_file and verify call a body of these crates
        let mut targets = BTreeMap::from(wrapped.map(|(name, count)| (name.to_owned(), count)));
        for target in TARGETS.iter().filter(|target| target.function.contains("fuzz")) {
            let name = target.function.trim_start_matches("burgrave_").split("::").next().unwrap();
            *targets.entry(name.to_owned()).or_default() += 1;
        }
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap() {
            let folder = entry.unwrap().path();
            let (name, source) = (folder.file_name().unwrap().to_str().unwrap().to_owned(), folder.join("src"));
            if name == "fuzz" || !source.is_dir() {
                continue;
            }
            let mut found = 0;
            sources(&source, &mut found);
            let known = targets.get(&name).copied().unwrap_or(0);
            assert_eq!(
                found, known,
                "`crates/{name}` has bodies that are no target: add a row here and in fuzz/Cargo.toml"
            );
        }
    }
}
