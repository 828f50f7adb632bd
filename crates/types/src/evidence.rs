//! Evidence as it travels: named items, under the names that evidence folders use on disk.

use std::collections::BTreeMap;

use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::{ParseError, Tee};

/// One part of evidence: what one TEE (or one device) vouches for.
///
/// `items` holds the raw bytes under the names that a folder of evidence uses: `report.bin` and `vcek.der` for SEV-SNP;
/// `quote.msg`, `quote.sig`, `ak.pub`, `ek.pub` and `pcrs.json` for a TPM; `simulated.json` for the simulated TEE. So a
/// folder, a wire message and a test vector are one and the same thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidencePart {
    /// The TEE that the part claims to come from.
    pub tee: Tee,
    /// The raw bytes by name.
    pub items: BTreeMap<String, Vec<u8>>,
}

/// Evidence: a leading part that carries the binding to key, link and genesis, and the parts bound into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The part that carries the binding.
    pub lead: EvidencePart,
    /// Further parts, each bound into the lead or refused.
    pub others: Vec<EvidencePart>,
}

/// Bounds on evidence, checked before anything is allocated for it.
pub mod limits {
    /// Parts, the lead included: room for a machine's eight GPUs and its switches.
    pub const PARTS: usize = 17;
    /// Items of a part.
    pub const ITEMS: usize = 32;
    /// Bytes of all items together: event logs are the largest of them.
    pub const BYTES: usize = 4 * 1024 * 1024;
}

/// Why bytes are not evidence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The encoding is broken.
    #[error("the evidence is not encoded as it should be: {0}")]
    Encoding(#[from] DecodeError),
    /// The TEE has a name that is not known.
    #[error("the evidence names a TEE that is not known: {0}")]
    Tee(#[from] ParseError),
    /// More than a bound allows.
    #[error("the evidence has {found} {what}, more than the {limit} that are taken")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much is taken.
        limit: usize,
    },
}

impl Evidence {
    /// Evidence of one part.
    pub fn single(lead: EvidencePart) -> Self {
        Self { lead, others: Vec::new() }
    }

    /// The canonical bytes (see [`crate::encoding`]): what travels and what an evidence digest is over.
    pub fn encode(&self) -> Vec<u8> {
        let parts = std::iter::once(&self.lead).chain(&self.others).map(EvidencePart::encode);
        Encoder::new().text("burgrave-evidence-v1").list(parts.collect::<Vec<_>>()).finish()
    }

    /// Reads what [`Evidence::encode`] wrote.
    ///
    /// # Errors
    /// [`EvidenceError`] for a broken encoding, an unknown TEE or more than [`limits`] allow.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        limit("bytes", bytes.len(), limits::BYTES)?;
        let mut decoder = Decoder::new(bytes);
        if decoder.text()? != "burgrave-evidence-v1" {
            return Err(DecodeError::Value("format name").into());
        }
        let parts = decoder.list()?;
        decoder.finish()?;
        limit("parts", parts.len(), limits::PARTS)?;
        let mut parts = parts.into_iter().map(EvidencePart::decode);
        let lead = parts.next().ok_or(DecodeError::Value("leading part"))??;
        Ok(Self { lead, others: parts.collect::<Result<_, _>>()? })
    }
}

impl EvidencePart {
    /// A part of `tee` with these items.
    pub fn new<const N: usize>(tee: Tee, items: [(&str, Vec<u8>); N]) -> Self {
        Self { tee, items: items.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect() }
    }

    /// The item of that name.
    pub fn item(&self, name: &str) -> Option<&[u8]> {
        self.items.get(name).map(Vec::as_slice)
    }

    /// The canonical bytes of this part alone: what another part's binding covers.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new().text(self.tee.as_str()).u64(self.items.len() as u64);
        for (name, bytes) in &self.items {
            encoder = encoder.text(name).bytes(bytes);
        }
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let mut decoder = Decoder::new(bytes);
        let tee = decoder.text()?.parse()?;
        let count = decoder.u64()?;
        limit("items", usize::try_from(count).unwrap_or(usize::MAX), limits::ITEMS)?;
        let mut items = BTreeMap::new();
        for _ in 0..count {
            let name = decoder.text()?.to_owned();
            if items.insert(name, decoder.bytes()?.to_vec()).is_some() {
                return Err(DecodeError::Value("name that stands once").into());
            }
        }
        decoder.finish()?;
        Ok(Self { tee, items })
    }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), EvidenceError> {
    if found <= limit { Ok(()) } else { Err(EvidenceError::Limit { what, found, limit }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn evidence() -> Evidence {
        Evidence::single(EvidencePart::new(Tee::Snp, [("report.bin", vec![1; 8]), ("vcek.der", vec![2; 4])]))
    }

    #[test]
    fn evidence_reads_back() {
        assert_eq!(Evidence::decode(&evidence().encode()), Ok(evidence()));
    }

    #[test]
    fn too_many_items_are_refused() {
        let mut many = evidence();
        many.lead.items = (0..=limits::ITEMS).map(|n| (n.to_string(), Vec::new())).collect();
        let error = Evidence::decode(&many.encode()).unwrap_err();
        assert_eq!(error, EvidenceError::Limit { what: "items", found: limits::ITEMS + 1, limit: limits::ITEMS });
    }

    proptest! {
        #[test]
        fn altered_evidence_is_refused_or_differs(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = evidence().encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(Evidence::decode(&bytes).ok(), Some(evidence()));
        }
    }
}
