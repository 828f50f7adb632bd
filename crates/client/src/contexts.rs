//! The servers that a person works with, and how to log in to each: a file of theirs alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use burgrave_types::{GenesisHash, Problem, ProblemCode};
use serde::{Deserialize, Serialize};

use crate::{Client, Credential, Server};

/// One server and how to log in to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `https://<host>:<port>`.
    pub server: String,
    /// The genesis hash that it must prove.
    pub genesis: GenesisHash,
    /// A file that holds a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A client certificate chain, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key, PKCS#8 PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Context {
    /// A client of this server.
    ///
    /// # Errors
    /// `request.invalid` for a bad address, `auth.required` where the credential cannot be read.
    pub fn client(&self) -> Result<Client, Problem> {
        let server = Server { url: self.server.parse()?, genesis: self.genesis };
        Client::new(server, self.credential()?)
    }

    fn credential(&self) -> Result<Credential, Problem> {
        match (&self.token_file, &self.certificate, &self.key) {
            (None, None, None) => Ok(Credential::None),
            (Some(token), None, None) => Credential::token_file(token),
            (None, Some(chain), Some(key)) => Credential::certificate_files(chain, key),
            _ => Err(Problem::new(
                ProblemCode::RequestInvalid,
                "the context must have either `token_file`, or `certificate` and `key`, or none of them",
            )),
        }
    }
}

/// All contexts of a person, and which one is current.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The current one's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Where the file is: `BURGRAVE_CONFIG`, else `burgrave/contexts.toml` under `XDG_CONFIG_HOME` or `~/.config`.
    ///
    /// # Errors
    /// `request.invalid` where none of these is set.
    pub fn default_path() -> Result<PathBuf, Problem> {
        if let Some(path) = std::env::var_os("BURGRAVE_CONFIG") {
            return Ok(path.into());
        }
        let folder = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        folder.map(|folder| folder.join("burgrave/contexts.toml")).ok_or_else(|| {
            Problem::new(ProblemCode::RequestInvalid, "neither HOME nor XDG_CONFIG_HOME is set")
                .with_fix("set BURGRAVE_CONFIG to the file that shall hold the contexts")
        })
    }

    /// Reads the file; one that is not there is no context at all.
    ///
    /// # Errors
    /// `auth.required` where others may write or read it, `request.invalid` where it does not parse.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unusable(path, &error.to_string())),
        };
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(Problem::new(
                ProblemCode::Unauthenticated,
                format!("`{}` is open to others (mode {mode:o})", path.display()),
            )
            .with_fix(format!("chmod 600 {}", path.display())));
        }
        let text = fs::read_to_string(path).map_err(|error| unusable(path, &error.to_string()))?;
        toml::from_str(&text).map_err(|error| unusable(path, error.message()))
    }

    /// Writes the file anew, 0600, in one step: a crash leaves the old one.
    ///
    /// # Errors
    /// `request.invalid` where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Problem> {
        let text = toml::to_string_pretty(self).map_err(|error| unusable(path, &error.to_string()))?;
        let write = || -> std::io::Result<()> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let next = path.with_extension(format!("{}.new", std::process::id()));
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, path)
        };
        write().map_err(|error| unusable(path, &error.to_string()))
    }

    /// The context of that name, or the current one.
    ///
    /// # Errors
    /// `auth.required` where there is none, with what to do.
    pub fn select(&self, name: Option<&str>) -> Result<(&str, &Context), Problem> {
        let name = name.or(self.current.as_deref()).ok_or_else(|| {
            Problem::new(ProblemCode::Unauthenticated, "no context is chosen, so it is not known which node to ask")
                .with_fix(
                    "start a node for trying things out with `burgrave dev`, or choose one with `burgrave context use`",
                )
        })?;
        self.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context)).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Problem::new(ProblemCode::NotFound, format!("there is no context `{name}`; known: {known}"))
                .with_fix("list them with `burgrave context list`")
        })
    }
}

fn unusable(path: &Path, why: &str) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, format!("the contexts in `{}` cannot be used: {why}", path.display()))
        .with_fix("mend the file, or name another with BURGRAVE_CONFIG")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn contexts() -> Contexts {
        let context = Context {
            server: "https://127.0.0.1:8443".into(),
            genesis: GenesisHash::from_bytes([7; 32]),
            token_file: Some("/run/token".into()),
            certificate: None,
            key: None,
        };
        Contexts { current: Some("dev".into()), contexts: BTreeMap::from([("dev".into(), context)]) }
    }

    #[test]
    fn contexts_are_kept_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/contexts.toml");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        contexts().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Contexts::load(&path).unwrap(), contexts());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Contexts::load(&path).unwrap_err().code, ProblemCode::Unauthenticated);
    }

    #[test]
    fn a_missing_context_is_named_beside_those_that_are_there() {
        let problem = contexts().select(Some("prod")).unwrap_err();
        assert!(problem.to_string().contains("`prod`; known: dev"), "{problem}");
        assert!(Contexts::default().select(None).unwrap_err().to_string().contains("burgrave dev"));
        assert_eq!(contexts().select(None).unwrap().0, "dev");
    }

    #[test]
    fn a_context_with_half_a_credential_is_refused() {
        let mut context = contexts().contexts.remove("dev").unwrap();
        context.token_file = None;
        context.certificate = Some("/a".into());
        assert_eq!(context.client().err().unwrap().code, ProblemCode::RequestInvalid);
    }
}
