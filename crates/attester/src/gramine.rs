//! SGX quotes from Gramine's pseudo files `/dev/attestation/…` (Gramine, "Attestation and Secret Provisioning").

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burgrave_types::{Evidence, EvidencePart, Tee};

use crate::bound::covers;
use crate::{Attester, AttesterError, BindingData, files};

/// The item of the quote.
pub(crate) const QUOTE: &str = "quote.bin";

/// The longest quote that is taken; Gramine's own buffer has 8 KiB.
const MAX_QUOTE: usize = 32 * 1024;

/// How often a quote is asked for while other threads of the enclave use the same file.
const TRIES: u32 = 5;

/// An attester inside an SGX enclave that Gramine runs.
#[derive(Clone, Debug)]
pub struct GramineAttester {
    dir: PathBuf,
}

impl GramineAttester {
    /// Finds the pseudo files in `dir`, which is `/dev/attestation` under Gramine.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where Gramine is not there or gives no DCAP quotes, [`AttesterError::Kernel`] where its files
    /// cannot be read.
    pub fn open(dir: &Path) -> Result<Self, AttesterError> {
        let absent = |why: String| AttesterError::Absent { interface: "gramine", why };
        let path = dir.join("attestation_type");
        let kind = match files::read(&path, 64) {
            Ok(kind) => kind.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(absent(format!("`{}` is not there; it is under Gramine alone", path.display())));
            }
            Err(error) => return Err(files::failed("read", &path, error, "")),
        };
        match kind.trim_ascii() {
            b"dcap" => Ok(Self { dir: dir.to_owned() }),
            other => Err(absent(format!(
                "`{}` says `{}`; set sgx.remote_attestation = \"dcap\" in the manifest and run with gramine-sgx",
                path.display(),
                other.escape_ascii(),
            ))),
        }
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, AttesterError> {
        let path = self.dir.join("user_report_data");
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(report_data))
            .map_err(|error| files::failed("write", &path, error, ""))?;
        let path = self.dir.join(QUOTE_FILE);
        match files::read(&path, MAX_QUOTE) {
            Ok(Ok(quote)) => Ok(quote),
            Ok(Err(files::TooLong)) => Err(AttesterError::TooLong { at: path.display().to_string(), limit: MAX_QUOTE }),
            Err(error) => {
                Err(files::failed("read", &path, error, "the host's quoting service (aesmd) must run and reach a PCCS"))
            }
        }
    }
}

/// Gramine's name of the file whose content is a new quote each time it is opened.
const QUOTE_FILE: &str = "quote";

impl Attester for GramineAttester {
    fn tee(&self) -> Tee {
        Tee::Sgx
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        // The report data is one for the whole enclave: another thread may set its own in between.
        for _ in 0..TRIES {
            let quote = self.quote(&binding.report_data)?;
            if covers(Tee::Sgx, &quote, &binding.report_data) {
                return Ok(Evidence::single(EvidencePart::new(Tee::Sgx, [(QUOTE, quote)])));
            }
        }
        Err(AttesterError::NotBound { tee: Tee::Sgx, at: self.dir.display().to_string() })
    }
}

#[cfg(test)]
mod tests;
