//! From files to a part of evidence: which of them are evidence, which endorse it, and what they were wrapped in.
//!
//! People bring evidence as tools and hosts left it: under any name, as text, within JSON, with a header before it or
//! certificates behind it. [`part`] takes that off and gives each item its name. Nothing is judged here, and no byte of the
//! evidence itself is changed: what [`crate::verify`] judges is exactly what stood in the file, and whatever else stands in an
//! item is refused there.
//!
//! Where it is not clear what is meant (two reports, a quote of each of two TEEs) nothing is chosen ([`NotBrought`]).

mod shape;
mod unwrap;

use std::collections::BTreeMap;
use std::fmt;

use burgrave_types::simulated::{REPORT_ITEM, SIGNATURE_ITEM};
use burgrave_types::{EvidencePart, Tee};
use serde::Serialize;
use thiserror::Error;

use shape::Shape;
pub use unwrap::Form;
use unwrap::{Piece, pieces};

/// Files as a part of evidence, and what became of each that did not stay as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brought {
    /// The part.
    pub part: EvidencePart,
    /// Where the items come from that are not a file of their own name.
    pub origins: Vec<Origin>,
    /// Files that are neither evidence nor endorse it: nothing is drawn from them.
    pub unused: Vec<String>,
}

/// Where an item comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Origin {
    /// The item.
    pub item: String,
    /// The file.
    pub file: String,
    /// What was taken off, outermost first; nothing where the file is the item under another name.
    pub forms: Vec<Form>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` from `{}`", self.item, self.file)?;
        for (number, form) in self.forms.iter().enumerate() {
            write!(f, "{} {form}", if number == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Why files are no part of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotBrought {
    /// No format is recognised.
    #[error(
        "it is evidence of no TEE that is known: {} is no SEV-SNP or GPU report, TDX or SGX quote, Nitro document, TPM quote, HCL \
         report or CCA token, neither as it is nor as hexadecimal or base64 text nor within JSON",
        list(.0)
    )]
    Unknown(Vec<String>),
    /// More than one piece of evidence, of which nobody said which is meant.
    #[error("it holds more than one piece of evidence: {}", list(.0))]
    Several(Vec<String>),
}

impl NotBrought {
    /// What to do.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Unknown(_) => {
                "name the TEE it comes from with `--tee`, and give each file its item's name: `burgrave evidence verify --help` \
                 lists them; what tools print as tables or protobuf must be asked for as binary, hexadecimal, base64 or JSON"
            }
            Self::Several(_) => {
                "name one file, or say which TEE is meant with `--tee`; in a folder, give the one that is meant its item's name"
            }
        }
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match (shown.is_empty(), more) {
        (true, _) => "an empty folder".to_owned(),
        (_, 0) => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The part that named files are, and of which TEE.
///
/// A folder's files keep their names, which are the items' names; where the item that is the evidence itself is not among them,
/// the one file that has its shape is taken for it. A single file with any name is the evidence itself. Text (hexadecimal,
/// base64, JSON), the certificate table of an SEV-SNP host and the header of its firmware's answer are taken off. `tee` overrules
/// what the files look like.
///
/// # Errors
/// [`NotBrought`] where no TEE is named and none is recognised, or more than one file could be the evidence.
///
/// ```
/// use burgrave_types::Tee;
/// use burgrave_verifier::files;
///
/// let report = [[2, 0, 0, 0].as_slice(), &[0; 1180]].concat();
/// let brought = files::part([("my-report".to_owned(), report)], None)?;
/// assert!(brought.part.tee == Tee::Snp && brought.part.item("report.bin").is_some());
/// assert_eq!(brought.origins[0].to_string(), "`report.bin` from `my-report`");
/// # Ok::<(), files::NotBrought>(())
/// ```
pub fn part(files: impl IntoIterator<Item = (String, Vec<u8>)>, tee: Option<Tee>) -> Result<Brought, NotBrought> {
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    let names: Vec<String> = files.keys().cloned().collect();
    let mut pieces: Vec<Piece> = files.into_iter().flat_map(|(name, bytes)| pieces(name, bytes)).collect();
    let tee = match tee {
        Some(tee) => tee,
        None => tee_of(&pieces)?.ok_or(NotBrought::Unknown(names))?,
    };
    for (item, shape) in roles(tee) {
        name_by_shape(&mut pieces, item, *shape)?;
    }
    if let [piece] = pieces.as_mut_slice()
        && !(tee == Tee::Snp && piece.shape == Shape::Endorsement)
        && let Some((item, _)) = roles(tee).first()
    {
        // Whoever names the TEE of one file says that it is the evidence, whatever it looks like.
        piece.name = (*item).to_owned();
    }
    let mut brought = Brought { part: EvidencePart::new(tee, []), origins: Vec::new(), unused: Vec::new() };
    for piece in pieces {
        brought.add(piece);
    }
    Ok(brought)
}

impl Brought {
    /// An item of a name that is taken already gets one of its own: it endorses, by what it is.
    fn add(&mut self, piece: Piece) {
        if piece.shape == Shape::Other && !is_item(&piece.name) {
            self.unused.push(piece.file.clone());
        }
        let mut item = piece.name;
        while self.part.items.contains_key(&item) {
            item = format!("{}#{item}", piece.file);
        }
        if item != piece.file || !piece.forms.is_empty() {
            self.origins.push(Origin { item: item.clone(), file: piece.file, forms: piece.forms });
        }
        self.part.items.insert(item, piece.bytes);
    }
}

/// Whether something is read from an item by its name, whatever it looks like.
fn is_item(name: &str) -> bool {
    const ITEMS: [&str; 14] = [
        "ak.pub",
        "ccel.bin",
        "chain.pem",
        "collateral.json",
        "document.cose",
        "ek.pub",
        "eventlog.bin",
        "hcl-report.bin",
        "ima.bin",
        "ima.offset",
        "quote.bin",
        "report.bin",
        "token.cbor",
        REPORT_ITEM,
    ];
    let ends = |head, tail| name.starts_with(head) && name.ends_with(tail);
    ITEMS.contains(&name)
        || ends("quote", ".msg")
        || ends("quote", ".sig")
        || name.starts_with("pcrs")
        || name == SIGNATURE_ITEM
}

/// The items of a TEE that are found by their shape where no file has their name; the evidence itself comes first.
fn roles(tee: Tee) -> &'static [(&'static str, Shape)] {
    match tee {
        Tee::Snp => &[("report.bin", Shape::Evidence(Tee::Snp))],
        Tee::NvidiaGpu => &[("report.bin", Shape::Evidence(Tee::NvidiaGpu))],
        Tee::Tdx => &[
            ("quote.bin", Shape::Evidence(Tee::Tdx)),
            ("collateral.json", Shape::Collateral),
            ("ccel.bin", Shape::BootLog),
        ],
        Tee::Sgx => &[("quote.bin", Shape::Evidence(Tee::Sgx)), ("collateral.json", Shape::Collateral)],
        Tee::Nitro => &[("document.cose", Shape::Evidence(Tee::Nitro))],
        Tee::Tpm => &[("quote.msg", Shape::Evidence(Tee::Tpm)), ("eventlog.bin", Shape::BootLog)],
        Tee::AzVtpm => &[
            ("hcl-report.bin", Shape::Evidence(Tee::AzVtpm)),
            ("quote.msg", Shape::Evidence(Tee::Tpm)),
            ("quote.bin", Shape::Evidence(Tee::Tdx)),
            ("collateral.json", Shape::Collateral),
            ("eventlog.bin", Shape::BootLog),
        ],
        Tee::Cca => &[("token.cbor", Shape::Evidence(Tee::Cca))],
        Tee::Simulated => &[(REPORT_ITEM, Shape::Other)],
    }
}

/// Gives the one piece of this shape its item's name, where no other bears it. Of logs and collateral nothing is chosen among
/// several; of evidence several are an error.
fn name_by_shape(pieces: &mut [Piece], item: &str, shape: Shape) -> Result<(), NotBrought> {
    let bears = |piece: &Piece| match item {
        "quote.msg" => crate::tpm::is_quote_item(&piece.name),
        "eventlog.bin" => matches!(piece.name.as_str(), "eventlog.bin" | "ccel.bin"),
        item => piece.name == item,
    };
    if shape == Shape::Other || pieces.iter().any(bears) {
        return Ok(());
    }
    let mut found = pieces.iter_mut().filter(|piece| piece.shape == shape);
    let Some(first) = found.next() else { return Ok(()) };
    let others: Vec<String> = found.filter(|piece| piece.bytes != first.bytes).map(|piece| piece.place()).collect();
    match (others.is_empty(), shape) {
        (true, _) => first.name = item.to_owned(),
        (false, Shape::Evidence(_)) => return Err(NotBrought::Several([vec![first.place()], others].concat())),
        (false, _) => {}
    }
    Ok(())
}

/// Which TEE items (file name → bytes) come from, by their names and shapes; `None` where that is not clear.
pub fn detect(items: &BTreeMap<String, Vec<u8>>) -> Option<Tee> {
    part(items.clone(), None).ok().map(|brought| brought.part.tee)
}

/// Which TEE pieces come from, by their names and shapes. Certificates alone say so only where there is no evidence at all.
///
/// # Errors
/// [`NotBrought::Several`] for evidence of several TEEs, unless one of them, Azure's, is made of the others.
fn tee_of(pieces: &[Piece]) -> Result<Option<Tee>, NotBrought> {
    let mut found: BTreeMap<Tee, String> = BTreeMap::new();
    for piece in pieces {
        if let Some(tee) = piece.tee() {
            found.entry(tee).or_insert_with(|| piece.place());
        }
    }
    if found.contains_key(&Tee::AzVtpm) {
        found.retain(|tee, _| !matches!(tee, Tee::Snp | Tee::Tdx | Tee::Tpm));
    }
    if found.len() > 1 {
        return Err(NotBrought::Several(found.into_values().collect()));
    }
    let is_of_chip = |piece: &Piece| piece.shape == Shape::Endorsement && crate::snp::is_vek(&piece.bytes);
    let alone = || pieces.iter().any(is_of_chip).then_some(Tee::Snp);
    Ok(found.into_keys().next().or_else(alone))
}

/// The certificates, lists and collateral in a file beside evidence: itself, or what it wraps (a host's certificate table, JSON, text).
pub fn endorsements(name: String, bytes: Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let pieces = pieces(name, bytes).into_iter();
    pieces
        .filter(|piece| matches!(piece.shape, Shape::Endorsement | Shape::Collateral | Shape::CollateralPiece))
        .map(|piece| piece.bytes)
}

/// The body of a fuzz target: takes bytes as a file, and as each of two. It must neither panic nor make more of them than there is.
/// Returns how many items there are.
pub fn fuzz_part(bytes: &[u8]) -> usize {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let one = part([("file".to_owned(), bytes.to_vec())], None);
    let two = part([("one".to_owned(), head.to_vec()), ("other".to_owned(), tail.to_vec())], None);
    let of = |brought: Brought| {
        // The five rows of a certificate table may all point to the same bytes.
        let made: usize = brought.part.items.values().map(Vec::len).sum();
        assert!(made <= 6 * bytes.len(), "{made} bytes of {}", bytes.len());
        brought.part.items.len()
    };
    [one, two].into_iter().flatten().map(of).sum()
}
