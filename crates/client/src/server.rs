//! Where a node is and which domain it must belong to.

use std::fmt;
use std::str::FromStr;

use burgrave_types::{GenesisHash, Problem, ProblemCode};

/// A node's REST address: `https://<host>:<port>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    host: String,
    port: u16,
}

impl Url {
    /// The port where none is given.
    pub const DEFAULT_PORT: u16 = 8443;

    /// `host:port`, as sockets and the `Host` header want it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host without brackets, and the port.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl FromStr for Url {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            Problem::new(ProblemCode::RequestInvalid, format!("`{text}` is not a server address: {why}"))
                .with_fix("give it as `https://<host>:<port>`, e.g. `https://127.0.0.1:8443`")
        };
        let uri: http::Uri = text.parse().map_err(|_| bad("it does not parse"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("it does not begin with `https://`"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it goes on after the port"));
        }
        let host = uri.host().ok_or_else(|| bad("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(Self::DEFAULT_PORT) })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

/// A node's address and the genesis hash of the domain that it must prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Where it is.
    pub url: Url,
    /// Which domain it must belong to.
    pub genesis: GenesisHash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_has_a_default_port() {
        assert_eq!("https://node.example:9443".parse::<Url>().unwrap().to_string(), "https://node.example:9443");
        assert_eq!("https://node.example/".parse::<Url>().unwrap().authority(), "node.example:8443");
        assert_eq!("https://[::1]:9".parse::<Url>().unwrap().authority(), "[::1]:9");
    }

    #[test]
    fn addresses_that_would_send_secrets_in_clear_are_refused() {
        for bad in ["http://node.example", "node.example:8443", "https://", "https://node/x", "https://node?x"] {
            assert_eq!(bad.parse::<Url>().unwrap_err().code, ProblemCode::RequestInvalid, "{bad}");
        }
    }
}
