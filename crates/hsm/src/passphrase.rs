//! What opens a software token: a passphrase and how it is stretched, or a key file.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use burgrave_types::Secret;
use zeroize::Zeroizing;

use crate::TokenError;

/// What opens a software token.
#[derive(Debug)]
pub enum Unlock {
    /// A passphrase, stretched with Argon2id.
    Passphrase(Secret<Vec<u8>>),
    /// 32 random bytes in the file `<token>.key` beside the token: for `dev` domains only.
    KeyFile,
}

impl Unlock {
    /// The passphrase from `source`, read now.
    ///
    /// # Errors
    /// [`TokenError::Io`], [`TokenError::Permissions`] for a file that others can read, [`TokenError::Passphrase`] for
    /// an empty one or one beyond 1024 bytes.
    pub fn passphrase(source: &PassphraseSource) -> Result<Self, TokenError> {
        source.read().map(Self::Passphrase)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Passphrase(_) => "passphrase",
            Self::KeyFile => "key file",
        }
    }
}

/// Where a passphrase comes from. Never an argument and never an environment variable: others can read those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassphraseSource {
    /// A file that its owner alone can read.
    File(PathBuf),
    /// A file descriptor that the process inherited, open for reading.
    Descriptor(u32),
}

impl PassphraseSource {
    const MAX_BYTES: usize = 1024;

    /// Reads it, without one newline at the end.
    fn read(&self) -> Result<Secret<Vec<u8>>, TokenError> {
        let path = self.path();
        let io = |source| TokenError::Io { action: "read the passphrase from", path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        if let Self::File(path) = self {
            refuse_if_reachable(&file, path)?;
        }
        // One allocation, so that no copy stays behind when it grows.
        let mut text = Zeroizing::new(Vec::with_capacity(Self::MAX_BYTES + 2));
        file.take(Self::MAX_BYTES as u64 + 2).read_to_end(&mut text).map_err(io)?;
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        let fault = |fault| Err(TokenError::Passphrase { source_name: self.to_string(), fault });
        match text.len() {
            0 => fault("is empty"),
            length if length > Self::MAX_BYTES => fault("is longer than 1024 bytes"),
            _ => Ok(Secret::new(std::mem::take(&mut *text))),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Descriptor(number) => PathBuf::from(format!("/proc/self/fd/{number}")),
        }
    }
}

impl fmt::Display for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Descriptor(number) => write!(f, "file descriptor {number}"),
        }
    }
}

/// Refuses a file whose mode lets anybody but its owner in.
pub(crate) fn refuse_if_reachable(file: &File, path: &Path) -> Result<(), TokenError> {
    let metadata = file.metadata().map_err(|source| TokenError::Io { action: "inspect", path: path.into(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(TokenError::Permissions { path: path.into(), mode }) }
}

/// What one guess at a passphrase costs (Argon2id, RFC 9106; one lane).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
}

impl Argon2Cost {
    /// 256 MiB, three passes: about 0.6 s of processor time.
    pub const DEFAULT: Self = Self { memory_kib: 256 * 1024, passes: 3 };

    /// Less than the default, for tests: what exceeds the default is cut to it.
    pub const fn reduced(memory_kib: u32, passes: u32) -> Self {
        let default = Self::DEFAULT;
        Self {
            memory_kib: if memory_kib < default.memory_kib { memory_kib } else { default.memory_kib },
            passes: if passes < default.passes { passes } else { default.passes },
        }
    }

    /// The 256-bit key that the passphrase stretches to.
    pub(crate) fn stretch(self, passphrase: &Secret<Vec<u8>>, salt: &[u8; 16]) -> Result<Secret<[u8; 32]>, TokenError> {
        let error =
            |fault: argon2::Error| TokenError::Stretch { memory_kib: self.memory_kib, reason: fault.to_string() };
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).map_err(error)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), salt, &mut *key)
            .map_err(error)?;
        Ok(Secret::new(*key))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    fn read(source: &PassphraseSource) -> Result<Vec<u8>, String> {
        source.read().map(|secret| secret.expose().clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_passphrase_is_read_from_a_file_without_one_newline_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        fs::write(&path, "two words \n\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&PassphraseSource::File(path)).unwrap(), b"two words \n");
    }

    #[test]
    fn a_passphrase_is_read_from_an_inherited_descriptor() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"secret\n").unwrap();
        drop(writer);
        let number = u32::try_from(reader.as_raw_fd()).unwrap();
        assert_eq!(read(&PassphraseSource::Descriptor(number)).unwrap(), b"secret");
    }

    #[test]
    fn a_passphrase_file_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = read(&PassphraseSource::File(path)).unwrap_err();
        assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_empty_and_an_endless_passphrase_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        for (text, expected) in [("\n".to_owned(), "is empty"), ("x".repeat(1025), "longer than 1024")] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = read(&PassphraseSource::File(path.clone())).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn cost_can_be_reduced_and_never_raised() {
        assert_eq!(Argon2Cost::reduced(u32::MAX, u32::MAX), Argon2Cost::DEFAULT);
        assert_eq!(Argon2Cost::reduced(64, 1), Argon2Cost { memory_kib: 64, passes: 1 });
    }
}
