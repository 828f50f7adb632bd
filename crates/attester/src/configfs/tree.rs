//! The four things that are done to configfs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::files::{self, TooLong};

/// Configfs, or a test's stand-in.
pub(super) trait Tree: Send + std::fmt::Debug {
    /// Makes a directory; its attributes come with it.
    fn make(&self, dir: &Path) -> io::Result<()>;

    /// Reads an attribute, or says that it is longer than `limit` bytes.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Result<Vec<u8>, TooLong>>;

    /// Writes an attribute; it takes effect when the file is closed.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Removes a directory; its attributes go with it.
    fn remove(&self, dir: &Path) -> io::Result<()>;
}

/// The kernel's.
#[derive(Debug)]
pub(super) struct Kernel;

impl Tree for Kernel {
    fn make(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Result<Vec<u8>, TooLong>> {
        files::read(path, limit)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(bytes)
    }

    fn remove(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }
}
