//! Where a node is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a node's agent link: `tcp://<host>:<port>` or `unix:<path>`. The host says only where to connect; whether
/// it is the right node, the genesis hash says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeAddress {
    /// A host name or IP address, and a port.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A text that is no node's address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is not an address: expected `tcp://<host>:<port>` or `unix:<path>`, e.g. `tcp://node1.example.org:8444`"
)]
pub struct AddressError(String);

impl FromStr for NodeAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.chars().take(128).collect());
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let host = text.strip_prefix("tcp://").ok_or_else(error)?;
        match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(host.to_owned()))
            }
            _ => Err(error()),
        }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> serde::Deserialize<'de> for NodeAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_another_text_is_refused() {
        for text in ["tcp://localhost:8444", "tcp://[::1]:8444", "unix:/run/burgrave/link.sock"] {
            assert_eq!(text.parse::<NodeAddress>().unwrap().to_string(), text);
        }
        for text in ["localhost:8444", "tcp://localhost", "tcp://:1", "tcp://a/b:1", "tcp://a:70000", "unix:"] {
            assert!(text.parse::<NodeAddress>().is_err(), "`{text}` was taken");
        }
    }
}
