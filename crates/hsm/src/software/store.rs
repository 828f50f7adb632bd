//! The token's file on disk: who may read it, who has it open, and how it is replaced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, rand};
use burgrave_types::{DomainClass, Secret};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::error::FileFault;
use crate::file::{self, Entry, Header, OpenFault, TokenFile, UnlockKind};
use crate::passphrase::refuse_if_reachable;
use crate::{Argon2Cost, TokenError, TokenSerial, Unlock};

/// An open token file: the only one to write it as long as this lives.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    header: Header,
    unlock_key: Secret<[u8; 32]>,
    /// SHA-256 of the file as it was read or written last.
    written: [u8; 32],
    _lock: File,
}

impl Store {
    /// Makes a file without entries.
    pub(super) fn create(
        path: &Path,
        class: DomainClass,
        unlock: &Unlock,
        cost: Argon2Cost,
    ) -> Result<Self, TokenError> {
        let lock = lock(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(TokenError::Exists(path.into()));
        }
        let serial = TokenSerial(random()?);
        let (unlock, unlock_key) = match unlock {
            Unlock::Passphrase(passphrase) => {
                let salt = random()?;
                (UnlockKind::Passphrase { cost, salt }, cost.stretch(passphrase, &salt)?)
            }
            Unlock::KeyFile if class == DomainClass::Production => return Err(TokenError::KeyFileInProduction),
            Unlock::KeyFile => (UnlockKind::KeyFile, create_key_file(path)?),
        };
        let header = Header { serial, class, unlock };
        let mut store = Self { path: path.into(), header, unlock_key, written: [0; 32], _lock: lock };
        store.write(&[])?;
        Ok(store)
    }

    /// Opens a file and gives its entries.
    pub(super) fn open(path: &Path, unlock: &Unlock) -> Result<(Self, Vec<Entry>), TokenError> {
        let lock = lock(path)?;
        let (file, written) = read(path)?;
        let unlock_key = match (&file.header.unlock, unlock) {
            (UnlockKind::Passphrase { cost, salt }, Unlock::Passphrase(passphrase)) => {
                cost.stretch(passphrase, salt)?
            }
            (UnlockKind::KeyFile, Unlock::KeyFile) if file.header.class == DomainClass::Production => {
                return Err(TokenError::KeyFileInProduction);
            }
            (UnlockKind::KeyFile, Unlock::KeyFile) => read_key_file(path)?,
            (UnlockKind::Passphrase { .. }, Unlock::KeyFile) => return Err(other_unlock(path, "passphrase", unlock)),
            (UnlockKind::KeyFile, Unlock::Passphrase(_)) => return Err(other_unlock(path, "key file", unlock)),
        };
        let entries = open_file(path, &file, &unlock_key, unlock.name())?;
        Ok((Self { path: path.into(), header: file.header, unlock_key, written, _lock: lock }, entries))
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn damaged(&self, fault: FileFault) -> TokenError {
        TokenError::Damaged { path: self.path.clone(), fault }
    }

    /// Replaces the file's entries: when this returns they are on disk, when it fails (or the machine does) the old
    /// ones are.
    pub(super) fn write(&mut self, entries: &[Entry]) -> Result<(), TokenError> {
        let bytes = TokenFile::seal(self.header.clone(), &self.unlock_key, entries)?.encode();
        if bytes.len() as u64 > file::MAX_BYTES {
            return Err(TokenError::Full(self.path.clone()));
        }
        let next = with_suffix(&self.path, ".new");
        // What a killed writer left behind; nobody else writes it, for the lock is ours.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &next)(error)),
            _ => {}
        }
        write_new(&next, &bytes)?;
        fs::rename(&next, &self.path).map_err(io_error("replace", &self.path))?;
        self.written = sha256(&bytes);
        sync_directory(&self.path)
    }

    /// Reads the file again and opens it: shows that it is there, unchanged, and that the key in memory still fits.
    pub(super) fn check(&self) -> Result<(), TokenError> {
        let (file, found) = read(&self.path)?;
        if found != self.written {
            return Err(TokenError::Replaced(self.path.clone()));
        }
        open_file(&self.path, &file, &self.unlock_key, "key in memory").map(|_| ())
    }
}

/// Takes the lock on `<token>.lock`; the token itself is replaced at each write, so a lock on it would not last.
fn lock(path: &Path) -> Result<File, TokenError> {
    let lock = with_suffix(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(io_error("open", &lock))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TokenError::InUse(path.into())),
        Err(error) => Err(io_error("lock", &lock)(error.into())),
    }
}

/// The file, decoded, and the SHA-256 of its bytes.
fn read(path: &Path) -> Result<(TokenFile, [u8; 32]), TokenError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    refuse_if_reachable(&file, path)?;
    let mut bytes = Vec::new();
    file.take(file::MAX_BYTES).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    let file = TokenFile::decode(&bytes).map_err(|fault| TokenError::Damaged { path: path.into(), fault })?;
    Ok((file, sha256(&bytes)))
}

fn open_file(
    path: &Path,
    file: &TokenFile,
    unlock_key: &Secret<[u8; 32]>,
    unlock: &'static str,
) -> Result<Vec<Entry>, TokenError> {
    file.open(unlock_key).map_err(|fault| match fault {
        OpenFault::WrongKey => TokenError::WrongUnlock { path: path.into(), unlock },
        OpenFault::Damaged(fault) => TokenError::Damaged { path: path.into(), fault },
    })
}

fn create_key_file(token: &Path) -> Result<Secret<[u8; 32]>, TokenError> {
    let path = with_suffix(token, ".key");
    let key = Secret::new(random()?);
    write_new(&path, key.expose())?;
    sync_directory(&path)?;
    Ok(key)
}

fn read_key_file(token: &Path) -> Result<Secret<[u8; 32]>, TokenError> {
    let path = with_suffix(token, ".key");
    let mut file = File::open(&path).map_err(io_error("open the key file", &path))?;
    refuse_if_reachable(&file, &path)?;
    let mut key = Zeroizing::new([0; 32]);
    file.read_exact(&mut *key).map_err(io_error("read the key file", &path))?;
    Ok(Secret::new(*key))
}

/// Writes a file that was not there, readable by its owner alone, down to the disk.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), TokenError> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            TokenError::Exists(path.into())
        } else {
            io_error("create", path)(error)
        }
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", path))
}

fn sync_directory(path: &Path) -> Result<(), TokenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|file| file.sync_all()).map_err(io_error("sync the directory", directory))
}

fn other_unlock(path: &Path, expected: &'static str, given: &Unlock) -> TokenError {
    TokenError::OtherUnlock { path: path.into(), expected, given: given.name() }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TokenError + use<> {
    let path = path.to_owned();
    move |source| TokenError::Io { action, path, source }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| TokenError::Crypto("create"))?;
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}
