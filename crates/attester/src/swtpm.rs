//! The software TPM emulator `swtpm`, for tests and for the demo: a TPM 2.0 that anybody has, and that protects nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{AttesterError, Transport};

/// How long a new emulator may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest path of a Unix socket (`sun_path`, with its closing zero).
const MAX_SOCKET_PATH: usize = 107;

/// A running emulator; dropped, it is killed and waited for.
///
/// ```no_run
/// use burgrave_attester::{TpmAttester, swtpm::Swtpm};
///
/// let emulator = Swtpm::start("tpm-state".as_ref())?;
/// let mut attester = TpmAttester::new(emulator.transport());
/// println!("{:?}", attester.read_pcrs()?);
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Debug)]
pub struct Swtpm {
    child: Child,
    socket: PathBuf,
}

impl Swtpm {
    /// Where the emulator is installed, if it is: the first `swtpm` on `PATH`.
    pub fn find() -> Option<PathBuf> {
        find("swtpm")
    }

    /// Starts an emulator whose state is in `dir`, which must exist. An empty folder becomes a new TPM; the same folder is
    /// the same TPM again, with the same keys and its PCRs reset. Returns when it listens.
    ///
    /// # Errors
    /// [`AttesterError::Emulator`] where `swtpm` is not installed, ends at once, or does not listen within ten seconds.
    pub fn start(dir: &Path) -> Result<Self, AttesterError> {
        let program = Self::find().ok_or_else(|| not_installed("swtpm"))?;
        let socket = dir.join("s");
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            let why = format!("the path `{}` is too long for a socket; choose a shorter folder", socket.display());
            return Err(AttesterError::Emulator(why));
        }
        // A socket left by an emulator that was killed would be in the way; where there is none, so much the better.
        let _ = std::fs::remove_file(&socket);
        let child = quiet(&program)
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(argument("dir=", dir))
            .arg("--server")
            .arg(argument("type=unixio,path=", &socket))
            .spawn()
            .map_err(|error| AttesterError::Emulator(format!("`{}`: {error}", program.display())))?;
        let mut emulator = Self { child, socket };
        emulator.wait_until_it_listens()?;
        Ok(emulator)
    }

    /// Makes the TPM in `dir` anew, with RSA and ECC endorsement keys certified by a local CA whose files are put into
    /// `dir/ca`, as a vendor does in the factory. Takes about a second; [`Swtpm::start`] then starts it. Returns the CA's
    /// root certificate and its issuing certificate, as PEM files.
    ///
    /// # Errors
    /// [`AttesterError::Emulator`] where `swtpm_setup` is not installed or fails.
    pub fn manufacture(dir: &Path) -> Result<(PathBuf, PathBuf), AttesterError> {
        let program = find("swtpm_setup").ok_or_else(|| not_installed("swtpm_setup"))?;
        let local_ca = find("swtpm_localca").ok_or_else(|| not_installed("swtpm_localca"))?;
        let ca = dir.join("ca");
        let file = |name: &str| ca.join(name);
        let root = file("swtpm-localca-rootca-cert.pem");
        let issuer = file("issuercert.pem");
        let localca_conf = format!(
            "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {1}\ncertserial = {0}/certserial\n",
            ca.display(),
            issuer.display(),
        );
        let setup_conf = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            local_ca.display(),
            file("localca.conf").display(),
            file("localca.options").display(),
        );
        let options = "--platform-manufacturer Burgrave\n--platform-version 1\n--platform-model Emulated\n";
        std::fs::create_dir_all(&ca)
            .and_then(|()| std::fs::write(file("localca.conf"), localca_conf))
            .and_then(|()| std::fs::write(file("localca.options"), options))
            .and_then(|()| std::fs::write(file("setup.conf"), setup_conf))
            .map_err(|error| AttesterError::Emulator(format!("cannot write into `{}`: {error}", ca.display())))?;
        let output = quiet(&program)
            .args(["--tpm2", "--create-ek-cert", "--overwrite", "--tpm-state"])
            .arg(dir)
            .arg("--config")
            .arg(file("setup.conf"))
            .arg("--logfile")
            .arg(file("setup.log"))
            .status()
            .map_err(|error| AttesterError::Emulator(format!("`{}`: {error}", program.display())))?;
        if !output.success() {
            let log = std::fs::read_to_string(file("setup.log")).unwrap_or_default();
            return Err(AttesterError::Emulator(format!("`swtpm_setup` failed ({output}): {}", log.trim())));
        }
        Ok((root, issuer))
    }

    /// The way to this emulator's TPM.
    pub fn transport(&self) -> Transport {
        Transport::UnixSocket(self.socket.clone())
    }

    /// The socket on which it listens; one client at a time.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The emulator's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[expect(clippy::disallowed_methods, reason = "another process's socket appears without telling anybody")]
    fn wait_until_it_listens(&mut self) -> Result<(), AttesterError> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(AttesterError::Emulator(format!("`swtpm` ended at once ({status})")));
            }
            match self.transport().connect() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn not_installed(program: &str) -> AttesterError {
    AttesterError::Emulator(format!("`{program}` is not on PATH; install the packages `swtpm` and `swtpm-tools`"))
}

/// The emulator holds neither our terminal nor our pipes.
fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn argument(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(prefix);
    argument.push(path);
    argument
}
