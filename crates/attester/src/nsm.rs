//! Attestation documents of AWS Nitro Enclaves, from the Nitro Secure Module (`/dev/nsm`).
//!
//! The report data goes into the document's `user_data`; `nonce` and `public_key` stay empty, since the binding covers both
//! already. The protocol is CBOR as the module's published client library writes it (`aws-nitro-enclaves-nsm-api`).

use std::fmt;
use std::io;
use std::path::Path;

use burgrave_sys::Nsm;
use burgrave_types::{Evidence, EvidencePart, Tee};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use crate::bound::covers;
use crate::{Attester, AttesterError, BindingData, files};

/// The item of the document.
const DOCUMENT: &str = "document.cose";

/// What takes a request in CBOR and gives an answer; the driver, or a test's stand-in.
pub trait NsmDevice: Send {
    /// Sends `request` and fills `response`; returns the answer's length. An answer that does not fit is cut.
    ///
    /// # Errors
    /// What the system says.
    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> io::Result<usize>;
}

impl NsmDevice for Nsm {
    fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> io::Result<usize> {
        Self::exchange(self, request, response)
    }
}

/// An attester over the Nitro Secure Module.
pub struct NsmAttester {
    device: Box<dyn NsmDevice>,
    at: String,
}

impl NsmAttester {
    /// Opens the driver's device, `/dev/nsm` in every Nitro enclave.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where it is not there, [`AttesterError::Kernel`] where it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, AttesterError> {
        match Nsm::open(path) {
            Ok(device) => Ok(Self::with_device(Box::new(device), path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AttesterError::Absent {
                interface: "nsm",
                why: format!("`{}` is not there; in a Nitro enclave, load the module nsm", path.display()),
            }),
            Err(error) => Err(files::failed("open", path, error, "it must be the Nitro Secure Module's device")),
        }
    }

    /// An attester over a device that is open already; `at` names it in errors.
    pub fn with_device(device: Box<dyn NsmDevice>, at: &Path) -> Self {
        Self { device, at: at.display().to_string() }
    }
}

impl fmt::Debug for NsmAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NsmAttester").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Attester for NsmAttester {
    fn tee(&self) -> Tee {
        Tee::Nitro
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let mut response = vec![0; Nsm::MAX_RESPONSE];
        let length = self.device.exchange(&request(&binding.report_data), &mut response).map_err(|source| {
            files::failed(
                "ask the Nitro Secure Module at",
                self.at.as_ref(),
                source,
                "restart the enclave if it goes on",
            )
        })?;
        response.truncate(length);
        let document = document(&response)?;
        if !covers(Tee::Nitro, document, &binding.report_data) {
            return Err(AttesterError::NotBound { tee: Tee::Nitro, at: self.at.clone() });
        }
        Ok(Evidence::single(EvidencePart::new(Tee::Nitro, [(DOCUMENT, document.to_vec())])))
    }
}

/// `Request::Attestation`.
fn request(user_data: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    // Writing into memory does not fail.
    let _ = encoder
        .map(1)
        .and_then(|encoder| encoder.str("Attestation")?.map(3))
        .and_then(|encoder| encoder.str("user_data")?.bytes(user_data))
        .and_then(|encoder| encoder.str("nonce")?.null())
        .and_then(|encoder| encoder.str("public_key")?.null());
    encoder.into_writer()
}

/// The document in `Response::Attestation`, or the code in `Response::Error`.
fn document(response: &[u8]) -> Result<&[u8], AttesterError> {
    let malformed = |why: &str| AttesterError::Answer { what: "the Nitro Secure Module's answer", why: why.to_owned() };
    let mut decoder = Decoder::new(response);
    let entry = decoder.map().ok().filter(|length| *length == Some(1)).and_then(|_| decoder.str().ok());
    let answer = match entry {
        Some("Attestation") => attestation(&mut decoder).ok_or_else(|| malformed("it holds no `document`"))?,
        Some("Error") => {
            let code = decoder.str().map_err(|_| malformed("its error has no code"))?;
            return Err(AttesterError::Nsm {
                code: code.chars().filter(char::is_ascii_alphanumeric).take(64).collect(),
            });
        }
        Some(_) => return Err(malformed("it answers another request")),
        None => return Err(malformed("it is not CBOR of one entry with a name")),
    };
    if decoder.position() == response.len() { Ok(answer) } else { Err(malformed("bytes follow it")) }
}

fn attestation<'a>(decoder: &mut Decoder<'a>) -> Option<&'a [u8]> {
    let mut document = None;
    for _ in 0..decoder.map().ok()??.min(8) {
        match decoder.str().ok()? {
            "document" if document.is_none() && decoder.datatype().ok()? == Type::Bytes => {
                document = Some(decoder.bytes().ok()?);
            }
            "document" => return None,
            _ => decoder.skip().ok()?,
        }
    }
    document.filter(|document| !document.is_empty())
}

/// What the module's error codes mean.
pub(crate) fn meaning(code: &str) -> &'static str {
    match code {
        "InvalidArgument" => "it does not take one of the arguments",
        "InvalidOperation" => "it cannot do that in its present state",
        "InputTooLarge" => "the request is too long for it",
        "BufferTooSmall" => "the document is too long for the driver",
        "InternalError" => "it failed inside; restart the enclave if it goes on",
        _ => "see the Nitro Secure Module's API",
    }
}

/// The body of a fuzz target: reads `bytes` as the module's answer. It must not panic.
pub fn fuzz_response(bytes: &[u8]) {
    if let Ok(document) = document(bytes) {
        assert!(document.len() < bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The module: answers the request, and refuses what it does not know.
    struct Module<F>(F);

    impl<F: FnMut(&[u8]) -> io::Result<Vec<u8>> + Send> NsmDevice for Module<F> {
        fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> io::Result<usize> {
            let answer = (self.0)(request)?;
            let length = answer.len().min(response.len());
            response[..length].copy_from_slice(&answer[..length]);
            Ok(length)
        }
    }

    fn attester(answer: impl FnMut(&[u8]) -> io::Result<Vec<u8>> + Send + 'static) -> NsmAttester {
        NsmAttester::with_device(Box::new(Module(answer)), "/dev/nsm".as_ref())
    }

    fn binding() -> BindingData {
        BindingData { report_data: [0xd7; 64], qualifying_data: [9; 32] }
    }

    /// `{"Attestation": {"document": bytes}}`, the length in two bytes as the module writes longer ones.
    fn answer(document: &[u8]) -> Vec<u8> {
        let length = u16::try_from(document.len()).unwrap().to_be_bytes();
        [&b"\xa1\x6bAttestation\xa1\x68document\x59"[..], &length, document].concat()
    }

    /// A document's shape, as far as this side looks: COSE_Sign1 around a payload that holds the user data.
    fn signed(user_data: &[u8]) -> Vec<u8> {
        [&b"\x84\x44\xa1\x01\x38\x22\xa0\x59\x11\x00"[..], &[0xaa; 300], user_data, &[0x55; 96]].concat()
    }

    #[test]
    fn a_request_stands_as_the_module_reads_it() {
        let expected =
            [&b"\xa1\x6bAttestation\xa3\x69user_data\x58\x40"[..], &[0xd7; 64], b"\x65nonce\xf6\x6apublic_key\xf6"]
                .concat();
        assert_eq!(request(&[0xd7; 64]), expected);
        assert!(expected.len() < Nsm::MAX_REQUEST);
    }

    #[test]
    fn a_document_over_the_report_data_is_evidence() {
        let mut attester = attester(|request| {
            assert_eq!(request, super::request(&[0xd7; 64]));
            Ok(answer(&signed(&request[26..90])))
        });
        let evidence = attester.evidence(&binding()).unwrap();
        assert_eq!(evidence.lead.tee, Tee::Nitro);
        assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["document.cose"]);
        assert_eq!(evidence.lead.item("document.cose").unwrap(), signed(&[0xd7; 64]));
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let mut attester = attester(|_| Ok(b"\xa1\x65Error\x6fInvalidArgument".to_vec()));
        let error = attester.evidence(&binding()).unwrap_err();
        assert!(matches!(&error, AttesterError::Nsm { code } if code == "InvalidArgument"), "{error}");
        assert!(error.to_string().contains("does not take one of the arguments"));
    }

    #[test]
    fn a_document_over_other_data_is_not_handed_on() {
        let mut attester = attester(|_| Ok(answer(&signed(&[0xd6; 64]))));
        assert!(matches!(attester.evidence(&binding()), Err(AttesterError::NotBound { .. })));
    }

    #[test]
    fn an_answer_that_was_cut_or_is_another_is_malformed() {
        let long = answer(&[&signed(&[0xd7; 64])[..], &[0; 0x3000]].concat());
        let short = answer(&signed(&[0xd7; 64]));
        let cases: [(Vec<u8>, &str); 8] = [
            (long, "no `document`"),
            ([&short[..], b"\0"].concat(), "bytes follow it"),
            (b"\x67LockPCR".to_vec(), "not CBOR of one entry"),
            (b"\xa1\x69GetRandom\xa1\x66random\x41\x00".to_vec(), "another request"),
            (b"\xa1\x6bAttestation\xa0".to_vec(), "no `document`"),
            (b"\xa1\x6bAttestation\xa1\x68document\x60".to_vec(), "no `document`"),
            (b"\xa1\x65Error\x01".to_vec(), "no code"),
            (Vec::new(), "not CBOR of one entry"),
        ];
        for (bytes, why) in cases {
            let error = attester(move |_| Ok(bytes.clone())).evidence(&binding()).unwrap_err().to_string();
            assert!(error.contains("answer is malformed") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_driver_that_fails_is_named() {
        for (errno, said) in [(110, "timed out"), (90, "too long")] {
            let mut attester = attester(move |_| Err(io::Error::from_raw_os_error(errno)));
            let error = attester.evidence(&binding()).unwrap_err().to_string();
            assert!(error.contains("`/dev/nsm`") && error.contains(said), "{error}");
        }
        let error = NsmAttester::open("/nowhere/dev/nsm".as_ref()).unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("load the module nsm"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_and_altered_answers_never_panic(bytes: Vec<u8>, at in 0usize..500, bit in 0u8..8) {
            fuzz_response(&bytes);
            let mut altered = answer(&signed(&[1; 64]));
            let at = at % altered.len();
            altered[at] ^= 1 << bit;
            fuzz_response(&altered);
        }
    }
}
