//! The attester against a directory tree that behaves as the kernel's does: attributes come and go with a directory, a write
//! counts when the file is closed, a report is made when somebody opens `outblob`, and is the same until the next write.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex, mpsc};

use burgrave_types::certificate_table::{ARK, ASK, VCEK, write};

use super::*;
use crate::stand_in::{PseudoFile, take_written};

/// What the driver that registered with configfs-tsm is like.
#[derive(Clone)]
struct Driver {
    provider: &'static str,
    /// The lowest privilege level, where it has levels.
    floor: Option<u32>,
    /// What it gives beside the report, where it has that attribute.
    more: Option<Vec<u8>>,
    report: fn(&Request) -> Vec<u8>,
}

/// What was written into an entry.
#[derive(Clone, Default)]
struct Request {
    generation: u64,
    report_data: Vec<u8>,
    level: u32,
}

/// SEV-SNP: the level at 0x30, the report data at 0x50.
fn snp_report(request: &Request) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 3;
    report[0x30] = request.level as u8;
    report[0x50..0x90].copy_from_slice(&request.report_data);
    report
}

/// TDX: version 4 and 5, the report data last in the body, then a signature's length and bytes.
fn tdx_quote(request: &Request) -> Vec<u8> {
    [&[4, 0, 2, 0][..], &[0; 564], &request.report_data, &[2, 0, 0, 0, 1, 2]].concat()
}

fn tdx_quote_5(request: &Request) -> Vec<u8> {
    [&[5, 0, 2, 0][..], &[0; 570], &request.report_data, &[2, 0, 0, 0, 1, 2]].concat()
}

/// Arm CCA: CBOR, the challenge somewhere inside.
fn cca_token(request: &Request) -> Vec<u8> {
    [&b"\xd9\x01\x8f\xa2\x19\xac\xca\x44plat\x19\xac\xd1\x58\x44\x0a\x58\x40"[..], &request.report_data].concat()
}

fn snp() -> Driver {
    let more = Some(write(&[(VCEK, b"chip"), (ASK, b"signer"), (ARK, b"root")]));
    Driver { provider: "sev_guest", floor: Some(0), more, report: snp_report }
}

fn tdx() -> Driver {
    Driver { provider: "tdx_guest", floor: None, more: None, report: tdx_quote }
}

/// What happens when `outblob` is read.
enum Turn {
    /// The driver fails with this error number.
    Fails(i32),
    /// Another program has written its own report data just before.
    Intruder,
    /// Another program writes when the report was made, before the rest is read.
    IntruderAfter,
}

/// The tree. Its clones are one.
#[derive(Clone)]
struct Configfs {
    root: Arc<tempfile::TempDir>,
    driver: Option<Driver>,
    turns: Arc<Mutex<VecDeque<Turn>>>,
    entries: Arc<Mutex<BTreeMap<PathBuf, Served>>>,
    /// Where the next report says that it is asked for, and waits until it may be made.
    gate: Gate,
}

type Gate = Arc<Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>>;

/// An entry: what was asked of it, and the pseudo files.
struct Served {
    request: Arc<Mutex<Request>>,
    _files: Vec<PseudoFile>,
}

impl Configfs {
    fn new(driver: Driver) -> Self {
        Self::with(Some(driver))
    }

    fn with(driver: Option<Driver>) -> Self {
        let root = Arc::new(tempfile::tempdir().unwrap());
        fs::create_dir_all(root.path().join(DIR)).unwrap();
        Self { root, driver, turns: Arc::default(), entries: Arc::default(), gate: Arc::default() }
    }

    fn turns(self, turns: impl IntoIterator<Item = Turn>) -> Self {
        self.turns.lock().unwrap().extend(turns);
        self
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(DIR)
    }

    fn attester(&self) -> Result<ConfigfsTsm, AttesterError> {
        ConfigfsTsm::over(Box::new(self.clone()), self.dir())
    }

    fn evidence(&self) -> Result<Evidence, AttesterError> {
        let evidence = self.attester()?.evidence(&binding());
        assert_eq!(fs::read_dir(self.dir()).unwrap().count(), 0, "an entry stays");
        evidence
    }

    /// What closing a written attribute does.
    fn take_effect(&self, dir: &Path) -> io::Result<()> {
        let driver = self.driver.as_ref().unwrap();
        let entries = self.entries.lock().unwrap();
        let mut request = entries[dir].request.lock().unwrap();
        if let Some(level) = driver.floor.and_then(|_| take_written(&dir.join("privlevel"))) {
            let level = String::from_utf8(level).unwrap().parse().unwrap();
            if !(driver.floor.unwrap()..=3).contains(&level) {
                return Err(io::Error::from_raw_os_error(EINVAL));
            }
            request.level = level;
            request.generation += 1;
        }
        if let Some(report_data) = take_written(&dir.join("inblob")) {
            request.report_data = report_data;
            request.generation += 1;
        }
        Ok(())
    }

    fn intrude(&self, dir: &Path) {
        self.write(&dir.join("inblob"), &[0xee; 64]).unwrap();
    }
}

impl std::fmt::Debug for Configfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Configfs")
    }
}

impl Tree for Configfs {
    fn make(&self, dir: &Path) -> io::Result<()> {
        let driver = self.driver.clone().ok_or(io::Error::from_raw_os_error(ENXIO))?;
        Kernel.make(dir)?;
        let request = Arc::new(Mutex::new(Request { generation: 40, ..Request::default() }));
        fs::write(dir.join("inblob"), []).unwrap();
        let serve = |name: &str, make: fn(&Driver, &Request) -> Vec<u8>| {
            let (driver, request) = (driver.clone(), Arc::clone(&request));
            PseudoFile::serve(dir.join(name), move || make(&driver, &request.lock().unwrap()))
        };
        let mut files = vec![
            serve("generation", |_, request| format!("{}\n", request.generation).into_bytes()),
            serve("provider", |driver, _| format!("{}\n", driver.provider).into_bytes()),
        ];
        let (gate, made_for, report) = (Arc::clone(&self.gate), Arc::clone(&request), driver.report);
        files.push(PseudoFile::serve(dir.join("outblob"), move || {
            if let Some((asked, may_go_on)) = gate.lock().unwrap().take() {
                asked.send(()).unwrap();
                may_go_on.recv().unwrap();
            }
            report(&made_for.lock().unwrap())
        }));
        if driver.floor.is_some() {
            fs::write(dir.join("privlevel"), []).unwrap();
            files.push(serve("privlevel_floor", |driver, _| format!("{}\n", driver.floor.unwrap()).into_bytes()));
        }
        if driver.more.is_some() {
            files.push(serve("auxblob", |driver, _| driver.more.clone().unwrap()));
        }
        self.entries.lock().unwrap().insert(dir.to_owned(), Served { request, _files: files });
        Ok(())
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Result<Vec<u8>, files::TooLong>> {
        if !path.ends_with("outblob") {
            return Kernel.read(path, limit);
        }
        let dir = path.parent().unwrap();
        let turn = self.turns.lock().unwrap().pop_front();
        match turn {
            Some(Turn::Fails(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Turn::Intruder) => self.intrude(dir),
            Some(Turn::IntruderAfter) => {
                let report = Kernel.read(path, limit);
                self.intrude(dir);
                return report;
            }
            None => {}
        }
        Kernel.read(path, limit)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Kernel.write(path, bytes)?;
        self.take_effect(path.parent().unwrap())
    }

    fn remove(&self, dir: &Path) -> io::Result<()> {
        self.entries.lock().unwrap().remove(dir);
        fs::remove_dir_all(dir)
    }
}

fn binding() -> BindingData {
    BindingData { report_data: std::array::from_fn(|n| 200 - n as u8), qualifying_data: [1; 32] }
}

#[test]
fn an_snp_guest_gives_its_report_and_certificates() {
    let evidence = Configfs::new(snp()).evidence().unwrap();
    assert_eq!(evidence.lead.tee, Tee::Snp);
    assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["ark.der", "ask.der", "report.bin", "vcek.der"]);
    assert_eq!(evidence.lead.item("report.bin").unwrap()[0x50..0x90], binding().report_data);
}

#[test]
fn an_snp_guest_whose_host_has_no_certificates_gives_its_report() {
    for more in [None, Some(Vec::new()), Some(vec![0; 24])] {
        let evidence = Configfs::new(Driver { more, ..snp() }).evidence().unwrap();
        assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["report.bin"]);
    }
}

#[test]
fn a_td_and_a_realm_give_what_they_have() {
    for report in [tdx_quote, tdx_quote_5] {
        let evidence = Configfs::new(Driver { report, ..tdx() }).evidence().unwrap();
        assert_eq!(evidence.lead.tee, Tee::Tdx);
        assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["quote.bin"]);
    }
    let cca = Driver { provider: "arm_cca_guest", floor: None, more: None, report: cca_token };
    let evidence = Configfs::new(cca).evidence().unwrap();
    assert_eq!(evidence.lead.tee, Tee::Cca);
    assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["token.cbor"]);
}

#[test]
fn a_tds_boot_log_comes_with_its_quote() {
    let configfs = Configfs::new(tdx());
    let log = configfs.root.path().join("sys/firmware/acpi/tables/data/CCEL");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(log, b"events").unwrap();
    let mut attester = configfs.attester().unwrap().with_logs(EventLogs::new(configfs.root.path()));
    assert_eq!(attester.evidence(&binding()).unwrap().lead.item("ccel.bin"), Some(&b"events"[..]));
}

#[test]
fn a_slow_report_is_waited_for() {
    let configfs = Configfs::new(tdx());
    let (asked, is_asked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    *configfs.gate.lock().unwrap() = Some((asked, may_go_on));
    let mut attester = configfs.attester().unwrap();
    let work = std::thread::spawn(move || attester.evidence(&binding()));
    is_asked.recv().unwrap();
    assert!(!work.is_finished());
    go_on.send(()).unwrap();
    assert_eq!(work.join().unwrap().unwrap(), configfs.evidence().unwrap());
}

#[test]
fn another_writer_is_outlasted() {
    let turns = || [Turn::Intruder, Turn::IntruderAfter, Turn::Fails(11), Turn::Intruder];
    let configfs = Configfs::new(Driver { floor: Some(1), ..snp() }).turns(turns());
    let evidence = configfs.evidence().unwrap();
    assert_eq!(evidence.lead.item("report.bin").unwrap()[0x50..0x90], binding().report_data);
    assert!(configfs.turns.lock().unwrap().is_empty());
}

#[test]
fn another_writer_that_never_stops_is_named() {
    let error = Configfs::new(snp()).turns((0..TRIES).map(|_| Turn::IntruderAfter)).evidence().unwrap_err();
    assert!(matches!(error, AttesterError::Interfered { tries: TRIES, .. }), "{error}");
    assert!(error.to_string().contains("burgrave-"), "{error}");
}

#[test]
fn a_report_over_other_data_is_not_handed_on() {
    let report = |request: &Request| snp_report(&Request { report_data: vec![0xee; 64], ..request.clone() });
    let error = Configfs::new(Driver { report, ..snp() }).evidence().unwrap_err();
    assert!(matches!(error, AttesterError::NotBound { tee: Tee::Snp, .. }), "{error}");
}

#[test]
fn a_busy_tee_is_asked_again_and_a_refusing_one_is_not() {
    assert!(Configfs::new(tdx()).turns([Turn::Fails(16), Turn::Fails(4)]).evidence().is_ok());
    for (errno, said) in
        [(EINVAL, "the kernel's log says more"), (EIO, "the kernel's log"), (ETIMEDOUT, "quoting service")]
    {
        let configfs = Configfs::new(tdx()).turns([Turn::Fails(errno)]);
        let error = configfs.evidence().unwrap_err().to_string();
        assert!(error.contains("cannot read `") && error.contains("/outblob`") && error.contains(said), "{error}");
    }
    let error = Configfs::new(tdx()).turns((0..TRIES).map(|_| Turn::Fails(16))).evidence().unwrap_err().to_string();
    assert!(error.contains("stayed busy"), "{error}");
}

#[test]
fn the_privilege_level_is_the_kernels_lowest_or_the_chosen_one() {
    let level = |attester: ConfigfsTsm| {
        let mut attester = attester;
        attester.evidence(&binding()).map(|evidence| evidence.lead.item("report.bin").unwrap()[0x30])
    };
    let paravisor = Configfs::new(Driver { floor: Some(2), ..snp() });
    assert_eq!(level(paravisor.attester().unwrap()).unwrap(), 2);
    assert_eq!(level(paravisor.attester().unwrap().with_privilege_level(3).unwrap()).unwrap(), 3);
    let error = level(paravisor.attester().unwrap().with_privilege_level(1).unwrap()).unwrap_err().to_string();
    assert!(error.contains("privlevel`") && error.contains("not this one"), "{error}");
    assert!(paravisor.attester().unwrap().with_privilege_level(4).is_err());

    let td = Configfs::new(tdx()).attester().unwrap().with_privilege_level(1).unwrap();
    assert!(level(td).unwrap_err().to_string().contains("may have no privilege levels"));
}

#[test]
fn entries_that_others_left_are_passed_over() {
    let configfs = Configfs::new(snp());
    let next = Entry::make(&configfs, &configfs.dir()).unwrap().dir.clone();
    let name = next.file_name().unwrap().to_str().unwrap();
    let (prefix, number) = name.rsplit_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    let stale: Vec<_> = (0..20).map(|n| configfs.dir().join(format!("{prefix}-{}", number + n))).collect();
    stale.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    assert!(configfs.attester().unwrap().evidence(&binding()).is_ok());
    assert!(stale.iter().all(|dir| dir.is_dir()), "somebody else's entry was removed");
}

#[test]
fn a_report_without_end_is_too_long() {
    let report = |_: &Request| vec![0; MAX_REPORT + 1];
    let error = Configfs::new(Driver { report, ..tdx() }).evidence().unwrap_err();
    assert!(matches!(error, AttesterError::TooLong { limit: MAX_REPORT, .. }), "{error}");
}

#[test]
fn a_broken_certificate_table_is_refused() {
    let error = Configfs::new(Driver { more: Some(vec![1; 24]), ..snp() }).evidence().unwrap_err().to_string();
    assert!(error.contains("the host's certificate table is malformed"), "{error}");
}

#[test]
fn what_is_missing_is_said() {
    let error = Configfs::with(None).attester().unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("load sev-guest, tdx-guest or arm-cca-guest"), "{error}");
    let error = ConfigfsTsm::open("/nowhere".as_ref()).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("mount configfs"), "{error}");
    let error = Configfs::new(Driver { provider: "new_guest", ..tdx() }).attester().unwrap_err();
    assert!(!error.is_absent() && error.to_string().contains("`new_guest`"), "{error}");
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    let error = files::failed("make an entry in", "/sys".as_ref(), denied, "other advice").to_string();
    assert!(error.ends_with("run the agent as root, or give its user access"), "{error}");
}

#[test]
fn a_genuine_td_quote_comes_out_as_the_verifier_takes_it() {
    use burgrave_verifier::{Endorsements, Expected, Input, Profile, Roots, Verdict, verify};

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../verifier/testdata/tdx/v4-b0c06f-uptodate");
    let report = |_: &Request| fs::read(format!("{FOLDER}/quote.bin")).unwrap();
    let quote = report(&Request::default());
    let binding = BindingData { report_data: quote[568..632].try_into().unwrap(), qualifying_data: [0; 32] };
    let mut evidence = Configfs::new(Driver { report, ..tdx() }).attester().unwrap().evidence(&binding).unwrap();
    assert_eq!(evidence.lead.item("quote.bin"), Some(quote.as_slice()));

    // Collateral is the verifier's to bring.
    let collateral = fs::read(format!("{FOLDER}/collateral.json")).unwrap();
    evidence.lead.items.insert("collateral.json".to_owned(), collateral);
    let verification = verify(&Input {
        part: &evidence.lead,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile::default(),
        expected: Expected::Binding { report_data: &binding.report_data, qualifying_data: &binding.qualifying_data },
        at: "2025-06-20T00:00:00Z".parse().unwrap(),
    });
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
}
