//! Bytes to begin from: the repository's vectors, and small ones of the forms that have none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burgrave_store::Change;
use burgrave_types::encoding::Encoder;
use burgrave_types::{Evidence, EvidencePart};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{bodies, domain};

/// Makes the seeds of a target.
pub(crate) type Seeds = fn() -> Result<Vec<Vec<u8>>>;

/// Longer seeds make a fuzzer slow and find nothing more.
const LONGEST: usize = 256 * 1024;

/// The items of these names in the verifier's evidence of a TEE.
pub(crate) fn evidence(tee: &str, names: &[&str]) -> Result<Vec<Vec<u8>>> {
    let mut found = BTreeSet::new();
    walk(&crates().join("verifier/testdata").join(tee), &mut |path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if names.contains(&name) {
            found.insert(read(path)?);
        }
        Ok(())
    })?;
    Ok(found.into_iter().filter(|seed| seed.len() <= LONGEST).collect())
}

/// Quotes and collateral.
pub(crate) fn dcap() -> Result<Vec<Vec<u8>>> {
    let mut found = evidence("tdx", &["quote.bin", "collateral.json"])?;
    found.extend(evidence("sgx", &["quote.bin", "collateral.json"])?);
    Ok(found)
}

/// Certificates, lists and collateral of all TEEs.
pub(crate) fn endorsements() -> Result<Vec<Vec<u8>>> {
    let names = ["vcek.der", "vek.der", "ask.der", "crl.der", "chain.pem", "certs.pem", "issuer.pem", "ekcert-rsa.der"];
    evidence("", &names)
}

/// Evidence as people bring it: as it is, as text, in JSON, before a table of certificates, behind a header.
pub(crate) fn files() -> Result<Vec<Vec<u8>>> {
    let mut found = evidence("", &["report.bin", "document.cose", "token.cbor", "quote.msg"])?;
    found.truncate(8);
    let reports = evidence("snp", &["report.bin"])?;
    let vek = evidence("snp", &["vek.der"])?;
    for (report, vek) in reports.into_iter().zip(vek).take(2) {
        let base64 = data_encoding::BASE64.encode(&report);
        found.push(data_encoding::HEXLOWER.encode(&report).into_bytes());
        found.push(format!("{{\"evidence\":[{{\"report\":\"{base64}\"}}]}}").into_bytes());
        found.push(base64.into_bytes());
        let head = [0u32, 1184, 0, 0, 0, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect();
        found.push([head, report.clone()].concat());
        let table = burgrave_types::certificate_table::write(&[(burgrave_types::certificate_table::VCEK, &vek)]);
        found.push([report, table].concat());
    }
    Ok(found)
}

/// Every folder of the verifier's evidence, encoded as it travels.
pub(crate) fn whole_evidence() -> Result<Vec<Vec<u8>>> {
    let mut folders = BTreeMap::<PathBuf, BTreeMap<String, Vec<u8>>>::new();
    let testdata = crates().join("verifier/testdata");
    walk(&testdata, &mut |path| {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let items = folders.entry(folder.to_path_buf()).or_default();
            items.insert(name.to_string_lossy().into_owned(), read(path)?);
        }
        Ok(())
    })?;
    let mut found = Vec::new();
    for (folder, items) in folders {
        let tee = folder.strip_prefix(&testdata).ok().and_then(|folder| folder.iter().next()?.to_str()?.parse().ok());
        if let Some(tee) = tee {
            found.push(Evidence::single(EvidencePart { tee, items }).encode());
        }
    }
    found.retain(|seed| seed.len() <= LONGEST);
    Ok(found)
}

/// All texts in hexadecimal under the name `member`, anywhere in a file of vectors.
pub(crate) fn members(file: &str, member: &str) -> Result<Vec<Vec<u8>>> {
    let vectors: Value = serde_json::from_slice(&read(&crates().join(file))?)?;
    let mut found = Vec::new();
    collect(&vectors, member, &mut found);
    Ok(found)
}

fn collect(value: &Value, member: &str, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(member).and_then(Value::as_str).and_then(|text| hex::decode(text).ok()));
            members.values().for_each(|value| collect(value, member, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, member, found)),
        _ => {}
    }
}

/// Records and bodies of requests.
pub(crate) fn json() -> Result<Vec<Vec<u8>>> {
    let texts = [
        r#"{"schema":1,"name":"payments/api","uid":"00000000000000000000000000000000","releases":[],"keyspaces":{}}"#,
        r#"{"name":"payments/api","release":{"name":"1","reference":{"tee":"snp","measurement":"00"}},"identity":"name"}"#,
        r#"{"name":"payments/callers","rule":"allow payments/api encrypt,decrypt key/payments/pii tee=snp max-age=1h"}"#,
        r#"{"name":"payments/cedar","text":"permit(principal, action, resource);"}"#,
        r#"{"operation":"encrypt","resource":"key/payments/pii","principal":"payments/api","context":{"age":1.5e3}}"#,
    ];
    Ok(texts.map(|text| text.as_bytes().to_vec()).into())
}

/// Simple rules.
pub(crate) fn rules() -> Result<Vec<Vec<u8>>> {
    let texts = [
        "payments/api encrypt,decrypt key/payments/pii",
        "payments/* derive keyspace/payments/storage tee=snp,tdx max-age=1h min-svn=4",
        "frontend/web communicate payments/api",
        "frontend/web communicate channel/payments/api/default peer=frontend/web",
        "payments/api attest payments/api tee=tpm",
    ];
    Ok(texts.map(|text| text.as_bytes().to_vec()).into())
}

/// Answers of a metadata service.
pub(crate) fn http() -> Result<Vec<Vec<u8>>> {
    let texts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\n\r\n",
    ];
    Ok(texts.map(|text| text.as_bytes().to_vec()).into())
}

/// What NVIDIA's program prints of a genuine GPU, and of a failure.
pub(crate) fn part_answers() -> Result<Vec<Vec<u8>>> {
    let item = |name: &str| read(&crates().join("verifier/testdata/nvidia-gpu/hopper-sample").join(name));
    let (report, chain) = (item("report.bin")?, item("chain.pem")?);
    let nonce = report.get(4..36).map(hex::encode);
    let (evidence, certificate) = (BASE64.encode(&report), BASE64.encode(&chain));
    let entry =
        json!({"version": "1.0", "arch": "HOPPER", "nonce": nonce, "evidence": evidence, "certificate": certificate});
    let whole = json!({"evidences": [entry], "result_code": 0, "result_message": "Ok"});
    let failure = json!({"evidences": null, "result_code": 201, "result_message": "NVML error"});
    Ok([whole, json!([entry]), failure].map(|answer| answer.to_string().into_bytes()).into())
}

/// An entry of the kernel's run-time log: PCR, template digest, template name, template data.
pub(crate) fn run_time_log() -> Result<Vec<Vec<u8>>> {
    let number = |number: u32| number.to_le_bytes();
    let data = [number(5).as_slice(), b"sha1:", &number(4), b"/a\0b"].concat();
    let head = [number(10).as_slice(), &[7; 20], &number(6), b"ima-ng", &number(17)].concat();
    let entry = [head, data].concat();
    Ok(vec![entry.clone(), entry.repeat(3)])
}

/// A boot log of the firmware: the header in the old form, then events with SHA-256 digests (TCG PC Client Platform Firmware
/// Profile, section 10).
pub(crate) fn event_log() -> Result<Vec<Vec<u8>>> {
    let number = |number: u32| number.to_le_bytes();
    let specification =
        [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]].concat();
    let header = [number(0).as_slice(), &number(3), &[0; 20], &number(33), &specification].concat();
    let event = |register: u32, kind: u32, data: &[u8]| {
        let digest = burgrave_seal::sha256(data);
        let length = u32::try_from(data.len()).unwrap_or_default();
        [number(register).as_slice(), &number(kind), &number(1), &[0x0b, 0], &digest, &number(length), data].concat()
    };
    let events = [event(0, 8, b"v\0"), event(7, 4, &[0; 4]), event(9, 13, b"kernel_cmdline: quiet\0")].concat();
    Ok(vec![[header, events].concat()])
}

/// A grant of a channel.
pub(crate) fn grant() -> Result<Vec<Vec<u8>>> {
    let side = |name: &str| {
        let name = format!("spiffe://example.org/payments/{name}");
        Encoder::new().text(&name).bytes(&[1; 16]).bytes(&[2; 32]).bytes(&[3; 32]).finish()
    };
    let fields = Encoder::new().text("burgrave-channel-grant-v1").bytes(&[4; 16]).bytes(&side("a")).bytes(&side("b"));
    let fields = fields.u64(7).u64(1).i64(1_700_000_000_000).i64(1_700_000_100_000).u64(1 << 30);
    Ok(vec![fields.text("spiffe://example.org/burgrave/node/node_aaaaaaaaaaaaaaaaaaaaaaaaaa").finish()])
}

/// A genesis record, and a trust chain of it.
pub(crate) fn trust() -> Result<Vec<Vec<u8>>> {
    let body = Encoder::new().text("burgrave-genesis-body-v1").text("example.org").text("dev").list([[5; 91]]).u64(1);
    let body = body.bytes(&[6; 16]).bytes(&[7; 91]).bytes(&[8; 120]).bytes(&[9; 91]).i64(1_700_000_000_000).finish();
    let signature = Encoder::new().u64(0).bytes(&[10; 64]).finish();
    let genesis = Encoder::new().text("burgrave-genesis-v1").bytes(&body).list([signature]).bytes(&[11; 64]).finish();
    let changes: [&[u8]; 0] = [];
    let chain = Encoder::new().text("burgrave-trust-chain-v1").bytes(&genesis).list(changes).finish();
    Ok(vec![genesis, chain])
}

/// Wrapped keys.
pub(crate) fn wrapped_keys() -> Result<Vec<Vec<u8>>> {
    let fields = Encoder::new().text("burgrave-wrapped-keys-v1").u64(2);
    let fields = fields.text("derivation-key").u64(1).u64(1).bytes(&[1; 40]).bytes(&[2; 8]);
    Ok(vec![fields.text("state-key").u64(1).u64(1).bytes(&[3; 40]).bytes(&[4; 8]).finish()])
}

/// A link of the ledger's chain: a signed head, and changes.
pub(crate) fn link() -> Result<Vec<Vec<u8>>> {
    let head = Encoder::new().text("burgrave-head-v1").bytes(&[1; 32]).u64(3).bytes(&[2; 32]).bytes(&[3; 32]);
    let head = head.u64(1).i64(1_700_000_000_000).bytes(&[4; 16]).finish();
    let signed = Encoder::new().bytes(&head).bytes(&[5; 64]).finish();
    let changes = Encoder::new().u64(1).text("enclave/payments/api").bytes(&[6; 32]).finish();
    Ok(vec![Encoder::new().bytes(&signed).bytes(&changes).finish()])
}

/// A sealed record.
pub(crate) fn record() -> Result<Vec<Vec<u8>>> {
    let fields = Encoder::new().text("burgrave-record-v1").u64(1).u64(2).u64(1);
    Ok(vec![fields.bytes(&[7; 80]).finish()])
}

/// A token's file up to its checksum, which the body adds.
pub(crate) fn token_file() -> Result<Vec<Vec<u8>>> {
    let rest = |header: Vec<u8>| {
        let fields = Encoder::new().text("burgrave-token-v1").bytes(&header).bytes(&[1; 32]).bytes(&[2; 12]);
        fields.bytes(&[3; 64]).finish()
    };
    let head = || Encoder::new().bytes(&[4; 16]).text("dev");
    let passphrase = head().text("passphrase").u64(262_144).u64(3).bytes(&[5; 16]).finish();
    Ok(vec![rest(head().text("key-file").finish()), rest(passphrase)])
}

/// Changes of a store.
pub(crate) fn changes() -> Result<Vec<Vec<u8>>> {
    let changes = [Change::Put { key: b"a".to_vec(), value: b"b".to_vec() }, Change::Delete { key: b"c".to_vec() }];
    Ok(vec![Change::encode_all(&changes)])
}

/// The reference file of a configuration, as it is and with every option set.
pub(crate) fn config(name: &str) -> Result<Vec<Vec<u8>>> {
    let reference = read(&crates().join("../docs").join(name))?;
    let text = String::from_utf8(reference.clone())?;
    // `number` is another way to open the token than the one that the file shows.
    let option = |text: &str| {
        let (key, _) = text.split_once(" = ").unwrap_or((text, ""));
        (text != key && !key.contains(' ') && key != "number") || text.starts_with("[[")
    };
    let set = text.lines().map(|line| line.strip_prefix("# ").filter(|text| option(text)).unwrap_or(line));
    let set: Vec<&str> = set.collect();
    Ok(vec![reference, set.join("\n").into_bytes()])
}

/// Collateral of all vendors, as files and services give it.
pub(crate) fn collateral() -> Result<Vec<Vec<u8>>> {
    let mut found = endorsements()?;
    found.extend(evidence("", &["collateral.json"])?);
    for members in evidence("", &["collateral.json"])? {
        let members: Value = serde_json::from_slice(&members)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        for (kind, member) in [("tcbInfo", "tcb_info"), ("enclaveIdentity", "qe_identity")] {
            let signature = text(&format!("{member}_signature"));
            found.push(format!(r#"{{"{kind}":{},"signature":"{signature}"}}"#, text(member)).into_bytes());
        }
    }
    Ok(found)
}

/// Certificates of every profile, and the CA's.
pub(crate) fn certificates() -> Result<Vec<Vec<u8>>> {
    Ok(domain::LEAVES.into_iter().chain([domain::CA]).map(<[u8]>::to_vec).collect())
}

/// A token, its header and its payload.
pub(crate) fn tokens() -> Result<Vec<Vec<u8>>> {
    let mut found = vec![domain::TOKEN.as_bytes().to_vec()];
    for part in domain::TOKEN.split('.').take(2) {
        found.push(data_encoding::BASE64URL_NOPAD.decode(part.as_bytes())?);
    }
    Ok(found)
}

/// Claims of attestation results.
pub(crate) fn results() -> Result<Vec<Vec<u8>>> {
    let text = r#"{"iat":1800000000,"exp":1800000300,"submods":{"snp":{"ear.status":"affirming"}},"burgrave":{
        "enclave":"spiffe://example.org/payments/api","release":"v1","instance":"inst_1","proved":["launch"],
        "genesis":"GENESIS"}}"#;
    Ok(vec![text.replace("GENESIS", &domain::domain().genesis.to_string()).into_bytes()])
}

/// Policies in Cedar: the standing ones, the canonical forms of rules, and what rules cannot say.
pub(crate) fn policies() -> Result<Vec<Vec<u8>>> {
    let texts = [
        r#"forbid (principal is Burgrave::Candidate, action == Burgrave::Action::"attest", resource)
           when { principal.att has platform && principal.att.platform == "00ff" };"#,
        r#"permit (principal in Burgrave::Enclave::"payments/api", action in Burgrave::Action::"communicate",
             resource == Burgrave::Channel::"payments/ledger/default")
           when { if context.attAgeSecs < 600 then context.peer in Burgrave::Enclave::"payments/ledger" else false };"#,
        r#"permit (principal, action == Burgrave::Action::"receive", resource) unless { !(principal in resource.owner) };"#,
    ];
    let rules = rules()?.into_iter().filter_map(|rule| String::from_utf8(rule).ok()).filter_map(|rule| {
        Some(burgrave_policy::SimpleRule::parse(burgrave_policy::RuleEffect::Allow, &rule).ok()?.to_cedar())
    });
    let standing = burgrave_policy::STANDING.into_iter().map(|(_, text)| text.to_owned());
    Ok(standing.chain(rules).chain(texts.map(str::to_owned)).map(String::into_bytes).collect())
}

/// Answers of a node's REST routes.
pub(crate) fn answers() -> Result<Vec<Vec<u8>>> {
    let texts = [
        r#"{"code":"request.invalid","detail":"`x` is no name","errors":[{"at":"/name","reason":"no name"}]}"#,
        r#"{"items":[{"id":"policy_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"callers","text":"permit(principal, action, resource);",
            "description":"","guard":false,"changed_by":"root","changed":"2026-03-01T00:00:00Z","revision":7}],"revision":9}"#,
        r#"{"revision":7,"instances":["inst_aaaaaaaaaaaaaaaaaaaaaaaaaa"],"channels":[],"rotated":[],"barred_platforms":["00ff"],
            "residual":[{"resource":"keyspace/payments/storage","versions":[1],"held_by":[]}],"advice":[]}"#,
        r#"{"trust_domain":"example.org","class":"dev","genesis_hash":"0000000000000000000000000000000000000000000000000000000000000000",
            "genesis":"00","ca":"00"}"#,
        "[]",
        "null",
    ];
    let texts = texts.map(|text| text.as_bytes().to_vec());
    Ok(texts.into_iter().chain([domain::KEYS.to_vec()]).collect())
}

/// A stream of events; the first byte tells the body how to cut it.
pub(crate) fn events() -> Result<Vec<Vec<u8>>> {
    let event = r#"{"at":"2026-03-01T00:00:00Z","revision":7,"kind":"channel.cut","subject":"payments/api","detail":"revoked"}"#;
    Ok(vec![format!("\u{3}: hello\n\nid: 7\ndata: {event}\n\nid: 8\ndata: {{\ndata: }}\n\n").into_bytes()])
}

/// Sealed messages.
pub(crate) fn sealed() -> Result<Vec<Vec<u8>>> {
    Ok(bodies::sealed_messages()?.into())
}

/// The folder of the workspace's crates.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))
}

fn walk(folder: &Path, found: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { walk(&path, found)? } else { found(&path)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_that_are_made_here_are_what_their_decoders_take() {
        assert!(burgrave_channel::ChannelGrant::decode(&grant().unwrap()[0]).is_ok());
        assert!(burgrave_identity::Genesis::decode(&trust().unwrap()[0]).is_ok());
        assert!(burgrave_identity::TrustChain::decode(&trust().unwrap()[1]).is_ok());
        assert!(burgrave_keyring::WrappedKeys::decode(&wrapped_keys().unwrap()[0]).is_ok());
        let rules = rules().unwrap();
        let read = rules.iter().filter(|rule| {
            let text = std::str::from_utf8(rule).unwrap();
            burgrave_policy::SimpleRule::parse(burgrave_policy::RuleEffect::Allow, text).is_ok()
        });
        assert!(read.count() >= 3);
        assert!(answers().unwrap().iter().all(|answer| burgrave_client::fuzz::answer(answer) > 0));
        assert_eq!(burgrave_client::fuzz::events(&events().unwrap()[0]), 1);
        for seed in config("agent.toml").unwrap() {
            burgrave_agent::local::FileConfig::parse(std::str::from_utf8(&seed).unwrap()).unwrap();
        }
        for seed in config("node.toml").unwrap() {
            burgrave_node::NodeConfig::parse(std::str::from_utf8(&seed).unwrap()).unwrap();
        }
        for seed in policies().unwrap() {
            burgrave_policy::validate(std::str::from_utf8(&seed).unwrap(), &burgrave_policy::Tier::Domain).unwrap();
        }
        let devices =
            part_answers().unwrap().iter().map(|answer| burgrave_attester::fuzz_part_answer(answer)).sum::<usize>();
        assert_eq!(devices, 2);
        assert_eq!(burgrave_verifier::eventlog::fuzz_decode(&event_log().unwrap()[0]), 1);
        assert_eq!(burgrave_verifier::ima::fuzz_decode(&run_time_log().unwrap()[1]), 3);
    }

    #[test]
    fn evidence_of_every_tee_that_has_vectors_is_a_seed() {
        let tees = whole_evidence().unwrap().into_iter().map(|seed| Evidence::decode(&seed).unwrap().lead.tee);
        assert!(tees.collect::<BTreeSet<_>>().len() >= 7);
    }
}
