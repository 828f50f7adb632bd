//! A folder of the node's own, in which it finds after a restart what its services gave before: they may be away by then.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

/// What this module writes ends so; other files in the folder are left alone.
const SUFFIX: &str = ".collateral";

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    /// The digest of what stands in each file that was written.
    written: HashMap<String, [u8; 32]>,
}

impl Spool {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), written: HashMap::new() }
    }

    /// Makes the folder hold these files, and of its own no others. Each is replaced as a whole.
    ///
    /// # Errors
    /// A file cannot be written; those before it are.
    pub(crate) fn write(&mut self, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut current = HashMap::new();
        for (of, bytes) in files {
            let (name, content) = (name(of), sha256(bytes));
            if self.written.get(&name) != Some(&content) {
                let fresh = self.folder.join(format!(".{name}.new"));
                fs::write(&fresh, bytes)?;
                fs::rename(&fresh, self.folder.join(&name))?;
            }
            current.insert(name, content);
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(SUFFIX) && !current.contains_key(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        self.written = current;
        Ok(())
    }
}

fn name(of: &str) -> String {
    let digest = sha256(of.as_bytes());
    format!("{}{SUFFIX}", hex::encode(digest.get(..12).unwrap_or_default()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> (String, Vec<u8>) {
        (name.to_owned(), content.as_bytes().to_vec())
    }

    fn found(folder: &Path) -> Vec<String> {
        let mut found: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        found.sort();
        found
    }

    #[test]
    fn the_folder_holds_what_was_written_last_and_what_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("note.txt"), "mine").unwrap();
        let mut spool = Spool::new(folder.path());
        spool.write(&[file("one", "1"), file("two", "2")]).unwrap();
        assert_eq!(found(folder.path()), ["1", "2", "mine"]);
        spool.write(&[file("two", "3")]).unwrap();
        assert_eq!(found(folder.path()), ["3", "mine"]);
        // One that begins anew finds the files of the one before.
        Spool::new(folder.path()).write(&[file("three", "4")]).unwrap();
        assert_eq!(found(folder.path()), ["4", "mine"]);
    }
}
