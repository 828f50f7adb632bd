//! The attestation document: a CBOR map, read where it stands.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use minicbor::Decoder;

use crate::Cause;
use crate::cbor::{self, Key};

/// A document's fields. Nothing of it is copied.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// Instance and enclave: `i-<instance>-enc<enclave>`.
    pub(super) module_id: &'a str,
    /// When it was made, in milliseconds since the Unix epoch.
    pub(super) timestamp: u64,
    /// The locked PCRs by index.
    pub(super) pcrs: BTreeMap<u8, &'a [u8]>,
    /// The certificate of the signing key, in DER.
    pub(super) certificate: &'a [u8],
    /// The certificates above it, root first.
    pub(super) cabundle: Vec<&'a [u8]>,
    /// A key that the enclave names, as it likes.
    pub(super) public_key: Option<&'a [u8]>,
    /// Bytes of the enclave's.
    pub(super) user_data: Option<&'a [u8]>,
    /// The challenger's bytes.
    pub(super) nonce: Option<&'a [u8]>,
}

/// Why bytes are no document.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) expected: &'static str,
    pub(super) found: String,
}

#[derive(Default)]
struct Fields<'a> {
    module_id: Option<&'a str>,
    digest: Option<&'a str>,
    timestamp: Option<u64>,
    pcrs: Option<BTreeMap<u8, &'a [u8]>>,
    certificate: Option<&'a [u8]>,
    cabundle: Option<Vec<&'a [u8]>>,
    public_key: Option<&'a [u8]>,
    user_data: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    /// Whether it is of an instance's NitroTPM.
    is_of_tpm: bool,
}

const CERTIFICATE_BYTES: RangeInclusive<usize> = 1..=1024;

impl<'a> Document<'a> {
    /// Reads a document, with nothing after it, and holds each field to the lengths that its specification gives.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        let mut decoder = Decoder::new(payload);
        let read = cbor::map(&mut decoder, |decoder, key| fields.read(decoder, key));
        if read.is_none() || !cbor::is_at_end(&decoder) {
            let expected = "a map with text keys, none of them twice, and a value of its type for each";
            return Err(malformed(expected, format!("something else at about byte {}", decoder.position())));
        }
        if fields.is_of_tpm {
            let found = "`nitrotpm_pcrs`: a document of an instance's NitroTPM, which is not verified here";
            return Err(malformed("a document of an enclave, with `pcrs`", found.to_owned()));
        }
        let missing = |name: &'static str| malformed(name, "no such field".to_owned());
        let document = Self {
            module_id: fields.module_id.ok_or_else(|| missing("module_id"))?,
            timestamp: fields.timestamp.ok_or_else(|| missing("timestamp"))?,
            pcrs: fields.pcrs.ok_or_else(|| missing("pcrs"))?,
            certificate: fields.certificate.ok_or_else(|| missing("certificate"))?,
            cabundle: fields.cabundle.ok_or_else(|| missing("cabundle"))?,
            public_key: fields.public_key,
            user_data: fields.user_data,
            nonce: fields.nonce,
        };
        match fields.digest {
            Some("SHA384") => {}
            Some(other) => {
                let found = format!("`{other}`");
                return Err(Refusal { cause: Cause::FormatAlgorithm, expected: "digest `SHA384`", found });
            }
            None => return Err(missing("digest")),
        }
        document.is_whole().map(|()| document)
    }

    fn is_whole(&self) -> Result<(), Refusal> {
        if self.module_id.is_empty() || self.timestamp == 0 {
            return Err(malformed("a module_id and a timestamp", "empty, or zero".to_owned()));
        }
        if !self.pcrs.contains_key(&0) {
            return Err(malformed("PCR 0", format!("PCRs {:?}", self.pcrs.keys().collect::<Vec<_>>())));
        }
        if let Some((index, _)) = self.pcrs.iter().find(|(index, _)| **index > 31) {
            return Err(malformed("PCRs 0 to 31", format!("PCR {index}")));
        }
        if let Some((index, value)) = self.pcrs.iter().find(|(_, value)| !matches!(value.len(), 32 | 48 | 64)) {
            return Err(length("PCRs of 32, 48 or 64 bytes", format!("PCR {index} of {} bytes", value.len())));
        }
        if self.cabundle.is_empty() {
            return Err(length("a cabundle of at least the root", "an empty one".to_owned()));
        }
        let mut certificates = self.cabundle.iter().chain([&self.certificate]);
        if let Some(odd) = certificates.find(|der| !CERTIFICATE_BYTES.contains(&der.len())) {
            return Err(length("certificates of 1 to 1024 bytes", format!("one of {} bytes", odd.len())));
        }
        let limits =
            [("public_key", self.public_key, 1024), ("user_data", self.user_data, 512), ("nonce", self.nonce, 512)];
        for (name, value, most) in limits {
            if value.is_some_and(|value| value.len() > most) {
                let found = format!("{name} of {} bytes", value.map_or(0, <[u8]>::len));
                return Err(length("a public_key of at most 1024 bytes, user_data and nonce of at most 512", found));
            }
        }
        Ok(())
    }

    /// Whether the enclave runs in debug mode: its PCRs of the image are then all zero.
    pub(super) fn is_debug(&self) -> bool {
        self.pcrs.get(&0).is_some_and(|value| is_zero(value))
    }

    /// A PCR's value where it was measured into.
    pub(super) fn measured(&self, index: u8) -> Option<&'a [u8]> {
        self.pcrs.get(&index).copied().filter(|value| !is_zero(value))
    }

    /// The instance that the enclave runs beside.
    pub(super) fn instance(&self) -> &'a str {
        self.module_id.split_once("-enc").map_or(self.module_id, |(instance, _)| instance)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self, decoder: &mut Decoder<'a>, key: Key<'a>) -> Option<()> {
        let Key::Text(name) = key else { return None };
        match name {
            "module_id" => self.module_id = Some(decoder.str().ok()?),
            "digest" => self.digest = Some(decoder.str().ok()?),
            "timestamp" => self.timestamp = Some(decoder.u64().ok()?),
            "pcrs" => self.pcrs = Some(pcrs(decoder)?),
            "certificate" => self.certificate = Some(decoder.bytes().ok()?),
            "cabundle" => self.cabundle = Some(cbor::array(decoder, |decoder| decoder.bytes().ok())?),
            "public_key" => self.public_key = cbor::optional_bytes(decoder)?,
            "user_data" => self.user_data = cbor::optional_bytes(decoder)?,
            "nonce" => self.nonce = cbor::optional_bytes(decoder)?,
            name => {
                self.is_of_tpm |= name == "nitrotpm_pcrs";
                cbor::skip(decoder)?;
            }
        }
        Some(())
    }
}

fn pcrs<'a>(decoder: &mut Decoder<'a>) -> Option<BTreeMap<u8, &'a [u8]>> {
    let mut pcrs = BTreeMap::new();
    cbor::map(decoder, |decoder, key| {
        let Key::Number(index) = key else { return None };
        pcrs.insert(u8::try_from(index).ok()?, decoder.bytes().ok()?);
        Some(())
    })?;
    Some(pcrs)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn malformed(expected: &'static str, found: String) -> Refusal {
    Refusal { cause: Cause::FormatMalformed, expected, found }
}

fn length(expected: &'static str, found: String) -> Refusal {
    Refusal { cause: Cause::FormatLength, expected, found }
}
