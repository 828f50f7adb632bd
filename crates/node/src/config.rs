//! A node's configuration: what its TOML file may say.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burgrave_edge::link::Address;
use burgrave_hsm::{PassphraseSource, Unlock};
use burgrave_types::{GenesisHash, Segment};
use serde::Deserialize;

/// The configuration of a node. `docs/node.toml` shows every option; unknown ones are errors.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The folder that holds the domain: token, ledger, audit log, CA certificate.
    pub data_dir: PathBuf,
    /// The genesis hash that the domain in `data_dir` must have; absent, any is served that is there.
    #[serde(default)]
    pub genesis: Option<GenesisHash>,
    /// How the software token is opened.
    pub token: TokenConfig,
    /// Where agents connect.
    pub link: LinkConfig,
    /// Where administrators and applications connect.
    pub rest: RestConfig,
    /// What evidence is verified against.
    #[serde(default)]
    pub attestation: AttestationConfig,
    /// Where vendors' collateral comes from.
    #[serde(default)]
    pub collateral: CollateralConfig,
}

/// How the software token is opened.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "unlock")]
pub enum TokenConfig {
    /// A passphrase from a file that its owner alone can read.
    PassphraseFile {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase from a descriptor that the process inherits.
    Descriptor {
        /// Its number.
        number: u32,
    },
    /// A key in a file beside the token: `dev` domains only.
    KeyFile,
}

impl TokenConfig {
    /// What opens the token; reads the passphrase.
    pub(crate) fn unlock(&self) -> Result<Unlock> {
        let source = match self {
            Self::KeyFile => return Ok(Unlock::KeyFile),
            Self::PassphraseFile { path } => PassphraseSource::File(path.clone()),
            Self::Descriptor { number } => PassphraseSource::Descriptor(*number),
        };
        Unlock::passphrase(&source).context("the token's passphrase cannot be read")
    }
}

/// Where agents connect.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// `tcp://<ip>:<port>` or `unix:<path>`, one or more; port 0 takes a free one.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<Address>,
}

/// Where administrators and applications connect.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// `<ip>:<port>`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host names to put into the node's certificate, for browsers. Our own clients go by the genesis hash alone.
    #[serde(default)]
    pub names: Vec<String>,
    /// A file with a bearer token that logs an administrator in: `dev` domains only.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The administrator whom the token logs in.
    #[serde(default)]
    pub token_name: Option<Segment>,
}

/// What evidence is verified against, beside the vendors' roots that are built in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationConfig {
    /// Certificates (PEM or DER) of the makers of TPMs. Where any are given, each TPM must have a certificate that leads to one
    /// of them, beside being listed in the registration.
    #[serde(default)]
    pub tpm_roots: Vec<PathBuf>,
    /// The keys of Arm CCA platforms (JSON), by which their tokens are known: no vendor's root stands above them.
    #[serde(default)]
    pub cca_anchors: Vec<PathBuf>,
    /// The firmware of Arm CCA platforms that is accepted (JSON, as `ccatoken` stores reference values). What is not among it is
    /// out of date for an implementation that stands there; of other platforms' firmware each release says what it takes.
    #[serde(default)]
    pub cca_firmware: Vec<PathBuf>,
}

/// Where vendors' collateral comes from (`docs/collateral.md`). Nothing is fetched unless an address stands here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollateralConfig {
    /// Folders that the operator fills.
    #[serde(default)]
    pub directories: Vec<PathBuf>,
    /// The PCCS, or a mirror of Intel's service, for TDX and SGX.
    #[serde(default)]
    pub pccs_url: Option<String>,
    /// Where the revocation list of Intel's root is, for a service that does not have it.
    #[serde(default)]
    pub root_crl_url: Option<String>,
    /// AMD's key distribution service, or a mirror of it, for SEV-SNP.
    #[serde(default)]
    pub kds_url: Option<String>,
    /// The folder of NVIDIA's revocation lists, or a mirror of it, for GPUs.
    #[serde(default)]
    pub nvidia_crl_url: Option<String>,
    /// The authorities (PEM) by which `https` services are known; absent, the public ones that the system knows.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How often what is held is asked for again.
    #[serde(default)]
    pub refresh_minutes: Option<NonZeroU32>,
    /// Whether evidence of SEV-SNP is refused where no revocation list of AMD's is at hand. Absent: where a folder or AMD's
    /// service is configured.
    #[serde(default)]
    pub require_snp_crl: Option<bool>,
}

impl NodeConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or does not say what a configuration must; the message has line and column.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the configuration `{}` cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("the configuration `{}` is not valid", path.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// As [`NodeConfig::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        if config.link.listen.is_empty() {
            bail!("`link.listen` names no address, so no agent could connect");
        }
        if config.rest.token_file.is_some() != config.rest.token_name.is_some() {
            bail!("`rest.token_file` and `rest.token_name` belong together: one of them is missing");
        }
        Ok(config)
    }
}

fn addresses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../../docs/node.toml");

    #[test]
    fn the_reference_file_is_a_configuration() {
        NodeConfig::parse(REFERENCE).unwrap();
    }

    #[test]
    fn every_option_stands_in_the_reference_file() {
        let options = [
            "data_dir",
            "genesis",
            "unlock",
            "path",
            "number",
            "listen",
            "names",
            "token_file",
            "token_name",
            "tpm_roots",
            "cca_anchors",
            "cca_firmware",
            "directories",
            "pccs_url",
            "root_crl_url",
            "kds_url",
            "ca_file",
            "refresh_minutes",
            "require_snp_crl",
        ];
        for option in options {
            let shown = REFERENCE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{option} =")));
            assert!(shown, "docs/node.toml does not show `{option}`");
        }
    }

    #[test]
    fn an_unknown_option_is_named_with_its_line() {
        let text = REFERENCE.replacen("data_dir", "datadir", 1);
        let error = format!("{:#}", NodeConfig::parse(&text).unwrap_err());
        assert!(error.contains("datadir") && error.contains("line"), "{error}");
    }

    #[test]
    fn a_bad_address_says_what_one_looks_like() {
        let text = REFERENCE.replacen("\"tcp://0", "\"udp://0", 1);
        let error = format!("{:#}", NodeConfig::parse(&text).unwrap_err());
        assert!(error.contains("tcp://<ip>:<port>"), "{error}");
    }

    #[test]
    fn a_token_without_a_name_is_refused() {
        let text = REFERENCE.replacen("# token_file", "token_file", 1);
        assert!(NodeConfig::parse(&text).is_err());
    }
}
