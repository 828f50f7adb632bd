//! How far the log was replayed.

use std::collections::BTreeMap;
use std::fmt;

use burgrave_types::claims::HexBytes;
use serde::{Deserialize, Serialize};

use super::{Entry, PCR};
use crate::eventlog::Quoted;
use crate::tpm::Hash;

/// How far an instance's run-time log was replayed: a few hundred bytes, to be kept for the instance and given back with its
/// next evidence. It says nothing to anybody else, and losing it costs no more than the log from its start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaState {
    /// The boot: the TPM's reset count.
    reset_count: u32,
    /// Bytes of the log.
    offset: u64,
    /// Entries of the log.
    entries: u64,
    /// Those of them that only a kernel writes which measures files.
    files: u64,
    /// What the entries were appraised under.
    appraised_under: HexBytes,
    /// PCR 10 by bank.
    values: BTreeMap<String, Values>,
}

/// PCR 10 as newer and as older kernels extend it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    /// By digests of the bank's own algorithm (since Linux 5.8).
    own: HexBytes,
    /// By SHA-1 digests, filled up with zeros.
    sha1: HexBytes,
}

/// Where a replay stands to the quoted value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It gave it at some entry in every bank, in one at least by digests of the bank's own algorithm.
    Reached {
        /// Entries of files before that one. What stands behind it this quote says nothing of.
        files: u64,
    },
    /// It gave it by SHA-1 digests alone, which prove nothing.
    ReachedBySha1,
    /// It gave another.
    Apart,
}

impl ImaState {
    /// Nothing was replayed.
    pub(super) fn new(reset_count: u32, appraised_under: [u8; 32], banks: impl IntoIterator<Item = Hash>) -> Self {
        let zeros = |bank: Hash| HexBytes(vec![0; bank.length()]);
        let values = |bank: Hash| (bank.as_str().to_owned(), Values { own: zeros(bank), sha1: zeros(bank) });
        Self {
            reset_count,
            offset: 0,
            entries: 0,
            files: 0,
            appraised_under: appraised_under.as_slice().into(),
            values: banks.into_iter().map(values).collect(),
        }
    }

    /// Bytes of the log that were replayed: `ima.offset` of the next piece.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Entries of the log that were replayed.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether a piece from `offset` goes on from here: of the same boot, under the same allowed sets, in the same banks.
    pub(super) fn continues(
        &self,
        offset: u64,
        reset_count: u32,
        appraised_under: [u8; 32],
        quoted: &[&Quoted],
    ) -> bool {
        let knows = |quoted: &&Quoted| {
            let values = self.values.get(quoted.bank.as_str());
            values.is_some_and(|values| {
                values.own.0.len() == quoted.bank.length() && values.sha1.0.len() == values.own.0.len()
            })
        };
        (self.offset, self.reset_count) == (offset, reset_count)
            && self.appraised_under.as_bytes() == appraised_under
            && quoted.iter().all(knows)
    }

    /// Goes over `entries`, a piece of `length` bytes.
    ///
    /// # Errors
    /// What is wrong with an entry: it is of another PCR, or its SHA-1 digest, which the replay in other banks does not cover,
    /// is not that of its data.
    pub(super) fn replay(
        &mut self,
        entries: &[Entry<'_>],
        length: usize,
        quoted: &[&Quoted],
    ) -> Result<Standing, String> {
        let banks: BTreeMap<Hash, Option<&HexBytes>> = self
            .values
            .keys()
            .filter_map(|name| Hash::from_name(name))
            .map(|bank| (bank, quoted.iter().find(|quoted| quoted.bank == bank).map(|quoted| &quoted.value)))
            .collect();
        // By bank, and with how many files before it.
        let (mut by_own, mut by_sha1) = (BTreeMap::new(), BTreeMap::new());
        let mut look = |bank: Hash, values: &Values, files: u64| {
            let quoted = banks.get(&bank).copied().flatten();
            if quoted == Some(&values.own) {
                by_own.entry(bank).or_insert(files);
            }
            if quoted == Some(&values.sha1) {
                by_sha1.entry(bank).or_insert(files);
            }
        };
        for (bank, values) in banks.keys().filter_map(|bank| Some((*bank, self.values.get(bank.as_str())?))) {
            look(bank, values, self.files);
        }
        for entry in entries {
            let number = self.entries;
            if entry.pcr != PCR {
                return Err(format!("entry {number}, of PCR {}", entry.pcr));
            }
            let is_violation = entry.is_violation();
            if !is_violation && entry.digest(Hash::Sha1) != entry.sha1 {
                return Err(format!("entry {number}, whose SHA-1 digest is not that of its data"));
            }
            if entry.is_of_file() {
                self.files = self.files.saturating_add(1);
            }
            for bank in banks.keys() {
                let Some(values) = self.values.get_mut(bank.as_str()) else { continue };
                let (own, sha1) = if is_violation {
                    (vec![0xff; bank.length()], vec![0xff; bank.length()])
                } else {
                    let mut padded = entry.sha1.to_vec();
                    padded.resize(bank.length(), 0);
                    (entry.digest(*bank), padded)
                };
                values.own = HexBytes(bank.digest(&[values.own.0.as_slice(), &own].concat()));
                values.sha1 = HexBytes(bank.digest(&[values.sha1.0.as_slice(), &sha1].concat()));
                look(*bank, values, self.files);
            }
            self.entries = number.saturating_add(1);
        }
        self.offset = self.offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        // Into a bank whose algorithm it lacks, a kernel writes padded SHA-1 digests: then another bank must prove the log.
        let is_met = |bank: &Hash| by_own.contains_key(bank) || by_sha1.contains_key(bank);
        if !quoted.iter().all(|quoted| is_met(&quoted.bank)) {
            return Ok(Standing::Apart);
        }
        Ok(by_own.into_values().min().map_or(Standing::ReachedBySha1, |files| Standing::Reached { files }))
    }
}

impl fmt::Display for ImaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log up to byte {} ({} entries) of boot {}", self.offset, self.entries, self.reset_count)
    }
}
