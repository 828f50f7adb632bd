//! Where things stand in a node's data folder, and how secret files are written.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burgrave_identity::CertificateDer;
use burgrave_types::Secret;
use der::pem::LineEnding;

/// A node's data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The folder `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The software token; its key file, where it has one, is beside it.
    pub fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// The ledger's store.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.redb")
    }

    /// The audit log.
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    /// Vendors' collateral that services gave, for the next start.
    pub fn collateral(&self) -> PathBuf {
        self.0.join("collateral")
    }

    /// The issuing CA's certificate, PEM, which carries the domain's trust chain.
    pub fn ca_certificate(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// Makes the folder with its parents, 0700.
    pub(crate) fn create(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.with_context(|| format!("the data folder `{}` cannot be made", self.0.display()))
    }

    /// Refuses a folder that others can enter.
    pub(crate) fn check(&self) -> Result<()> {
        let shown = self.0.display();
        let metadata = fs::metadata(&self.0).with_context(|| format!("the data folder `{shown}` cannot be read"))?;
        if metadata.mode() & 0o077 != 0 {
            bail!(
                "the data folder `{shown}` is open to others (mode {:o}); chmod 700 {shown}",
                metadata.mode() & 0o777
            );
        }
        Ok(())
    }
}

/// Writes a new file for its owner alone (0600); one that is there already is an error.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("`{}` cannot be written", path.display()))
}

/// Reads a text that its owner alone can read.
pub(crate) fn read_private(path: &Path) -> Result<Secret<String>> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("`{shown}` cannot be read"))?;
    if metadata.mode() & 0o077 != 0 {
        bail!("`{shown}` can be read by others (mode {:o}); chmod 600 {shown}", metadata.mode() & 0o777);
    }
    fs::read_to_string(path).map(Secret::new).with_context(|| format!("`{shown}` cannot be read"))
}

/// Certificates in PEM (RFC 7468), in their order.
pub(crate) fn certificates_pem(chain: &[CertificateDer<'_>]) -> Result<String> {
    let encode = |certificate: &CertificateDer<'_>| der::pem::encode_string("CERTIFICATE", LineEnding::LF, certificate);
    chain.iter().map(encode).collect::<Result<String, _>>().context("a certificate cannot be written as PEM")
}

/// A PKCS#8 key in PEM (RFC 7468).
pub(crate) fn key_pem(pkcs8: &Secret<Vec<u8>>) -> Result<Secret<String>> {
    let pem = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, pkcs8.expose());
    pem.map(Secret::new).context("a key cannot be written as PEM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_its_owners_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        write_new(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(write_new(&path, b"two").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_data_folder_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(format!("{}", data.check().unwrap_err()).contains("chmod 700"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        data.check().unwrap();
    }
}
