//! A file's lines from the last to the first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 * 1024;

/// Reads lines backwards.
pub(super) struct ReverseLines<'a> {
    file: &'a File,
    /// Where `held` begins in the file.
    start: u64,
    /// Bytes read but not given yet; they end with a line's end.
    held: Vec<u8>,
}

impl<'a> ReverseLines<'a> {
    /// The lines in the first `length` bytes, which end with a line's end.
    pub(super) fn new(file: &'a File, length: u64) -> Self {
        Self { file, start: length, held: Vec::new() }
    }

    /// The line before the one given last, without its end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((_, body)) = self.held.split_last() {
                let line_start = body.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
                if let Some(at) = line_start.or((self.start == 0).then_some(0)) {
                    let mut line = self.held.split_off(at);
                    line.pop();
                    return Ok(Some(line));
                }
            } else if self.start == 0 {
                return Ok(None);
            }
            let mut block = block_before(self.file, self.start)?;
            self.start -= block.len() as u64;
            block.append(&mut self.held);
            self.held = block;
        }
    }
}

/// How many of the first `length` bytes are whole lines.
pub(super) fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let block = block_before(file, end)?;
        let start = end - block.len() as u64;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn block_before(file: &File, end: u64) -> io::Result<Vec<u8>> {
    let size = end.min(BLOCK);
    let mut block = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut block, end - size)?;
    Ok(block)
}
