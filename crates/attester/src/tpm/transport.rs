//! The way to the TPM: whole commands there, whole answers back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::AttesterError;

/// The longest answer that is taken; TPMs have 4096 bytes (PC Client Platform TPM Profile, TPM_PT_MAX_RESPONSE_SIZE).
const MAX_RESPONSE: usize = 4096;

/// The header of an answer: tag, length, code.
const HEADER: usize = 10;

/// How long a TPM behind a socket may think; making an RSA key takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the TPM is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A character device, best the kernel's resource manager `/dev/tpmrm0`.
    Device(PathBuf),
    /// A Unix socket with plain TPM commands, as `swtpm socket --server type=unixio` opens it.
    UnixSocket(PathBuf),
    /// A TCP address with plain TPM commands, as `swtpm socket --server type=tcp` opens it. Nothing protects it: for tests.
    Tcp(SocketAddr),
}

impl Transport {
    pub(crate) fn connect(&self) -> Result<Connection, AttesterError> {
        let stream = match self {
            Self::Device(path) => OpenOptions::new().read(true).write(true).open(path).map(Stream::Device),
            Self::UnixSocket(path) => UnixStream::connect(path)
                .and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| Stream::Unix(stream))),
            Self::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE)
                .and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| Stream::Tcp(stream))),
        };
        let at = self.to_string();
        match stream {
            Ok(stream) => Ok(Connection { stream, at }),
            Err(source) => Err(AttesterError::Connect { at, source }),
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(path) | Self::UnixSocket(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An open way to the TPM; one command at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    at: String,
}

#[derive(Debug)]
enum Stream {
    Device(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    /// Sends a command and waits for its answer. `name` is for errors.
    pub(super) fn exchange(&mut self, name: &'static str, command: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let response = match &mut self.stream {
            Stream::Device(file) => exchange_with_device(file, command),
            Stream::Unix(stream) => exchange_with_socket(stream, command),
            Stream::Tcp(stream) => exchange_with_socket(stream, command),
        };
        response.map_err(|source| AttesterError::Io { at: self.at.clone(), command: name, source })
    }
}

/// The kernel takes a command in one write and gives the answer in one read.
fn exchange_with_device(device: &mut File, command: &[u8]) -> io::Result<Vec<u8>> {
    device.write_all(command)?;
    let mut response = vec![0; MAX_RESPONSE];
    let length = device.read(&mut response)?;
    response.truncate(length);
    Ok(response)
}

fn exchange_with_socket(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(command)?;
    let mut response = vec![0; HEADER];
    stream.read_exact(&mut response)?;
    let length = response.get(2..6).and_then(|field| field.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
    if !(HEADER..=MAX_RESPONSE).contains(&length) {
        let why = format!("the answer says that it has {length} bytes; expected {HEADER} to {MAX_RESPONSE}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    response.resize(length, 0);
    if let Some(body) = response.get_mut(HEADER..) {
        stream.read_exact(body)?;
    }
    Ok(response)
}
