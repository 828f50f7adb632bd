//! From files to a part of evidence: which of them are evidence, which endorse it.

use std::collections::BTreeMap;

use burgrave_types::{EvidencePart, Tee};

use crate::detect;

/// The part that named files are, and of which TEE.
///
/// A folder's files keep their names, which are the items' names. A single file with any name is the evidence itself (an
/// SNP report, say) and gets its item's name. `tee` overrules what the files look like.
///
/// Returns `None` where no TEE is named and none is recognised.
///
/// ```
/// use burgrave_types::Tee;
/// let report = [[2, 0, 0, 0].as_slice(), &[0; 1180]].concat();
/// let part = burgrave_verifier::files::part([("my-report".to_owned(), report)], None).unwrap();
/// assert!(part.tee == Tee::Snp && part.item("report.bin").is_some());
/// ```
pub fn part(files: impl IntoIterator<Item = (String, Vec<u8>)>, tee: Option<Tee>) -> Option<EvidencePart> {
    let mut items: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    let tee = tee.or_else(|| detect(&items))?;
    if items.len() == 1
        && let Some(name) = main_item(tee)
        && let Some((_, bytes)) = items.pop_first()
    {
        let is_leaf = tee == Tee::Snp && !matches!(crate::Endorsement::read(&bytes), crate::Endorsement::Other);
        items.insert(if is_leaf { "vek.der" } else { name }.to_owned(), bytes);
    }
    Some(EvidencePart { tee, items })
}

/// The name of the item that evidence of one file is.
fn main_item(tee: Tee) -> Option<&'static str> {
    match tee {
        Tee::Snp | Tee::NvidiaGpu => Some("report.bin"),
        Tee::Tdx | Tee::Sgx => Some("quote.bin"),
        Tee::Nitro => Some("document.cose"),
        Tee::Tpm => Some("quote.msg"),
        Tee::AzVtpm => Some("hcl-report.bin"),
        Tee::Cca => Some("token.cbor"),
        Tee::Simulated => Some(burgrave_types::simulated::REPORT_ITEM),
    }
}
