//! Asking a service over HTTP/1.1, within bounds of time and size.
//!
//! The answers are signed by the vendor, so TLS is for the network's sake: it keeps what is asked (which chips there are)
//! from onlookers, and old answers from being slipped in. `http://` is taken for mirrors on the same machine or network.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::MOST;

/// Where distributions keep the public authorities.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A service's address: `http` or `https`, host, port and the path before everything that is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

/// Why a client cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an address.
    #[error("`{0}` is no address of a service; expected e.g. `https://pccs.example.com:8081`")]
    Url(String),
    /// No certificate to trust servers by.
    #[error("{0}; name a PEM file with the certificate of the service's authority (`collateral.ca_file`)")]
    Authorities(String),
}

/// Why a service gave nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("no connection: {0}")]
    Connection(String),
    /// No whole answer in time.
    #[error("no whole answer within {0:?}")]
    Time(Duration),
    /// Another status than 200.
    #[error("`{path}` was answered with {status}")]
    Status {
        /// What was asked.
        path: String,
        /// The status.
        status: u16,
    },
    /// A long answer.
    #[error("`{path}` was answered with more than {MOST} bytes")]
    Long {
        /// What was asked.
        path: String,
    },
    /// An answer that is not one.
    #[error("`{path}` was answered with something else than {expected}")]
    Content {
        /// What was asked.
        path: String,
        /// What it should have been.
        expected: &'static str,
    },
}

impl FetchError {
    /// Whether the service knows nothing of the kind, and asking again soon is of no use.
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 404, .. })
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A client: how servers are trusted, and how long an answer may take.
#[derive(Clone)]
pub struct Http {
    connector: Option<TlsConnector>,
    timeout: Duration,
}

impl Http {
    /// How long an answer may take, from the connection to its last byte.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A client for `http://` alone.
    pub fn plain(timeout: Duration) -> Self {
        Self { connector: None, timeout }
    }

    /// A client that takes servers of the authorities in `pem`.
    ///
    /// # Errors
    /// [`HttpError::Authorities`] where there is no certificate in it, or one is no authority's.
    pub fn with_authorities(pem: &[u8], timeout: Duration) -> Result<Self, HttpError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| HttpError::Authorities(format!("not PEM: {error}")))?;
            roots.add(certificate).map_err(|error| HttpError::Authorities(format!("not an authority: {error}")))?;
        }
        Self::with_roots(roots, timeout)
    }

    /// A client that takes servers of the public authorities that the system knows. Reads a file.
    ///
    /// # Errors
    /// [`HttpError::Authorities`] where the system has none.
    pub fn with_system_authorities(timeout: Duration) -> Result<Self, HttpError> {
        let pem = SYSTEM.iter().find_map(|path| std::fs::read(path).ok());
        let pem = pem.ok_or_else(|| HttpError::Authorities(format!("none of {} is there", SYSTEM.join(", "))))?;
        let mut roots = RootCertStore::empty();
        // Of a system's many, one that is not understood is no reason to trust none.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        Self::with_roots(roots, timeout)
    }

    fn with_roots(roots: RootCertStore, timeout: Duration) -> Result<Self, HttpError> {
        if roots.is_empty() {
            return Err(HttpError::Authorities("there is no certificate of an authority".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Authorities(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: Some(TlsConnector::from(Arc::new(config))), timeout })
    }

    /// Asks for a path (with its query) below `base`. Redirections are not followed.
    pub(crate) async fn get(&self, base: &BaseUrl, path: &str) -> Result<Answer, FetchError> {
        let path = format!("{}{path}", base.prefix);
        let work = self.ask(base, &path);
        tokio::time::timeout(self.timeout, work).await.map_err(|_| FetchError::Time(self.timeout))?
    }

    async fn ask(&self, base: &BaseUrl, path: &str) -> Result<Answer, FetchError> {
        let failed = |error: &dyn fmt::Display| FetchError::Connection(error.to_string());
        let stream = TcpStream::connect((base.host.as_str(), base.port)).await.map_err(|error| failed(&error))?;
        if !base.tls {
            return exchange(stream, base, path).await;
        }
        let connector = self.connector.as_ref().ok_or_else(|| failed(&"this client speaks no TLS"))?;
        let name = ServerName::try_from(base.host.clone()).map_err(|error| failed(&error))?;
        let stream = connector.connect(name, stream).await.map_err(|error| failed(&format!("TLS: {error}")))?;
        exchange(stream, base, path).await
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("tls", &self.connector.is_some()).field("timeout", &self.timeout).finish()
    }
}

async fn exchange<S>(stream: S, base: &BaseUrl, path: &str) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| FetchError::Connection(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(path)
        .header(header::HOST, base.authority())
        .header(header::USER_AGENT, concat!("burgrave/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Connection(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { path: path.to_owned(), status: response.status().as_u16() });
        }
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::Long { path: path.to_owned() }
            } else {
                FetchError::Connection(error.to_string())
            }
        })?;
        Ok(Answer { headers: parts.headers, body: body.to_bytes() })
    };
    // The connection lives no longer than the answer is waited for.
    let mut connection = std::pin::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(failed(error)),
        },
    }
}

impl BaseUrl {
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether it needs a client that speaks TLS.
    pub fn is_https(&self) -> bool {
        self.tls
    }
}

impl FromStr for BaseUrl {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let error = || HttpError::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| error())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(error()),
        };
        let authority = uri.authority().ok_or_else(error)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(error());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(error());
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back() {
        for text in ["https://pccs.example.com:8081", "http://[::1]:80/mirror", "https://kdsintf.amd.com"] {
            let url: BaseUrl = text.parse().unwrap();
            let shown = url.to_string();
            assert_eq!(shown.parse::<BaseUrl>().unwrap(), url);
        }
        assert_eq!("http://h/a/b/".parse::<BaseUrl>().unwrap().to_string(), "http://h/a/b");
    }

    #[test]
    fn what_is_no_address_is_said_to_be_none() {
        for text in ["pccs.example.com", "ftp://h", "https://", "https://user@h", "https://h/?a=b", ""] {
            let error = text.parse::<BaseUrl>().unwrap_err();
            assert!(error.to_string().contains("https://pccs.example.com:8081"), "{text}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        assert!(Http::with_authorities(b"nothing", Http::TIMEOUT).is_err());
    }
}
