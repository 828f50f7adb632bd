//! The table.

use crate::seeds::{self, Seeds};
use crate::{bodies, domain};

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
    "agent-config" bodies::agent_config, || seeds::config("agent.toml");
    "attester-metadata" burgrave_attester::fuzz_metadata_answer, seeds::http;
    "attester-nsm" burgrave_attester::nsm::fuzz_response, || seeds::evidence("nitro", &["document.cose"]);
    "attester-parts" burgrave_attester::fuzz_part_answer, seeds::part_answers;
    "attester-run-time-log" burgrave_attester::fuzz_run_time_log, seeds::run_time_log;
    "attester-sev-guest" burgrave_attester::sev_guest::fuzz_response, || seeds::evidence("snp", &["report.bin"]);
    "attester-snp-certificates" burgrave_attester::fuzz_certificate_table, || seeds::evidence("snp", &["vek.der"]);
    "attester-tpm" burgrave_attester::tpm::fuzz_response, || seeds::evidence("tpm", &["quote.msg", "quote.sig", "ak.pub"]);
    "channel-grant" bodies::grant, seeds::grant;
    "channel-signed-grant" bodies::signed_grant, || Ok(vec![domain::GRANT.to_vec()]);
    "client-answer" burgrave_client::fuzz::answer, seeds::answers;
    "client-events" burgrave_client::fuzz::events, seeds::events;
    "collateral-offer" bodies::collateral, seeds::collateral;
    "control-record" burgrave_control::fuzz::record, seeds::json;
    "edge-body" burgrave_edge::rest::fuzz::body, seeds::json;
    "hsm-token-file" bodies::token_file, seeds::token_file;
    "identity-certificate" bodies::certificate, seeds::certificates;
    "identity-jwk" bodies::key_set, || Ok(vec![domain::KEYS.to_vec()]);
    "identity-jws" bodies::token, seeds::tokens;
    "identity-result" burgrave_identity::fuzz_result_claims, seeds::results;
    "identity-trust" bodies::trust, seeds::trust;
    "keyring-wrapped-keys" burgrave_keyring::fuzz::wrapped_keys, seeds::wrapped_keys;
    "ledger-link" burgrave_ledger::fuzz::link, seeds::link;
    "ledger-record" burgrave_ledger::fuzz::record, seeds::record;
    "node-config" bodies::node_config, || seeds::config("node.toml");
    "policy-cedar" bodies::policy, seeds::policies;
    "policy-rule" bodies::rule, seeds::rules;
    "protocol-connection" burgrave_protocol::fuzz::connection, || seeds::members("protocol/testdata/frames.json", "frame");
    "protocol-message" burgrave_protocol::fuzz::message, || seeds::members("protocol/testdata/frames.json", "payload");
    "seal-envelope" bodies::envelope, || seeds::members("seal/testdata/envelope.json", "envelope");
    "seal-hpke" bodies::sealed, seeds::sealed;
    "store-changes" bodies::changes, seeds::changes;
    "verifier-azure" burgrave_verifier::azure::fuzz_decode, || seeds::evidence("az-vtpm", &["hcl-report-snp.bin", "hcl-report-tdx.bin", "var-data.bin"]);
    "verifier-cca" burgrave_verifier::cca::fuzz_decode, || seeds::evidence("cca", &["token.cbor", "trust-anchor.json"]);
    "verifier-dcap" burgrave_verifier::dcap::fuzz_decode, seeds::dcap;
    "verifier-endorsement" bodies::endorsement, seeds::endorsements;
    "verifier-event-log" burgrave_verifier::eventlog::fuzz_decode, seeds::event_log;
    "verifier-evidence" bodies::verify, seeds::whole_evidence;
    "verifier-files" burgrave_verifier::files::fuzz_part, seeds::files;
    "verifier-ima" burgrave_verifier::ima::fuzz_decode, seeds::run_time_log;
    "verifier-nitro" burgrave_verifier::nitro::fuzz_decode, || seeds::evidence("nitro", &["document.cose"]);
    "verifier-nvidia" burgrave_verifier::nvidia::fuzz_decode, || seeds::evidence("nvidia-gpu", &["report.bin"]);
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
