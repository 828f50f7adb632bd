//! PCR values beside a quote, and whether it covers them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::Registers;
use burgrave_types::claims::HexBytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::eventlog::Quoted;

use super::structures::{Hash, Quote, Selection};
use crate::Text;
use crate::text::hex_text;

/// PCR values by bank and index. They are words of the evidence's maker until a quote's digest covers them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PcrValues(BTreeMap<Hash, BTreeMap<u8, HexBytes>>);

/// PCR values as they came, and what is known of them.
#[derive(Debug)]
pub(super) struct Values {
    bank: Option<Hash>,
    json: Vec<u8>,
    pub(super) values: PcrValues,
    /// What a quote that was verified covered of them.
    covered: Option<Covered>,
}

/// What a quote with these selections and that hash says of values that it covers.
#[derive(Debug)]
pub(super) struct Covered {
    selections: Vec<Selection>,
    hash: Hash,
    /// Values beside those that are quoted, for people.
    pub(super) unproven: Text,
    /// The digest of the quoted values.
    pub(super) digest: Vec<u8>,
    /// That, as the quote's and as the values', for people.
    pub(super) shown: [Text; 2],
    /// As [`PcrValues::registers`].
    pub(super) registers: Registers,
}

impl Values {
    /// As [`PcrValues::read`].
    pub(super) fn read(json: &[u8], bank: Option<Hash>) -> Option<Self> {
        Some(Self { bank, json: json.to_vec(), values: PcrValues::read(json, bank)?, covered: None })
    }

    /// Whether these were read from the same bytes.
    pub(super) fn are(&self, json: &[u8], bank: Option<Hash>) -> bool {
        self.bank == bank && self.json == json
    }

    pub(super) fn bytes(&self) -> usize {
        self.json.len()
    }

    /// What a quote covers of them, where that is known.
    pub(super) fn covered(&self, quote: &Quote, hash: Hash) -> Option<&Covered> {
        self.covered.as_ref().filter(|covered| covered.hash == hash && covered.selections == quote.selections)
    }

    /// What the quote that was verified covered of them.
    pub(super) fn known(&self) -> Option<&Covered> {
        self.covered.as_ref()
    }

    /// The same with what a quote, which was verified, covers of them.
    pub(super) fn with_covered(&self, quote: &Quote, hash: Hash) -> Self {
        let digest = self.values.digest(quote, hash);
        let text = hex_text(&digest);
        let covered = Covered {
            selections: quote.selections.clone(),
            hash,
            unproven: unproven(&self.values.not_covered_by(quote)).shared(),
            shown: [format!("{text} (quote)"), format!("{text} (values)")].map(|text| Text::from(text).shared()),
            digest,
            registers: self.values.registers(quote),
        };
        Self { bank: self.bank, json: self.json.clone(), values: self.values.clone(), covered: Some(covered) }
    }
}

/// Values that are shown and not quoted, for people.
pub(super) fn unproven(names: &[String]) -> Text {
    if names.is_empty() { "none".into() } else { names.join(", ").into() }
}

/// Whether each of `demanded` is quoted in every bank. Says what is missing otherwise.
pub(super) fn selects(quote: &Quote, demanded: &BTreeSet<u8>) -> Result<(), String> {
    quote.selections.iter().try_for_each(|selection| selects_in(selection, demanded))
}

fn selects_in(selection: &Selection, demanded: &BTreeSet<u8>) -> Result<(), String> {
    let (bank, missing) = (selection.bank.as_str(), demanded.iter().find(|pcr| !selection.pcrs.contains(pcr)));
    missing.map_or(Ok(()), |missing| {
        Err(format!("a quote over {bank} PCRs {:?}, PCR {missing} not among them", selection.pcrs))
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Banks(BTreeMap<String, Bank>),
    Bank(Bank),
}

/// Index (in decimal; JSON has no other keys than text) → digest.
type Bank = BTreeMap<String, Digest>;

/// A digest in hexadecimal, in either case, also behind `0x`.
struct Digest(HexBytes);

impl Digest {
    fn read(text: &str) -> Option<Self> {
        hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok().map(|bytes| Self(HexBytes(bytes)))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("no digest in hexadecimal"))
    }
}

/// What `tpm2_pcrread` prints: a line with the name of a bank, then one per PCR (`  7 : 0x…`).
fn printed(text: &[u8]) -> Option<File> {
    let mut banks: BTreeMap<String, Bank> = BTreeMap::new();
    let mut bank = None;
    for line in std::str::from_utf8(text).ok()?.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.trim().to_owned(), value.trim());
        let taken = if value.is_empty() {
            bank = Some(name.clone());
            banks.insert(name, Bank::new()).is_none()
        } else {
            banks.get_mut(bank.as_ref()?)?.insert(name, Digest::read(value)?).is_none()
        };
        if !taken {
            return None; // twice the same
        }
    }
    (!banks.is_empty()).then_some(File::Banks(banks))
}

impl PcrValues {
    /// Reads a file: index → hexadecimal digest for the bank that the file's name says, or bank → index → digest, in JSON; or what
    /// `tpm2_pcrread` prints.
    /// `None` where it is neither, a bank is not known, or a value has not its bank's width.
    pub(super) fn read(json: &[u8], bank: Option<Hash>) -> Option<Self> {
        let file = serde_json::from_slice(json).ok().or_else(|| printed(json))?;
        let banks = match (file, bank) {
            (File::Banks(banks), _) => {
                let banks = banks.into_iter().map(|(name, values)| Some((Hash::from_name(&name)?, indexed(values)?)));
                banks.collect::<Option<BTreeMap<_, _>>>()?
            }
            (File::Bank(values), Some(bank)) => BTreeMap::from([(bank, indexed(values)?)]),
            (File::Bank(_), None) => return None,
        };
        let whole = banks.iter().all(|(bank, values)| values.values().all(|value| value.0.len() == bank.length()));
        whole.then_some(Self(banks))
    }

    /// Whether every PCR that `quote` selects has its value here, there is at least one, and each of `demanded` is among
    /// them, in every bank that is quoted. Says what is missing otherwise.
    pub(super) fn covered_by(&self, quote: &Quote, demanded: &BTreeSet<u8>) -> Result<(), String> {
        if quote.selections.iter().all(|selection| selection.pcrs.is_empty()) {
            return Err("a quote over no PCR at all".to_owned());
        }
        for selection in &quote.selections {
            let (bank, shown) = (selection.bank.as_str(), self.0.get(&selection.bank));
            let mut pcrs = selection.pcrs.iter();
            if let Some(missing) = pcrs.find(|pcr| shown.is_none_or(|shown| !shown.contains_key(pcr))) {
                return Err(format!("a quote over {bank} PCR {missing}, whose value is not shown"));
            }
            selects_in(selection, demanded)?;
        }
        Ok(())
    }

    /// The values that are shown in a quoted bank and that the quote does not cover.
    pub(super) fn not_covered_by(&self, quote: &Quote) -> Vec<String> {
        let mut out = Vec::new();
        for selection in &quote.selections {
            let shown = self.0.get(&selection.bank).into_iter().flat_map(BTreeMap::keys);
            let uncovered = shown.filter(|pcr| !selection.pcrs.contains(pcr));
            out.extend(uncovered.map(|pcr| format!("{} PCR {pcr}", selection.bank.as_str())));
        }
        out
    }

    /// The digest of the quoted values, in the order of the selections (part 1, section "Quote").
    pub(super) fn digest(&self, quote: &Quote, hash: Hash) -> Vec<u8> {
        hash.digest(&self.quoted(quote).flat_map(|(_, _, value)| value.0.clone()).collect::<Vec<u8>>())
    }

    /// The quoted values as registers: `pcr7` of the SHA-256 bank, `sha384:pcr7` of another. SHA-1 values prove nothing
    /// and are left out.
    pub(super) fn registers(&self, quote: &Quote) -> Registers {
        let named = |(bank, pcr, value): (Hash, u8, &HexBytes)| match bank {
            Hash::Sha1 => None,
            Hash::Sha256 => Some((format!("pcr{pcr}"), value.clone())),
            Hash::Sha384 | Hash::Sha512 => Some((format!("{}:pcr{pcr}", bank.as_str()), value.clone())),
        };
        self.quoted(quote).filter_map(named).collect()
    }

    /// The quoted values of every bank, as event logs number registers.
    pub(super) fn for_logs(&self, quote: &Quote) -> Vec<Quoted> {
        let named =
            |(bank, pcr, value): (Hash, u8, &HexBytes)| Quoted { bank, index: pcr.into(), value: value.clone() };
        self.quoted(quote).map(named).collect()
    }

    fn quoted<'a>(&'a self, quote: &'a Quote) -> impl Iterator<Item = (Hash, u8, &'a HexBytes)> {
        quote.selections.iter().flat_map(move |selection| {
            let shown = self.0.get(&selection.bank);
            selection.pcrs.iter().filter_map(move |pcr| Some((selection.bank, *pcr, shown?.get(pcr)?)))
        })
    }
}

fn indexed(bank: Bank) -> Option<BTreeMap<u8, HexBytes>> {
    bank.into_iter().map(|(index, value)| Some((index.parse().ok()?, value.0))).collect()
}
