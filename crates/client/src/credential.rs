//! How a client shows who it is.

use std::path::Path;

use burgrave_identity::{CertificateDer, IdentityKey};
use burgrave_types::{Problem, ProblemCode, Secret};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// What a client logs in with.
pub enum Credential {
    /// Nothing: enough to read the domain's identity.
    None,
    /// A bearer token (a `dev` node's).
    Token(Secret<String>),
    /// A client certificate, leaf first, and its key.
    Certificate {
        /// The chain.
        chain: Vec<CertificateDer<'static>>,
        /// The leaf's key.
        key: Box<IdentityKey>,
    },
}

impl Credential {
    /// Reads a token from a file that only its owner can read.
    ///
    /// # Errors
    /// `auth.required` where the file cannot be read, is open to others, or is empty.
    pub fn token_file(path: &Path) -> Result<Self, Problem> {
        let text = Secret::new(private_file(path)?);
        let token = std::str::from_utf8(text.expose()).map_err(|_| bad(path, "it is not text"))?.trim();
        if token.is_empty() {
            return Err(bad(path, "it is empty"));
        }
        Ok(Self::Token(Secret::new(token.to_owned())))
    }

    /// Reads a certificate chain and its PKCS#8 key, both PEM; the key file must be its owner's alone.
    ///
    /// # Errors
    /// `auth.required` where a file cannot be read or does not hold what it should.
    pub fn certificate_files(chain: &Path, key: &Path) -> Result<Self, Problem> {
        let pem = std::fs::read(chain).map_err(|error| bad(chain, &error.to_string()))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|_| bad(chain, "it does not hold certificates in PEM"))?;
        if certificates.is_empty() {
            return Err(bad(chain, "it holds no certificate"));
        }
        let pem = Secret::new(private_file(key)?);
        let pkcs8 =
            PrivatePkcs8KeyDer::from_pem_slice(pem.expose()).map_err(|_| bad(key, "it holds no PKCS#8 key in PEM"))?;
        let pkcs8 = Secret::new(pkcs8.secret_pkcs8_der().to_vec());
        let identity = IdentityKey::from_pkcs8(&pkcs8).map_err(|_| bad(key, "its key is not on P-256"))?;
        Ok(Self::Certificate { chain: certificates, key: Box::new(identity) })
    }
}

/// Reads a file that nobody but its owner may read.
fn private_file(path: &Path) -> Result<Vec<u8>, Problem> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| bad(path, &error.to_string()))?;
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(Problem::new(
            ProblemCode::Unauthenticated,
            format!("`{}` can be read by others (mode {mode:o})", path.display()),
        )
        .with_fix(format!("chmod 600 {}", path.display())));
    }
    std::fs::read(path).map_err(|error| bad(path, &error.to_string()))
}

fn bad(path: &Path, why: &str) -> Problem {
    Problem::new(ProblemCode::Unauthenticated, format!("cannot log in with `{}`: {why}", path.display()))
        .with_fix("name another file, or choose another context with `burgrave context use`")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "bgt_abc\n").unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let problem = Credential::token_file(file.path()).err().unwrap();
        assert!(problem.to_string().contains("mode 644") && problem.to_string().contains("chmod 600"), "{problem}");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            matches!(Credential::token_file(file.path()), Ok(Credential::Token(token)) if token.expose() == "bgt_abc")
        );
    }

    #[test]
    fn an_empty_token_is_no_credential() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Credential::token_file(file.path()).is_err());
    }
}
