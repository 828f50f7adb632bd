//! Specifications, programs that behave badly, and answers that are none.

use std::fs;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const REPORT: &[u8] = include_bytes!("../../../verifier/testdata/nvidia-gpu/hopper-sample/report.bin");
const CHAIN: &[u8] = include_bytes!("../../../verifier/testdata/nvidia-gpu/hopper-sample/chain.pem");

/// What the genuine report answers.
fn nonce() -> [u8; 32] {
    REPORT[4..36].try_into().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What NVIDIA's program prints for the GPU of the genuine report.
fn printed() -> Value {
    json!({
        "evidences": [{
            "arch": "HOPPER",
            "certificate": base64(CHAIN),
            "driver_version": "550.90.07",
            "evidence": base64(REPORT),
            "nonce": HexBytes::from(&nonce()[..]).to_string(),
            "vbios_version": "96.00.9F.00.01",
            "version": "1.0",
        }],
        "result_code": 0,
        "result_message": "Ok",
    })
}

fn read(answer: &Value) -> Result<Vec<Device>, PartError> {
    nvidia::read(&serde_json::to_vec_pretty(answer).unwrap(), &nonce())
}

#[test]
fn a_genuine_gpus_evidence_is_read_whole_or_as_the_list_alone() {
    for answer in [printed(), printed()["evidences"].clone()] {
        let devices = read(&answer).unwrap();
        let parts: Vec<_> = devices.into_iter().map(Device::into_part).collect();
        let expected = [("report.bin", REPORT.to_vec()), ("chain.pem", CHAIN.to_vec())];
        assert_eq!(parts, [EvidencePart::new(Tee::NvidiaGpu, expected)]);
    }
    assert_eq!(nvidia::fuzz_answer(printed().to_string().as_bytes()), 1);
}

#[test]
fn an_entry_that_states_neither_nonce_nor_version_is_held_to_its_report() {
    let mut answer = printed();
    for name in ["nonce", "version", "arch"] {
        answer["evidences"][0].as_object_mut().unwrap().remove(name);
    }
    assert_eq!(read(&answer).unwrap().len(), 1);
    assert!(matches!(nvidia::read(answer.to_string().as_bytes(), &[7; 32]), Err(PartError::Nonce { device: 0, .. })));
}

#[test]
fn an_answer_that_is_none_is_refused_with_what_is_wrong_with_it() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 15] = [
        ("missing field `evidence`", |answer| drop(answer["evidences"][0].as_object_mut().unwrap().remove("evidence"))),
        ("missing field `certificate`", |answer| {
            drop(answer["evidences"][0].as_object_mut().unwrap().remove("certificate"));
        }),
        ("invalid type", |answer| answer["evidences"] = json!("a text of any length".repeat(1000))),
        ("no `evidences`", |answer| answer["evidences"] = Value::Null),
        ("it found no device", |answer| answer["evidences"] = json!([])),
        ("reports the error 9: `NVML initialization failed`", |answer| {
            answer["result_code"] = json!(9);
            answer["result_message"] = json!("NVML initialization\nfailed\u{7}");
        }),
        ("`version`", |answer| answer["evidences"][0]["version"] = json!("2.0")),
        ("`evidence` is not base64", |answer| answer["evidences"][0]["evidence"] = json!("EeAB/")),
        ("`evidence` is not base64", |answer| answer["evidences"][0]["evidence"] = json!("")),
        ("`evidence` is not base64", |answer| answer["evidences"][0]["evidence"] = json!(base64(&[0x11; 65537]))),
        ("SPDM 1.1", |answer| answer["evidences"][0]["evidence"] = json!(base64(&REPORT[..35]))),
        ("SPDM 1.1", |answer| answer["evidences"][0]["evidence"] = json!(base64(&REPORT[37..]))),
        ("in PEM", |answer| answer["evidences"][0]["certificate"] = json!(base64(REPORT))),
        ("stands twice", |answer| {
            let entry = answer["evidences"][0].clone();
            answer["evidences"].as_array_mut().unwrap().push(entry);
        }),
        ("answers the nonce `00`", |answer| answer["evidences"][0]["nonce"] = json!("00")),
    ];
    for (expected, change) in changes {
        let mut answer = printed();
        change(&mut answer);
        let error = read(&answer).unwrap_err().to_string();
        assert!(error.contains(expected) && error.len() < 500, "{expected}: {error}");
    }
    for bytes in [&b""[..], b"[info] collecting\n{}", b"{} {}", b"[] x", b"\xff", b"null", b"[1]"] {
        assert!(matches!(nvidia::read(bytes, &nonce()), Err(PartError::Answer(_))), "{bytes:?}");
    }
}

#[test]
fn a_report_over_another_nonce_is_refused_also_where_the_answer_states_the_right_one() {
    let mut report = REPORT.to_vec();
    report[35] ^= 1;
    let mut answer = printed();
    answer["evidences"][0]["evidence"] = json!(base64(&report));
    let Err(PartError::Nonce { device: 0, expected, found }) = read(&answer) else { panic!() };
    assert_ne!(expected, found);
    assert_eq!(found, HexBytes::from(&report[4..36]).to_string());
}

proptest! {
    #[test]
    fn arbitrary_and_altered_answers_never_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
        nvidia::fuzz_answer(&bytes);
        let mut altered = printed().to_string().into_bytes();
        let at = at.index(altered.len());
        altered[at] = byte;
        nvidia::fuzz_answer(&altered);
    }
}

#[test]
fn devices_stand_in_the_answers_order_and_more_than_there_is_room_for_are_refused() {
    let device = |chain: u8| {
        let certificate = [b"-----BEGIN CERTIFICATE-----".as_slice(), &[chain]].concat();
        let report = [&[0x11, 0xe0, 1, 0xff][..], &[3; 32]].concat();
        json!({"evidence": base64(&report), "certificate": base64(&certificate)})
    };
    let folder = tempfile::tempdir().unwrap();
    let collected = |chains: &[u8], most: usize| {
        let answer = folder.path().join("answer");
        fs::write(&answer, Value::from_iter(chains.iter().map(|chain| device(*chain))).to_string()).unwrap();
        let command = Command { program: "/bin/cat".to_owned(), arguments: vec![answer.to_str().unwrap().to_owned()] };
        let spec = PartSpec { command, timeout: USUAL_TIMEOUT };
        spec.evidence(&[3; 32], most, &StopParts::new().unwrap())
    };
    let parts = collected(&[9, 7, 8], 3).unwrap();
    let chains: Vec<_> = parts.iter().map(|part| part.item("chain.pem").unwrap().last().copied().unwrap()).collect();
    assert_eq!(chains, [9, 7, 8]);
    let error = collected(&[7, 8], 1).unwrap_err();
    assert!(error.to_string().contains("found 2 devices, and the evidence has room for 1"), "{error}");
}

#[test]
fn a_specification_is_one_program_by_its_path_that_is_told_the_nonce() {
    let text = "nvidia-gpu:/usr/bin/nvattest collect-evidence --device gpu --nonce={nonce} --format json";
    assert_eq!(text.parse::<PartSpec>().unwrap().to_string(), text);
    for (text, expected) in [
        ("", "`nvidia-gpu:<program>"),
        ("nvidia-gpu", "`nvidia-gpu:<program>"),
        ("gpu:/bin/x {nonce}", "`nvidia-gpu:<program>"),
        ("snp:/bin/x {nonce}", "expected `nvidia-gpu`"),
        ("nvidia-gpu:", "expected a program"),
        ("nvidia-gpu:nvattest {nonce}", "expected an absolute path"),
        ("nvidia-gpu:/bin/{nonce}", "expected `{nonce}` among its arguments"),
        ("nvidia-gpu:/bin/x --nonce 00", "expected `{nonce}` among its arguments"),
        ("nvidia-gpu:/bin/x {nonce}\0", "zero byte"),
    ] {
        let error = text.parse::<PartSpec>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let spec = text.parse::<PartSpec>().unwrap();
    for (seconds, is_valid) in [(0, false), (1, true), (55, true), (56, false)] {
        assert_eq!(spec.clone().with_timeout(Duration::from_secs(seconds)).is_ok(), is_valid, "{seconds}");
    }
}

#[test]
fn a_program_that_is_not_there_or_no_program_is_missed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no program").unwrap();
    for program in ["/no/such/program", "/", text.to_str().unwrap()] {
        let spec = PartSpec::new(Tee::NvidiaGpu, vec![program.to_owned(), NONCE.to_owned()]).unwrap();
        let lead = Box::new(crate::SimulatedAttester::of_code("a"));
        let error = WithParts::new(lead, vec![spec]).err().unwrap().to_string();
        assert!(error.contains(&format!("`{program} {{nonce}}`: it cannot be started")), "{error}");
    }
}

// === Programs ===

/// A shell that runs `script`, with the nonce as `$1`.
fn shell(script: &str) -> Command {
    let arguments = ["-c", script, "sh", NONCE].map(str::to_owned).to_vec();
    Command { program: "/bin/sh".to_owned(), arguments }
}

fn run(script: &str, seconds: u64) -> Result<String, PartError> {
    let printed =
        shell(script).run("0a0b", Deadline::after(Duration::from_secs(seconds)), &StopParts::new().unwrap())?;
    Ok(String::from_utf8(printed).unwrap())
}

/// Whether a process is gone, or is but a name.
fn is_over(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
}

fn wait_until_over(pid: &str) {
    let begun = Instant::now();
    while !is_over(pid) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{pid} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_gets_the_nonce_and_nothing_of_the_agents() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let printed = run("echo \"$1\"; pwd; cat; env | sed 's/=.*//' | sort", 20).unwrap();
    let (head, variables) = printed.split_at("0a0b\n/\n".len());
    assert_eq!(head, "0a0b\n/\n");
    // The shell adds what is its own.
    let own = ["OLDPWD", "PWD", "SHLVL", "_"];
    let given: Vec<_> = variables.lines().filter(|name| !own.contains(name)).collect();
    assert_eq!(given, ["LC_ALL", "PATH"]);
}

#[test]
fn a_program_that_fails_is_quoted() {
    let error = run("echo 'no GPU is here' >&2; printf '\\033[31m' >&2; exit 3", 20).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PartError::Failed { .. }) && text.contains("exit status: 3"), "{text}");
    assert!(text.contains(": `no GPU is here [31m`; run it by hand"), "{text}");
    // NVIDIA's program says in its answer what was wrong.
    let script = r#"echo noise >&2; echo '{"evidences":null,"result_code":9,"result_message":"NVML failed"}'; exit 9"#;
    assert!(run(script, 20).unwrap_err().to_string().contains("exit status: 9): `NVML failed`"));
    let long =
        run("i=0; while [ $i -lt 2000 ]; do echo word$i >&2; i=$((i+1)); done; exit 1", 20).unwrap_err().to_string();
    assert!(long.contains("word1999`") && long.contains("`…") && long.len() < 700, "{long}");
}

#[test]
fn a_program_that_goes_on_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pids");
    let script = format!("sleep 1000 & echo $! $$ > {}; echo waiting >&2; wait", path.display());
    let error = run(&script, 1).unwrap_err();
    assert!(matches!(error, PartError::Timeout { seconds: 1, .. }), "{error}");
    assert!(error.to_string().contains("more than 1 s: `waiting`; raise `timeout_secs`"), "{error}");
    let pids = fs::read_to_string(path).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    pids.split_whitespace().for_each(wait_until_over);
    // Also one that has closed its outputs.
    assert!(matches!(run("exec >&- 2>&-; sleep 1000", 1), Err(PartError::Timeout { .. })));
}

#[test]
fn what_a_program_leaves_running_is_killed_and_not_waited_for() {
    let begun = Instant::now();
    let printed = run("sleep 1000 & echo $!", 55).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(50));
    wait_until_over(&printed);
}

#[test]
fn a_program_that_prints_without_end_is_killed() {
    let begun = Instant::now();
    assert!(matches!(run("yes", 55), Err(PartError::TooLong { limit: command::MOST_BYTES })));
    assert!(begun.elapsed() < Duration::from_secs(50));
    // What it writes to standard error is not evidence: it is read and mostly forgotten.
    assert_eq!(run("yes | head -c 3000000 >&2; echo done", 55).unwrap(), "done\n");
    // As much as is taken arrives whole.
    let printed = run(&format!("yes | head -c {}", command::MOST_BYTES), 55).unwrap();
    assert_eq!(printed.len(), command::MOST_BYTES);
}

#[test]
fn an_agent_that_ends_takes_its_commands_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let stop = StopParts::new().unwrap();
    let command = shell(&format!("echo $$ > {}; sleep 1000", path.display()));
    let begun = Instant::now();
    let running = {
        let (stop, command) = (stop.clone(), command.clone());
        std::thread::spawn(move || command.run("0a0b", Deadline::after(Duration::from_secs(55)), &stop))
    };
    let pid = fs::read_to_string(&path).unwrap();
    stop.stop();
    assert!(matches!(running.join().unwrap(), Err(PartError::Stopped)));
    wait_until_over(&pid);
    // Nor does another begin that would go on.
    let again = shell("sleep 1000").run("0a0b", Deadline::after(Duration::from_secs(55)), &stop);
    assert!(matches!(again, Err(PartError::Stopped)) && begun.elapsed() < Duration::from_secs(50));
}
