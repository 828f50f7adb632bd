//! A folder that an operator fills: the only source that an air-gapped node needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::piece;
use crate::{MOST, Source};

/// Files that are looked at, and folders deep.
const FILES: usize = 8192;
const DEPTH: usize = 4;

/// A folder of collateral. Files count by what they hold, whatever their names (those that begin with a dot are passed over); folders
/// in it are looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory(PathBuf);

/// What stands in a folder.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) files: Vec<Vec<u8>>,
    /// What could not be read, or is no collateral.
    pub(crate) problems: Vec<String>,
    /// Path, length and time of change of everything that was seen: the same again means that nothing has changed.
    pub(crate) seen: Vec<(PathBuf, u64, u128)>,
}

impl Directory {
    /// The folder `path`, which may come into being later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn source(&self) -> Source {
        Source::Directory(self.0.clone())
    }

    /// What is there, without reading any file.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn list(&self) -> std::io::Result<Content> {
        let mut content = Content::default();
        list(&self.0, DEPTH, &mut content)?;
        content.seen.sort_unstable();
        Ok(content)
    }

    /// Reads what was listed.
    pub(crate) fn read(&self, mut content: Content) -> Content {
        for (path, length, _) in &content.seen {
            let shown = path.strip_prefix(&self.0).unwrap_or(path).display();
            if *length > MOST as u64 {
                content.problems.push(format!("`{shown}` has {length} bytes, more than the {MOST} that are looked at"));
                continue;
            }
            match fs::read(path) {
                Ok(bytes) if piece::read(&bytes).is_some() => content.files.push(bytes),
                Ok(_) => content.problems.push(format!("`{shown}` is no collateral; docs/collateral.md says what is")),
                Err(error) => content.problems.push(format!("`{shown}` cannot be read: {error}")),
            }
        }
        content
    }
}

fn list(folder: &Path, depth: usize, content: &mut Content) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Files that are being written hide.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => {
                content.problems.push(format!("`{}` cannot be read: {error}", path.display()));
                continue;
            }
        };
        if metadata.is_dir() && depth > 0 {
            list(&path, depth - 1, content)?;
        } else if metadata.is_file() {
            if content.seen.len() >= FILES {
                content.problems.push(format!("more than {FILES} files: the others are not looked at"));
                return Ok(());
            }
            let changed = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            content.seen.push((path, metadata.len(), changed.map_or(0, |since| since.as_nanos())));
        }
    }
    Ok(())
}
