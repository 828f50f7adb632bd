//! Run-time logs of the kernel's integrity measurement architecture.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use burgrave_types::claims::Proved;
use burgrave_verifier::{FileDigest, RunTimeProfile, Verification};

use super::{AT, SHA256, cause, found, length, machine, sha1, sha256, sha384};
use burgrave_made::tpm::{Pcrs, Tpm};

/// A kernel's log, and PCR 10 as it stands.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pcr: Vec<u8>,
    /// How the kernel extends: by digests of the bank's algorithm, or by padded SHA-1.
    pub(crate) by_own: bool,
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes)[..], bytes].concat()
}

pub(crate) fn file_digest(content: &[u8]) -> FileDigest {
    format!("sha256:{}", hex::encode(sha256(content))).parse().unwrap()
}

impl Log {
    /// With the first entry: the digest over PCRs 0 to 9, of which all are zero here.
    pub(crate) fn new() -> Self {
        let log = Self { bytes: Vec::new(), pcr: vec![0; 32], by_own: true };
        log.entry("ima-ng", &[digest_field("sha256", &sha256(&[0; 320])), b"boot_aggregate\0".to_vec()])
    }

    fn entry(mut self, template: &str, fields: &[Vec<u8>]) -> Self {
        let data: Vec<u8> = fields.iter().flat_map(|bytes| field(bytes)).collect();
        let extended = if self.by_own { sha256(&data) } else { [sha1(&data), vec![0; 12]].concat() };
        self.push(&sha1(&data), template, &data, &extended);
        self
    }

    fn push(&mut self, digest: &[u8], template: &str, data: &[u8], extended: &[u8]) {
        let head = [&10u32.to_le_bytes()[..], digest, &field(template.as_bytes())].concat();
        self.bytes.extend([head, field(data)].concat());
        self.pcr = sha256(&[self.pcr.as_slice(), extended].concat());
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry("ima-ng", &[digest_field("sha256", &sha256(content)), [path, "\0"].concat().into_bytes()])
    }

    fn signed(self, path: &str, content: &[u8], signature: Vec<u8>) -> Self {
        let digest = digest_field("sha256", &sha256(content));
        self.entry("ima-sig", &[digest, [path, "\0"].concat().into_bytes(), signature])
    }

    pub(crate) fn violation(mut self, path: &str) -> Self {
        let data = [field(&digest_field("sha256", &[0; 32])), field(&[path, "\0"].concat().into_bytes())].concat();
        self.push(&[0; 20], "ima-ng", &data, &[0xff; 32]);
        self
    }

    /// A machine that shows the log from `offset` on, quoted as it stands.
    pub(crate) fn shown_from(&self, offset: usize) -> Tpm {
        let mut pcrs: Pcrs = (0..10).map(|pcr| (pcr, vec![0; 32])).collect();
        pcrs.insert(10, self.pcr.clone());
        let mut machine = machine(pcrs);
        machine.set("ima.bin", self.bytes[offset..].to_vec());
        machine.set("ima.offset", offset.to_string().into_bytes());
        machine
    }

    pub(crate) fn judged(&self, allowed: &RunTimeProfile) -> Verification {
        let mut machine = self.shown_from(0);
        machine.profile.run_time = Some(allowed.clone());
        machine.verify(AT)
    }
}

fn digest_field(algorithm: &str, digest: &[u8]) -> Vec<u8> {
    [algorithm.as_bytes(), b":\0", digest].concat()
}

pub(crate) fn allowing(contents: &[&[u8]]) -> RunTimeProfile {
    RunTimeProfile::new(contents.iter().map(|content| file_digest(content)), [])
}

pub(crate) fn proves_run_time(verification: &Verification) -> bool {
    verification.claims.as_ref().unwrap().proved.contains(&Proved::Runtime)
}

#[test]
fn a_log_of_allowed_files_proves_what_was_loaded() {
    let log = Log::new().file("/usr/bin/init", b"init").file("/usr/bin/app", b"app");
    let verification = log.judged(&allowing(&[b"init", b"app"]));
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    assert!(proves_run_time(&verification));
    let state = verification.ima.unwrap();
    assert_eq!((state.offset(), state.entries()), (log.bytes.len() as u64, 3));
    assert!(verification.checks.iter().any(|check| check.name == "ima.boot_aggregate" && check.passed));
}

#[test]
fn the_first_file_that_is_not_allowed_is_named_and_no_state_is_kept() {
    let log = Log::new().file("/usr/bin/init", b"init").file("/tmp/\nx", b"evil").file("/tmp/y", b"worse");
    let verification = log.judged(&allowing(&[b"init"]));
    assert_eq!((cause(&verification), verification.authentic), ("runtime.unlisted", true));
    assert_eq!(found(&verification, "ima.allowed"), format!("entry 2: `/tmp/\\nx`, {}", file_digest(b"evil")));
    assert!(!proves_run_time(&verification) && verification.ima.is_none());
}

#[test]
fn without_allowed_sets_a_log_is_replayed_and_proves_nothing() {
    let log = Log::new().file("/usr/bin/init", b"init");
    let verification = log.shown_from(0).verify(AT);
    assert_eq!(cause(&verification), "none");
    assert!(!proves_run_time(&verification));
    assert_eq!(verification.ima.unwrap().entries(), 2);
}

#[test]
fn a_log_that_does_not_give_the_quoted_register_is_refused() {
    let log = Log::new().file("/usr/bin/init", b"init").file("/usr/bin/app", b"app");
    let allowed = allowing(&[b"init", b"app"]);
    let start = Log::new().bytes.len();
    let end = log.bytes.len();
    for at in (0..end).step_by(3) {
        let mut altered = log.clone();
        altered.bytes[at] ^= 1;
        let verification = altered.judged(&allowed);
        // No digest covers a template's name, so that an unknown one is appraised.
        let causes = ["log.replay", "format.malformed", "runtime.unlisted"];
        assert!(causes.contains(&cause(&verification)), "byte {at}: {}", cause(&verification));
        assert!(verification.ima.is_none());
    }
    let mut hidden = log.clone();
    hidden.bytes.truncate(start);
    assert_eq!(cause(&hidden.judged(&allowed)), "log.replay");
    let mut lacking = log.clone();
    lacking.bytes.drain(start..Log::new().file("/usr/bin/init", b"init").bytes.len());
    assert_eq!(cause(&lacking.judged(&allowed)), "log.replay");
}

#[test]
fn violations_extend_ones_and_are_taken_where_the_profile_says_so() {
    let log = Log::new().violation("/var/log/open").file("/usr/bin/app", b"app");
    let refused = log.judged(&allowing(&[b"app"]));
    assert_eq!(cause(&refused), "runtime.unlisted");
    assert_eq!(found(&refused, "ima.allowed"), "entry 1: `/var/log/open`, changed while it was measured");
    assert_eq!(cause(&log.judged(&allowing(&[b"app"]).allowing_violations())), "none");
    // Zeros in the log do not make an entry one.
    let mut zeroed = Log::new().file("/usr/bin/evil", b"evil");
    let at = Log::new().bytes.len() + 4;
    zeroed.bytes[at..at + 20].fill(0);
    assert_eq!(cause(&zeroed.judged(&allowing(&[b"app"]).allowing_violations())), "log.replay");
}

#[test]
fn only_the_boots_own_entry_passes_by_its_name() {
    let log = Log::new().file("boot_aggregate", b"evil");
    assert_eq!(cause(&log.judged(&allowing(&[b"app"]))), "runtime.unlisted");
    // A kernel that was started by another has its own beside it.
    let digest = digest_field("sha256", &sha256(&[0; 256]));
    let kexec = Log::new().entry("ima-ng", &[digest, b"boot_aggregate\0".to_vec()]).file("/usr/bin/app", b"app");
    assert_eq!(cause(&kexec.judged(&allowing(&[b"app"]))), "none");
}

#[test]
fn files_signed_by_an_allowed_key_are_allowed() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let pem = |der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    };
    let rsa_pem = pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(rsa.public_key()).unwrap().as_ref());
    let ecdsa_pem =
        pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(ecdsa.public_key()).unwrap().as_ref());
    let allowed = RunTimeProfile::new([], [rsa_pem.parse().unwrap(), ecdsa_pem.parse().unwrap()]);
    let attribute = |public: &[u8], signature: &[u8]| {
        let id = sha1(public)[16..].to_vec();
        [&[3, 2, 4], id.as_slice(), &u16::try_from(signature.len()).unwrap().to_be_bytes(), signature].concat()
    };
    let mut by_rsa = vec![0; 256];
    rsa.sign(&RSA_PKCS1_SHA256, &random, b"app", &mut by_rsa).unwrap();
    let by_rsa = attribute(rsa.public_key().as_ref(), &by_rsa);
    let by_ecdsa = attribute(ecdsa.public_key().as_ref(), ecdsa.sign(&random, b"init").unwrap().as_ref());

    let log = Log::new().signed("/init", b"init", by_ecdsa.clone()).signed("/app", b"app", by_rsa.clone());
    let verification = log.judged(&allowed);
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    assert!(proves_run_time(&verification));

    // A signature over another file, of another key, for another hash, of another version, cut or with something behind it.
    let wrong: [(&[u8], Vec<u8>); 8] = [
        (b"evil", by_rsa.clone()),
        (b"evil", by_ecdsa.clone()),
        (b"app", by_rsa.iter().enumerate().map(|(at, byte)| if at == 2 { 5 } else { *byte }).collect()),
        (b"app", by_rsa.iter().enumerate().map(|(at, byte)| if at == 1 { 3 } else { *byte }).collect()),
        (b"app", by_rsa.iter().enumerate().map(|(at, byte)| if at == 4 { byte ^ 1 } else { *byte }).collect()),
        (b"app", by_rsa[..by_rsa.len() - 1].to_vec()),
        (b"app", [by_rsa.as_slice(), &[0]].concat()),
        (b"app", Vec::new()),
    ];
    for (number, (content, signature)) in wrong.into_iter().enumerate() {
        let log = Log::new().signed("/app", content, signature);
        assert_eq!(cause(&log.judged(&allowed)), "runtime.unlisted", "{number}");
    }
    let one = RunTimeProfile::new([], [ecdsa_pem.parse().unwrap()]);
    assert_eq!(cause(&Log::new().signed("/app", b"app", by_rsa).judged(&one)), "runtime.unlisted");
}

#[test]
fn buffers_and_later_templates_are_read_and_what_is_not_known_is_not_allowed() {
    let name = b"kexec-cmdline\0".to_vec();
    let allowed = allowing(&[b"app"]);
    let digest = digest_field("sha256", &sha256(b"app"));
    let second = [b"ima:".as_slice(), &digest].concat();
    let verity = [b"verity:".as_slice(), &digest].concat();
    let cases: [(&str, Vec<Vec<u8>>, &str); 7] = [
        ("ima-buf", vec![digest.clone(), name.clone(), b"app".to_vec()], "none"),
        ("ima-modsig", vec![digest.clone(), name.clone(), vec![], vec![], vec![]], "none"),
        ("ima-ngv2", vec![second.clone(), name.clone()], "none"),
        ("ima-sigv2", vec![second, name.clone(), vec![]], "none"),
        ("ima-sigv2", vec![verity, name.clone(), vec![]], "runtime.unlisted"),
        ("evm-sig", vec![digest, name.clone()], "runtime.unlisted"),
        ("ima-ng", vec![digest_field("sha1", &sha1(b"app")), name], "runtime.unlisted"),
    ];
    for (template, fields, expected) in cases {
        let log = Log::new().file("/usr/bin/app", b"app").entry(template, &fields);
        assert_eq!(cause(&log.judged(&allowed)), expected, "{template}");
    }
}

#[test]
fn the_oldest_template_is_replayed_and_its_digests_prove_nothing() {
    let mut log = Log::new();
    let name = b"/usr/bin/app";
    let mut hashed = [sha1(b"app"), name.to_vec()].concat();
    hashed.resize(276, 0);
    let entry = [&10u32.to_le_bytes()[..], &sha1(&hashed), &field(b"ima"), &sha1(b"app"), &field(name)].concat();
    log.bytes.extend(entry);
    log.pcr = sha256(&[log.pcr.as_slice(), &sha256(&hashed)].concat());
    assert_eq!(cause(&log.shown_from(0).verify(AT)), "none");
    assert_eq!(cause(&log.judged(&allowing(&[b"app"]))), "runtime.unlisted");
}

#[test]
fn a_kernel_that_extends_sha1_digests_proves_nothing_of_what_it_loaded() {
    let empty = Log { bytes: Vec::new(), pcr: vec![0; 32], by_own: false };
    let log = empty
        .entry("ima-ng", &[digest_field("sha256", &sha256(&[0; 320])), b"boot_aggregate\0".to_vec()])
        .file("/usr/bin/app", b"app");
    assert_eq!(cause(&log.shown_from(0).verify(AT)), "none");
    let verification = log.judged(&allowing(&[b"app"]));
    assert_eq!((cause(&verification), proves_run_time(&verification)), ("log.absent", false));
}

#[test]
fn a_demand_is_not_met_by_a_machine_without_log_quote_or_entries() {
    let allowed = allowing(&[b"app"]);
    let log = Log::new().file("/usr/bin/app", b"app");
    let mut machine = log.shown_from(0);
    machine.profile.run_time = Some(allowed.clone());
    assert_eq!(machine.cause(), "none");
    machine.items.retain(|(name, _)| name != "ima.bin");
    assert_eq!(machine.cause(), "log.absent");
    // A quote that leaves PCR 10 out.
    let mut machine = super::machine(Pcrs::from([(7, vec![7; 32])]));
    machine.set("ima.bin", log.bytes.clone());
    machine.set("ima.offset", b"0".to_vec());
    assert_eq!(machine.cause(), "none");
    machine.profile.run_time = Some(allowed);
    assert_eq!(machine.cause(), "pcr.selection");
}

#[test]
fn a_kernel_that_measures_nothing_proves_no_run_time_whatever_its_log_goes_on_to_say() {
    // One without IMA, and one that was started without a policy and writes of the boot alone.
    for silent in [Log { bytes: Vec::new(), pcr: vec![0; 32], by_own: true }, Log::new()] {
        let made_up = Log { pcr: silent.pcr.clone(), ..silent.clone().file("/usr/bin/app", b"app") };
        for log in [silent.clone(), made_up.clone()] {
            let verification = log.judged(&allowing(&[b"app"]));
            assert_eq!((cause(&verification), proves_run_time(&verification)), ("log.absent", false));
            assert_eq!(found(&verification, "ima.measured"), "0 such entries");
        }
        // Nor does what was made up count for the next quote, which does not have it either.
        let mut machine = silent.shown_from(0);
        machine.profile.run_time = Some(allowing(&[b"app"]));
        machine.endorsements.ima = made_up.judged(&allowing(&[b"app"])).ima;
        machine.set("ima.bin", Vec::new());
        machine.set("ima.offset", made_up.bytes.len().to_string().into_bytes());
        assert_eq!(machine.cause(), "log.replay");
    }
    // One that measures its own data alone.
    let data = [digest_field("sha256", &sha256(b"6.8")), b"kernel_version\0".to_vec(), b"6.8".to_vec()];
    let critical = Log::new().entry("ima-buf", &data).judged(&allowing(&[b"6.8", b"app"]));
    assert_eq!((cause(&critical), proves_run_time(&critical)), ("log.absent", false));
    let measuring = Log::new().file("/usr/bin/app", b"app").judged(&allowing(&[b"app"]));
    assert_eq!((cause(&measuring), proves_run_time(&measuring)), ("none", true));
}

#[test]
fn what_is_wrong_with_a_log_that_nobody_asks_for_is_told() {
    let log = Log::new().file("/usr/bin/app", b"app");
    let mut other_register = log.clone();
    other_register.bytes[0] = 11;
    let mut hidden = log.clone();
    hidden.bytes.truncate(Log::new().bytes.len());
    let cut = Log { bytes: log.bytes[..log.bytes.len() - 1].to_vec(), ..log.clone() };
    let long = Log { bytes: vec![0; 2 * 1024 * 1024 + 1], ..log.clone() };
    for (log, check, demanded) in [
        (other_register, "ima.entry", "log.replay"),
        (hidden, "ima.replay", "log.replay"),
        (cut, "ima.format", "format.malformed"),
        (long, "ima.format", "format.length"),
    ] {
        let told = log.shown_from(0).verify(AT);
        assert_eq!((cause(&told), told.ima.is_none(), proves_run_time(&told)), ("none", true, false), "{check}");
        assert!(told.checks.iter().any(|one| one.name == check && !one.passed), "{check}");
        assert_eq!(cause(&log.judged(&allowing(&[b"app"]))), demanded, "{check}");
    }
}

#[test]
fn a_bank_whose_algorithm_the_kernel_lacks_is_judged_by_the_digests_that_it_gets() {
    let log = Log::new().file("/usr/bin/app", b"app");
    let padded = |entries: &[&[u8]]| {
        let extend = |pcr: Vec<u8>, digest: &&[u8]| sha384(&[pcr, sha1(digest), vec![0; 28]].concat());
        entries.iter().fold(vec![0; 48], extend)
    };
    // The entries' data: behind number, digest, template's name and length.
    let start = Log::new().bytes.len();
    let data = [&log.bytes[38..start], &log.bytes[start + 38..]];
    let with = |sha256_bank: &[u8], sha384_bank: Vec<u8>| {
        let banks = [
            (SHA256, "sha256", Pcrs::from([(10, sha256_bank.to_vec())])),
            (0x0c, "sha384", Pcrs::from([(10, sha384_bank)])),
        ];
        let mut machine = log.shown_from(0).quoted_banks("", 3, SHA256, &banks);
        machine.profile.run_time = Some(allowing(&[b"app"]));
        machine.verify(AT)
    };
    let verification = with(&log.pcr, padded(&data));
    assert_eq!((cause(&verification), proves_run_time(&verification)), ("none", true), "{:#?}", verification.checks);
    // It must be met all the same, and SHA-1 in every bank proves nothing.
    assert_eq!(cause(&with(&log.pcr, vec![1; 48])), "log.replay");
    assert_eq!(cause(&with(&[1; 32], padded(&data))), "log.replay");
    let by_sha1 = data.iter().fold(vec![0; 32], |pcr, data| sha256(&[pcr, sha1(data), vec![0; 12]].concat()));
    assert_eq!(cause(&with(&by_sha1, padded(&data))), "log.absent");
}

#[test]
fn entries_of_another_register_are_refused() {
    let mut log = Log::new().file("/usr/bin/app", b"app");
    let other = Log::new().bytes.len();
    log.bytes[other..other + 4].copy_from_slice(&11u32.to_le_bytes());
    let verification = log.judged(&allowing(&[b"app"]));
    assert_eq!((cause(&verification), found(&verification, "ima.entry")), ("log.replay", "entry 1, of PCR 11"));
}

#[test]
fn a_profile_of_files_and_keys_reads_from_its_file_and_refuses_what_is_neither() {
    let digest = file_digest(b"app").to_string();
    let text = format!("[run_time]\nfiles = [\"{digest}\"]\n");
    let profile: burgrave_verifier::Profile = toml::from_str(&text).unwrap();
    assert_eq!(profile.run_time, Some(allowing(&[b"app"])));
    let again: burgrave_verifier::Profile = toml::from_str(&toml::to_string(&profile).unwrap()).unwrap();
    assert_eq!(again, profile);
    for wrong in ["files = [\"sha1:00\"]", "files = [\"sha256:00\"]", "keys = [\"none\"]", "paths = []"] {
        assert!(toml::from_str::<burgrave_verifier::Profile>(&format!("[run_time]\n{wrong}\n")).is_err(), "{wrong}");
    }
}
