//! The configuration file, and the small languages inside it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use burgrave_attester::{AttesterSpec, PartSpec};
use burgrave_types::{EnclaveName, GenesisHash, Tee};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::forward::{Duplex, LocalListener};
use crate::NodeAddress;

/// The agent's configuration; unknown keys are errors.
///
/// ```
/// use burgrave_agent::local::FileConfig;
///
/// let config = FileConfig::parse(r#"
/// genesis  = "9f2c8d3e9f2c8d3e9f2c8d3e9f2c8d3e9f2c8d3e9f2c8d3e9f2c8d3e9f2c8d3e"
/// enclave  = "payments/api"
/// nodes    = ["tcp://node1.example.org:8444", "tcp://node2.example.org:8444"]
/// attester = "tpm:/dev/tpmrm0"
/// socket   = "/run/burgrave/agent.sock"
///
/// [[forward]]
/// listen = "unix:/run/burgrave/ledger.sock"
/// peer   = "payments/ledger"
/// "#)?;
/// assert_eq!(config.nodes.len(), 2);
/// # Ok::<(), burgrave_agent::local::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The domain's genesis hash: the only control plane that the agent accepts.
    pub genesis: GenesisHash,
    /// The enclave to attest as.
    pub enclave: EnclaveName,
    /// The agent links of the nodes.
    pub nodes: Vec<NodeAddress>,
    /// The TEE.
    #[serde(deserialize_with = "attester")]
    pub attester: AttesterSpec,
    /// Devices beside the TEE whose evidence goes with its own.
    #[serde(default, deserialize_with = "parts")]
    pub part: Vec<PartSpec>,
    /// Where the local API listens; without it there is none.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// Uids beside the agent's own that may use the local API.
    #[serde(default)]
    pub allow_uids: Vec<u32>,
    /// Local addresses that lead to other enclaves.
    #[serde(default)]
    pub forward: Vec<Forward>,
    /// Where channels that other enclaves open to this one lead; without it they are refused.
    #[serde(default)]
    pub accept_to: Option<LocalAddress>,
}

/// A local address that leads to another enclave.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Where to listen.
    pub listen: LocalAddress,
    /// The enclave that each connection is carried to.
    pub peer: EnclaveName,
}

/// `[[part]]`, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    tee: Tee,
    command: Vec<String>,
    timeout_secs: Option<u64>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file does not hold one.
    #[error("the configuration is not valid: {0}")]
    Invalid(String),
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with line and column of what is wrong in the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        Self::parse(&text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?)
    }

    /// Reads TOML text.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Invalid(error.to_string()))?;
        if config.nodes.is_empty() {
            return Err(ConfigError::Invalid("`nodes` is empty; name one address at least".to_owned()));
        }
        Ok(config)
    }
}

/// A local address: `tcp://<ip>:<port>` or `unix:<path>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAddress {
    /// An IP address and port.
    Tcp(std::net::SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl LocalAddress {
    /// Listens here. A socket file that a dead process left is taken over; one that is made is for its owner alone.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(&self) -> std::io::Result<LocalListener> {
        match self {
            Self::Tcp(address) => TcpListener::bind(address).await.map(LocalListener::Tcp),
            Self::Unix(path) => bind_unix(path, OWNER_ALONE).map(LocalListener::Unix),
        }
    }

    /// Connects here.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// The mode of a socket's file that only its owner may connect to.
pub(super) const OWNER_ALONE: u32 = 0o600;

/// Listens on a Unix socket whose file has this mode from the moment it is there.
pub(super) fn bind_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;

    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    // Bound under another name, closed to others, and only then put in its place: at no time may others connect. The name
    // must be free, as with `bind` itself: `hard_link` does not replace.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    let placed = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::hard_link(&hidden, path));
    std::fs::remove_file(&hidden)?;
    placed.map(|()| listener)
}

impl FromStr for LocalAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("tcp://").and_then(|address| address.parse().ok());
        address.map(Self::Tcp).ok_or_else(|| {
            format!("`{text}` is not a local address: expected `tcp://<ip>:<port>` or `unix:<path>`, e.g. `tcp://127.0.0.1:5432`")
        })
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads a type from its text.
macro_rules! from_text {
    ($($name:ty),+) => {
        $(impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        })+
    };
}

from_text!(LocalAddress);

fn attester<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<AttesterSpec, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn parts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<PartSpec>, D::Error> {
    let parts = Vec::<Part>::deserialize(deserializer)?.into_iter().map(|part| {
        let spec = PartSpec::new(part.tee, part.command)?;
        match part.timeout_secs {
            Some(seconds) => spec.with_timeout(Duration::from_secs(seconds)),
            None => Ok(spec),
        }
    });
    parts.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        genesis = "0101010101010101010101010101010101010101010101010101010101010101"
        enclave = "payments/api"
        nodes = ["tcp://localhost:8444"]
        attester = "simulated:payments-api-1.0"
    "#;

    #[test]
    fn the_least_configuration_opens_nothing_locally() {
        let config = FileConfig::parse(MINIMAL).unwrap();
        assert_eq!((config.socket, config.accept_to), (None, None));
        assert!(config.forward.is_empty() && config.allow_uids.is_empty() && config.part.is_empty());
    }

    #[test]
    fn the_commented_reference_file_is_a_configuration_with_and_without_its_options() {
        let text = include_str!("../../../../docs/agent.toml");
        let least = FileConfig::parse(text).unwrap();
        assert_eq!((least.socket, least.forward.len(), least.part.len()), (None, 0, 0));
        let option =
            |line: &str| line.strip_prefix("# ").is_some_and(|rest| rest.contains(" = ") || rest.starts_with("[["));
        let lines = text.lines().map(|line| if option(line) { line.trim_start_matches("# ") } else { line });
        let all = FileConfig::parse(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        assert!(all.socket.is_some() && all.accept_to.is_some());
        assert_eq!((all.allow_uids.len(), all.forward.len(), all.part.len()), (1, 1, 1));
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = FileConfig::parse(&format!("{MINIMAL}\nsokcet = \"/run/a.sock\"")).unwrap_err().to_string();
        assert!(error.contains("sokcet"), "{error}");
    }

    #[test]
    fn an_attester_that_is_none_is_an_error_that_says_what_is_expected() {
        let error = FileConfig::parse(&MINIMAL.replace("simulated:payments-api-1.0", "sgx:1")).unwrap_err().to_string();
        assert!(error.contains("sgx:1") && error.contains("simulated:<code name>"), "{error}");
    }

    #[test]
    fn a_part_is_a_command_that_is_told_the_nonce_or_an_error_that_says_what_is_wrong_with_it() {
        let with = |part: &str| FileConfig::parse(&format!("{MINIMAL}\n[[part]]\n{part}"));
        let command = r#"command = ["/opt/gpu evidence", "--nonce={nonce}"]"#;
        let config = with(&format!("tee = \"nvidia-gpu\"\n{command}\ntimeout_secs = 45")).unwrap();
        let expected = vec!["/opt/gpu evidence".to_owned(), "--nonce={nonce}".to_owned()];
        let expected = PartSpec::new(Tee::NvidiaGpu, expected).unwrap().with_timeout(Duration::from_secs(45)).unwrap();
        assert_eq!(config.part, [expected]);
        for (part, named) in [
            (format!("tee = \"snp\"\n{command}"), "`snp`, expected `nvidia-gpu`"),
            (format!("tee = \"gpu\"\n{command}"), "gpu"),
            ("tee = \"nvidia-gpu\"".to_owned(), "command"),
            ("tee = \"nvidia-gpu\"\ncommand = [\"/bin/x\"]".to_owned(), "`{nonce}`"),
            (format!("tee = \"nvidia-gpu\"\n{command}\ntimeout_secs = 60"), "1 to 55 s"),
            (format!("tee = \"nvidia-gpu\"\n{command}\ntimeout = 60"), "timeout"),
        ] {
            let error = with(&part).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[tokio::test]
    async fn a_local_socket_is_for_its_owner_alone_and_is_not_taken_from_a_live_process() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let first = bind_unix(&path, OWNER_ALONE).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind_unix(&path, OWNER_ALONE).is_err());
        drop(first);
        bind_unix(&path, OWNER_ALONE).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
