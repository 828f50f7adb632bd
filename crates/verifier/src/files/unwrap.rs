//! What evidence comes wrapped in: text, JSON, an answer's header, a table of certificates.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use burgrave_types::simulated::REPORT_ITEM;
use burgrave_types::{Tee, certificate_table};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::shape::Shape;
use crate::reader::Reader;
use crate::{dcap, snp};

/// Wrappers within each other that are taken off: base64 of JSON with a member in base64, and one more.
const DEPTH: usize = 4;
/// Text of fewer characters holds no evidence and no certificate.
const SHORTEST: usize = 64;
/// More characters of a member's name are not told.
const LONGEST_NAME: usize = 64;

/// With padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was taken off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// Hexadecimal digits, with white space between and `0x` before them or without.
    Hex,
    /// Base64 or base64url (RFC 4648), padded or not, with white space or without.
    Base64,
    /// Percent-encoded text, as chains stand in the headers of Intel's answers.
    Percent,
    /// A member of a JSON document: its path, e.g. `tdx.quote`.
    Member(String),
    /// The numbers of a JSON array, each a byte.
    Numbers,
    /// The header of the firmware's answer (AMD 56860, `MSG_REPORT_RSP`).
    Response,
    /// The header of an Open Enclave report (`oe_report_header_t`), before a quote.
    OpenEnclave,
    /// An SEV-SNP report before the host's certificate table, as extended requests give them.
    Extended,
    /// A row of the host's certificate table (GHCB Standardization 2.03, section 4.1.8.1).
    Table,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex => f.write_str("hexadecimal"),
            Self::Base64 => f.write_str("base64"),
            Self::Percent => f.write_str("percent-encoded"),
            Self::Member(path) => write!(f, "JSON member `{path}`"),
            Self::Numbers => f.write_str("a JSON array of bytes"),
            Self::Response => f.write_str("behind the header of MSG_REPORT_RSP"),
            Self::OpenEnclave => f.write_str("behind the header of an Open Enclave report"),
            Self::Extended => f.write_str("before a certificate table"),
            Self::Table => f.write_str("in a certificate table"),
        }
    }
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file, or what was found in one.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The item that it becomes.
    pub(super) name: String,
    pub(super) file: String,
    pub(super) forms: Vec<Form>,
    pub(super) bytes: Vec<u8>,
    pub(super) shape: Shape,
}

impl Piece {
    /// The TEE whose evidence this is, by shape or by name.
    pub(super) fn tee(&self) -> Option<Tee> {
        match (self.shape, self.name.as_str()) {
            (Shape::Evidence(tee), _) => Some(tee),
            (_, "hcl-report.bin") => Some(Tee::AzVtpm),
            (_, "document.cose") => Some(Tee::Nitro),
            (_, "token.cbor") => Some(Tee::Cca),
            (_, REPORT_ITEM) => Some(Tee::Simulated),
            (_, name) => crate::tpm::is_quote_item(name).then_some(Tee::Tpm),
        }
    }

    /// Where it stands: the file, and the member in it.
    pub(super) fn place(&self) -> String {
        let member = self.forms.iter().filter_map(|form| match form {
            Form::Member(path) => Some(path.as_str()),
            _ => None,
        });
        std::iter::once(self.file.as_str()).chain(member).collect::<Vec<_>>().join("#")
    }
}

/// What a file holds: itself, or what it wraps where that is recognised and the file as it is is not.
pub(super) fn pieces(file: String, bytes: Vec<u8>) -> Vec<Piece> {
    let mut found = Found { file: &file, pieces: Vec::new() };
    found.dig(&bytes, &[], if is_text_item(&file) { 0 } else { DEPTH });
    if found.pieces.is_empty() {
        let (name, shape) = (known_name(&file).to_owned(), Shape::Other);
        return vec![Piece { name, file, forms: Vec::new(), bytes, shape }];
    }
    found.pieces
}

/// Items that are text themselves: what is wrong with one is told of it as it is.
fn is_text_item(file: &str) -> bool {
    matches!(file, "collateral.json" | REPORT_ITEM) || file.starts_with("pcrs")
}

/// The kernel's run-time log has no shape of its own, but a name.
fn known_name(file: &str) -> &str {
    if file == "binary_runtime_measurements" { "ima.bin" } else { file }
}

struct Found<'a> {
    file: &'a str,
    pieces: Vec<Piece>,
}

impl Found<'_> {
    /// Adds what `bytes` are, or what is recognised within them. Says whether anything was.
    fn dig(&mut self, bytes: &[u8], forms: &[Form], depth: usize) -> bool {
        let before = self.pieces.len();
        match Shape::of(bytes) {
            Shape::Other => {
                let _ = self.dig_binary(bytes, forms) || depth > 0 && self.dig_text(bytes, forms, depth - 1);
            }
            shape => self.add(bytes, forms, shape),
        }
        self.pieces.len() > before
    }

    /// What hosts and toolkits put around a report or quote, and the table by itself.
    fn dig_binary(&mut self, bytes: &[u8], forms: &[Form]) -> bool {
        if let Some((quote, tee)) = in_open_enclave(bytes) {
            self.add(quote, &with(forms, Form::OpenEnclave), Shape::Evidence(tee));
            return true;
        }
        let table = if let Some(report) = snp::in_response(bytes) {
            self.add(report, &with(forms, Form::Response), Shape::Evidence(Tee::Snp));
            return true;
        } else if let Some((report, table)) = snp::before_table(bytes) {
            self.add(report, &with(forms, Form::Extended), Shape::Evidence(Tee::Snp));
            table
        } else {
            bytes
        };
        let rows = certificate_table::read(table).unwrap_or_default();
        for (name, der) in &rows {
            let forms = with(forms, Form::Table);
            let (file, bytes) = (self.file.to_owned(), der.clone());
            self.pieces.push(Piece { name: name.clone(), file, forms, bytes, shape: Shape::of(der) });
        }
        !rows.is_empty()
    }

    fn dig_text(&mut self, bytes: &[u8], forms: &[Form], depth: usize) -> bool {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let text = text.trim();
        if text.starts_with(['{', '[']) {
            return serde_json::from_str(text).is_ok_and(|value| self.dig_json(&value, "", forms, depth));
        }
        if let Some(pem) = dcap::in_percent_encoding(text) {
            return self.dig(&pem, &with(forms, Form::Percent), depth);
        }
        let hex = || hex_bytes(text).map(|bytes| (bytes, Form::Hex));
        let base64 = || base64_bytes(text).map(|bytes| (bytes, Form::Base64));
        let forms = |form| with(forms, form);
        hex().is_some_and(|(bytes, form)| self.dig(&bytes, &forms(form), depth))
            || base64().is_some_and(|(bytes, form)| self.dig(&bytes, &forms(form), depth))
    }

    fn dig_json(&mut self, value: &Value, path: &str, forms: &[Form], depth: usize) -> bool {
        let within = |name: &str| {
            let name = name.chars().take(LONGEST_NAME).collect::<String>();
            if path.is_empty() { name } else { format!("{path}.{name}") }
        };
        let forms_here = || if path.is_empty() { forms.to_vec() } else { with(forms, Form::Member(path.to_owned())) };
        match value {
            Value::String(text) if text.len() >= SHORTEST => self.dig(text.as_bytes(), &forms_here(), depth),
            Value::Array(values) => match as_bytes(values) {
                Some(bytes) => self.dig(&bytes, &with(&forms_here(), Form::Numbers), depth),
                None => (0..).zip(values).fold(false, |found, (number, value): (usize, _)| {
                    self.dig_json(value, &within(&number.to_string()), forms, depth) || found
                }),
            },
            Value::Object(members) => members
                .iter()
                .fold(false, |found, (name, value)| self.dig_json(value, &within(name), forms, depth) || found),
            _ => false,
        }
    }

    fn add(&mut self, bytes: &[u8], forms: &[Form], shape: Shape) {
        let (file, bytes) = (self.file.to_owned(), bytes.to_vec());
        let mut piece = Piece { name: String::new(), file, forms: forms.to_vec(), bytes, shape };
        piece.name = piece.place();
        self.pieces.push(piece);
    }
}

/// The quote behind the header of an Open Enclave report: version 1, type 2 (remote), the length of what follows.
fn in_open_enclave(bytes: &[u8]) -> Option<(&[u8], Tee)> {
    let mut reader = Reader::new(bytes);
    let head = (reader.u32_le()?, reader.u32_le()?);
    let length = reader.u64_le()?;
    let quote = reader.rest();
    let fits = head == (1, 2) && usize::try_from(length) == Ok(quote.len());
    dcap::looks_like_quote(quote).filter(|_| fits).map(|tee| (quote, tee))
}

fn with(forms: &[Form], form: Form) -> Vec<Form> {
    [forms, &[form]].concat()
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = without_space(text);
    let digits = digits.strip_prefix("0x").or(digits.strip_prefix("0X")).unwrap_or(&digits);
    (digits.len() >= SHORTEST).then(|| hex::decode(digits).ok()).flatten()
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = without_space(text).replace('-', "+").replace('_', "/");
    (digits.len() >= SHORTEST).then(|| BASE64.decode(digits).ok()).flatten()
}

fn without_space(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_whitespace()).collect()
}

/// An array whose values are all bytes.
fn as_bytes(values: &[Value]) -> Option<Vec<u8>> {
    let byte = |value: &Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
    (values.len() >= SHORTEST).then(|| values.iter().map(byte).collect()).flatten()
}
