//! Entries of the log, as `binary_runtime_measurements` has them, in the byte order of all machines that there are TEEs for.

use crate::reader::Reader;
use crate::tpm::Hash;
use crate::{Cause, FileDigest};

/// The name in the first entry: the digest of the boot's PCRs.
pub(super) const AGGREGATE: &str = "boot_aggregate";
/// The template that has a SHA-1 digest and no length in front of its data.
const OLD_TEMPLATE: &[u8] = b"ima";
/// The template of what is not a file: a command line, kernel data.
const BUFFER: &[u8] = b"ima-buf";
/// Bytes of the name that the old template hashes, filled up with zeros (`IMA_EVENT_NAME_LEN_MAX` + 1).
const OLD_NAME: usize = 256;
/// The longest name of a template.
const MOST_NAME: u32 = 64;
/// The longest data of an entry: a path, digests and signatures.
const MOST_DATA: u32 = 64 * 1024;
/// Characters of a path that are shown.
const MOST_SHOWN: usize = 200;

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'a> {
    pub(super) pcr: u32,
    /// The SHA-1 digest of its data; zeros mark a violation.
    pub(super) sha1: &'a [u8; 20],
    template: &'a [u8],
    data: &'a [u8],
}

/// What an entry says of a file.
pub(super) struct File<'a> {
    pub(super) name: String,
    /// Absent for an algorithm that proves nothing.
    pub(super) digest: Option<FileDigest>,
    /// The extended attribute with a signature; empty where there is none.
    pub(super) signature: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads whole entries, with nothing after them.
    pub(super) fn read_all(bytes: &'a [u8], most: usize) -> Result<Vec<Self>, (Cause, String)> {
        if bytes.len() > most {
            return Err((Cause::FormatLength, format!("{} bytes", bytes.len())));
        }
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while !reader.rest().is_empty() {
            let entry = Self::read(&mut reader);
            entries.push(entry.ok_or_else(|| {
                (Cause::FormatMalformed, format!("entry {} of the piece, which cannot be read", entries.len()))
            })?);
        }
        Ok(entries)
    }

    /// Cuts a log into pieces of whole entries, of `most` bytes at most. What cannot be read stays in the last piece.
    pub(super) fn cut(bytes: &'a [u8], most: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let (mut rest, mut reader) = (bytes, Reader::new(bytes));
        let mut end = 0;
        while Self::read(&mut reader).is_some() {
            let next = rest.len() - reader.rest().len();
            if next > most && end > 0 {
                let (piece, after) = rest.split_at(end);
                pieces.push(piece);
                rest = after;
            }
            end = rest.len() - reader.rest().len();
        }
        pieces.push(rest);
        pieces
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let pcr = reader.u32_le()?;
        let sha1 = reader.array_ref()?;
        let template = reader.u32_le().filter(|length| *length <= MOST_NAME).and_then(|length| take(reader, length))?;
        let data = if template == OLD_TEMPLATE {
            // A digest without its length, a name behind its own.
            let start = reader.rest();
            reader.take(20)?;
            reader.u32_le().filter(|length| usize::try_from(*length).is_ok_and(|length| length < OLD_NAME)).and_then(
                |length| {
                    take(reader, length)?;
                    start.get(..24 + usize::try_from(length).ok()?)
                },
            )?
        } else {
            reader.u32_le().filter(|length| *length <= MOST_DATA).and_then(|length| take(reader, length))?
        };
        Some(Self { pcr, sha1, template, data })
    }

    /// Whether the file was changed, or open for change, while it was measured: PCRs are extended with ones, and nothing covers
    /// what the entry says of the file.
    pub(super) fn is_violation(&self) -> bool {
        *self.sha1 == [0; 20]
    }

    /// Whether only a kernel that measures files writes such an entry: it is neither of the boot (`boot_aggregate`) nor of a buffer
    /// (`ima_policy=critical_data` measures those alone).
    pub(super) fn is_of_file(&self) -> bool {
        let names_file = |file: File<'_>| file.name != AGGREGATE && self.template != BUFFER;
        self.is_violation() || self.file().is_some_and(names_file)
    }

    /// The digest over its data, as the kernel computes it for a bank.
    pub(super) fn digest(&self, bank: Hash) -> Vec<u8> {
        match self.data.split_at_checked(20) {
            Some((digest, name)) if self.template == OLD_TEMPLATE => {
                let name = name.get(4..).unwrap_or_default();
                let mut padded = [digest, name].concat();
                padded.resize(20 + OLD_NAME, 0);
                bank.digest(&padded)
            }
            _ => bank.digest(self.data),
        }
    }

    /// What it says of a file, for the templates that are known: `ima-ng`, `ima-sig`, `ima-modsig`, `ima-buf`, and their second
    /// versions.
    pub(super) fn file(&self) -> Option<File<'a>> {
        let fields = self.fields()?;
        let ([digest, name], others) = fields.split_first_chunk()?;
        let signature = match (self.template, others) {
            (b"ima-ng" | b"ima-ngv2", []) | (BUFFER, [_]) => &[],
            (b"ima-sig" | b"ima-sigv2", [signature]) | (b"ima-modsig", [signature, _, _]) => *signature,
            _ => return None,
        };
        let end = digest.iter().position(|byte| *byte == 0)?;
        let (algorithm, digest) = digest.split_at_checked(end)?;
        let digest = digest.get(1..)?;
        let algorithm = std::str::from_utf8(algorithm).ok()?.strip_suffix(':')?;
        // The second versions say what kind of digest it is; one of fs-verity is not that of a file's content.
        let algorithm = match self.template {
            b"ima-ngv2" | b"ima-sigv2" => algorithm.strip_prefix("ima:")?,
            _ => algorithm,
        };
        let digest = Hash::from_name(algorithm).and_then(|hash| FileDigest::new(hash, digest));
        let name = name.strip_suffix(&[0])?;
        Some(File { name: String::from_utf8_lossy(name).into_owned(), digest, signature })
    }

    /// For people: the path and the digest, or what is wrong with it.
    pub(super) fn describe(&self) -> String {
        let file = self.file();
        let name: String = file.as_ref().map_or("?", |file| &file.name).escape_debug().take(MOST_SHOWN).collect();
        match file {
            _ if self.is_violation() => format!("`{name}`, changed while it was measured"),
            Some(File { digest: Some(digest), .. }) => format!("`{name}`, {digest}"),
            Some(_) => format!("`{name}`, with a digest that proves nothing"),
            None => {
                format!("of template `{}`, which is not known", String::from_utf8_lossy(self.template).escape_debug())
            }
        }
    }

    /// The template's fields, each behind its length.
    fn fields(&self) -> Option<Vec<&'a [u8]>> {
        let mut reader = Reader::new(self.data);
        let mut fields = Vec::new();
        while !reader.rest().is_empty() {
            let length = reader.u32_le()?;
            fields.push(take(&mut reader, length)?);
        }
        Some(fields)
    }
}

fn take<'a>(reader: &mut Reader<'a>, length: u32) -> Option<&'a [u8]> {
    reader.take(usize::try_from(length).ok()?)
}
