//! Files that a person names, read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use burgrave_types::Problem;
use burgrave_verifier::{Endorsements, files};

use super::unusable;

/// A file is never larger: 128 MiB, more than the run-time log of a machine that runs for years.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// The folder within one that tools put certificates into.
const CERTIFICATES: &str = "certs";

/// What endorses evidence, in files or folders.
pub(super) fn endorsements(paths: &[PathBuf]) -> Result<Endorsements, Problem> {
    let mut endorsements = Endorsements::default();
    for path in paths {
        // Other files may lie in a folder; one that is named must be what it is named for.
        let found = named_files(path)?.into_iter().flat_map(|(name, bytes)| files::endorsements(name, bytes));
        if found.filter(|bytes| endorsements.add(bytes)).count() == 0 {
            let shown = format!("`{}`", path.display());
            let why = "it holds neither a certificate nor a revocation list (DER or PEM), nor collateral of Intel's (`collateral.json`, \
                       or answers of its service), nor a table of certificates";
            return Err(unusable(&shown, why));
        }
    }
    Ok(endorsements)
}

/// A file under its name, or the files of a folder and of its `certs`.
pub(super) fn named_files(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    let shown = format!("`{}`", path.display());
    let broken = |error: std::io::Error| unusable(&shown, &error.to_string());
    let mut paths = Vec::new();
    if fs::metadata(path).map_err(broken)?.is_dir() {
        paths.extend(listed(path).map_err(broken)?);
        let certificates = path.join(CERTIFICATES);
        if certificates.is_dir() {
            paths.extend(listed(&certificates).map_err(broken)?);
        }
    } else {
        paths.push(path.to_owned());
    }
    let mut files = BTreeMap::new();
    for file in paths {
        let metadata = fs::metadata(&file).map_err(broken)?;
        if metadata.len() > MOST_BYTES {
            return Err(unusable(&shown, &format!("`{}` is larger than {MOST_BYTES} bytes", file.display())));
        }
        // What may only be written (configfs-tsm's `inblob`) holds nothing.
        if metadata.is_file() && metadata.permissions().mode() & 0o444 != 0 {
            let within = file.strip_prefix(path).ok().filter(|within| !within.as_os_str().is_empty());
            let name = within.or(file.file_name().map(Path::new)).unwrap_or(&file).to_string_lossy().into_owned();
            files.insert(name, fs::read(&file).map_err(broken)?);
        }
    }
    Ok(files)
}

fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}
