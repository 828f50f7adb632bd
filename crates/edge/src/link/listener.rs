//! Where agents come in: TCP or a Unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Bytes that may wait unsent in the kernel, where a CUT or PUSH cannot overtake them.
const UNSENT: u32 = 128 * 1024;

/// An address to listen on: `tcp://127.0.0.1:8444` or `unix:/run/burgrave/link.sock`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("tcp://").and_then(|address| address.parse().ok());
        address.map(Self::Tcp).ok_or_else(|| {
            format!(
                "`{text}` is not an address: expected `tcp://<ip>:<port>` or `unix:<path>`, e.g. `tcp://0.0.0.0:8444`"
            )
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound listener. A Unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Binds `address`. For a Unix socket, a file that a dead process left there is removed first.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        let bound = match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Kind::Tcp),
            Address::Unix(path) => bind_unix(path).await.map(|listener| Kind::Unix(listener, path.clone())),
        };
        bound.map(Self).map_err(|error| io::Error::new(error.kind(), format!("cannot listen on `{address}`: {error}")))
    }

    /// Where it listens, with the port that was taken.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<Address> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Kind::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// The next connection; `None` where accepting failed, after a moment (out of file descriptors, mostly).
    pub(super) async fn accept(&self) -> Option<Socket> {
        let accepted = match &self.0 {
            Kind::Tcp(listener) => listener.accept().await.and_then(|(stream, _)| prepare_tcp(stream)),
            Kind::Unix(listener, _) => listener.accept().await.and_then(|(stream, _)| prepare_unix(stream)),
        };
        match accepted {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "accepting an agent failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    if path.exists() && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

fn prepare_tcp(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
    Ok(Socket::Tcp(stream))
}

fn prepare_unix(stream: UnixStream) -> io::Result<Socket> {
    SockRef::from(&stream).set_send_buffer_size(UNSENT as usize)?;
    Ok(Socket::Unix(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_from_its_text() {
        for text in ["tcp://127.0.0.1:8444", "tcp://[::1]:0", "unix:/run/link.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("127.0.0.1:8444".parse::<Address>().unwrap_err().contains("expected `tcp://<ip>:<port>`"));
    }

    #[tokio::test]
    async fn a_socket_file_left_by_a_dead_process_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("link.sock"));
        let first = Listener::bind(&address).await.unwrap();
        assert!(Listener::bind(&address).await.unwrap_err().to_string().contains("cannot listen on"));
        drop(first);
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("link.sock")).unwrap());
        Listener::bind(&address).await.unwrap();
    }
}
