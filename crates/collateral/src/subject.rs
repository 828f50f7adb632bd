//! What a piece of collateral is, and what it is for.

use std::fmt;
use std::path::PathBuf;

use burgrave_types::Tee;
use serde::{Deserialize, Serialize};

/// A kind of collateral and what it speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Subject {
    /// Intel's levels for one kind of processor.
    TcbInfo {
        /// TDX or SGX.
        tee: Tee,
        /// The processor's kind.
        #[serde(with = "fmspc")]
        fmspc: [u8; 6],
    },
    /// Intel's word on the quoting enclave.
    QeIdentity {
        /// TDX or SGX.
        tee: Tee,
    },
    /// A revocation list.
    Crl {
        /// The distinguished name of the authority whose list it is.
        issuer: String,
    },
    /// The certificate of a chip's or a cloud's report-signing key.
    Vek {
        /// `VCEK` or `VLEK`.
        key: String,
        /// The chip, in hexadecimal; empty for a VLEK.
        chip: String,
        /// The TCB's security version numbers: fmc, bl, tee, snp, ucode.
        svn: [u8; 5],
    },
    /// An intermediate certificate: ASK or ASVK.
    Authority {
        /// Its distinguished name.
        name: String,
    },
}

impl Subject {
    /// Whether it is one of a row of numbered ones, of which no older one may come after a newer. Certificates are not.
    pub(crate) const fn has_floor(&self) -> bool {
        matches!(self, Self::TcbInfo { .. } | Self::QeIdentity { .. } | Self::Crl { .. })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TcbInfo { tee, fmspc } => write!(f, "the TCB info for {tee}, FMSPC {}", hex::encode(fmspc)),
            Self::QeIdentity { tee } => write!(f, "the identity of the quoting enclave for {tee}"),
            Self::Crl { issuer } => write!(f, "the revocation list of `{issuer}`"),
            Self::Vek { key, chip, svn } if chip.is_empty() => write!(f, "a {key} for TCB {svn:?}"),
            Self::Vek { key, chip, svn } => write!(f, "the {key} of chip {chip} for TCB {svn:?}"),
            Self::Authority { name } => write!(f, "the certificate of `{name}`"),
        }
    }
}

/// Where something came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A folder that the operator fills.
    Directory(PathBuf),
    /// A service: its base URL.
    Service(String),
    /// An operator's import.
    Operator,
    /// Evidence that it came with. It never moves a floor, and gives way to every other source.
    Evidence,
}

impl Source {
    /// Whether the operator chose it.
    pub(crate) fn is_configured(&self) -> bool {
        *self != Self::Evidence
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "the folder `{}`", path.display()),
            Self::Service(url) => write!(f, "the service `{url}`"),
            Self::Operator => f.write_str("an operator's import"),
            Self::Evidence => f.write_str("evidence"),
        }
    }
}

/// An FMSPC as hexadecimal text.
mod fmspc {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(fmspc: &[u8; 6], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(fmspc))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 6], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut fmspc = [0; 6];
        hex::decode_to_slice(text.as_bytes(), &mut fmspc).map_err(serde::de::Error::custom)?;
        Ok(fmspc)
    }
}
