//! Evidence of parts beside the lead: from commands which the operator names.
//!
//! The agent is one static program and cannot load what a device's maker gives to reach the device (NVIDIA's NVML is a shared
//! library of the driver's). So a [`PartSpec`] names a program that does, with the nonce as `{nonce}` among its words, and
//! [`WithParts`] runs it for each attestation.
//!
//! All devices of a kind answer one nonce, as with `nvattest collect-evidence`.

mod command;
mod error;
mod nvidia;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use burgrave_types::claims::HexBytes;
use burgrave_types::evidence::limits;
use burgrave_types::{Evidence, EvidencePart, Secret, Tee};

use crate::{Attester, AttesterError, BindingData};
pub use command::StopParts;
use command::{Command, Deadline};
pub use error::{PartError, Said};
use nvidia::Device;
pub use nvidia::fuzz_answer;

/// The word, or part of a word, in whose place the nonce stands: 64 hexadecimal digits.
const NONCE: &str = "{nonce}";
/// How long a run may take, unless something else is said.
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// A challenge lives for 60 seconds, in which the lead's evidence has to be made as well.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(55);

/// Where the evidence of a part comes from, as a configuration names it.
///
/// ```
/// use burgrave_attester::PartSpec;
///
/// let text = "nvidia-gpu:/usr/bin/nvattest collect-evidence --device gpu --nonce {nonce} --format json";
/// let spec: PartSpec = text.parse()?;
/// assert_eq!(spec.to_string(), text);
/// assert!("nvidia-gpu:nvattest {nonce}".parse::<PartSpec>().is_err());
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartSpec {
    command: Command,
    timeout: Duration,
}

impl PartSpec {
    /// A command that gives the evidence of parts of this kind. `words` are the program, by its absolute path, and what it is
    /// called with; no shell reads them. In one of these at least stands `{nonce}`.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for another kind than `nvidia-gpu`, and for words that are no such command.
    pub fn new(tee: Tee, words: Vec<String>) -> Result<Self, AttesterError> {
        let wrong = |what, found, expected| Err(AttesterError::Argument { what, found, expected });
        if tee != Tee::NvidiaGpu {
            return wrong("the kind of a part", format!("`{tee}`"), "`nvidia-gpu`");
        }
        let Some((program, arguments)) = words.split_first() else {
            return wrong("the command of a part", "no word".to_owned(), "a program and its arguments");
        };
        if !program.starts_with('/') {
            return wrong(
                "the program of a part",
                format!("`{program}`"),
                "an absolute path, e.g. `/usr/bin/nvattest`",
            );
        }
        if !arguments.iter().any(|word| word.contains(NONCE)) {
            return wrong("the command of a part", format!("`{}`", words.join(" ")), "`{nonce}` among its arguments");
        }
        if words.iter().any(|word| word.contains('\0')) {
            return wrong("the command of a part", "a zero byte".to_owned(), "words without one");
        }
        let command = Command { program: program.clone(), arguments: arguments.to_vec() };
        Ok(Self { command, timeout: USUAL_TIMEOUT })
    }

    /// Gives the command this long for one attestation.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] unless it is 1 to 55 seconds: a challenge lives for 60.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, AttesterError> {
        if !(Duration::from_secs(1)..=LONGEST_TIMEOUT).contains(&timeout) {
            let (what, found) = ("the timeout of a part", format!("{} s", timeout.as_secs()));
            return Err(AttesterError::Argument { what, found, expected: "1 to 55 s, as a challenge lives for 60" });
        }
        Ok(Self { timeout, ..self })
    }

    /// The kind of the parts.
    pub fn tee(&self) -> Tee {
        Tee::NvidiaGpu
    }

    /// The evidence of each device, which are `most` at most and answer `nonce`.
    fn evidence(&self, nonce: &[u8; 32], most: usize, stop: &StopParts) -> Result<Vec<EvidencePart>, AttesterError> {
        let run = || {
            let printed =
                self.command.run(&HexBytes::from(&nonce[..]).to_string(), Deadline::after(self.timeout), stop)?;
            let devices = nvidia::read(&printed, nonce)?;
            if devices.len() > most {
                return Err(PartError::Devices { found: devices.len(), most });
            }
            Ok(devices.into_iter().map(Device::into_part).collect())
        };
        run().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: PartError) -> AttesterError {
        AttesterError::Part { tee: self.tee(), command: self.command.to_string(), error: Box::new(error) }
    }
}

impl FromStr for PartSpec {
    type Err = AttesterError;

    /// Reads `<kind>:<program> <argument>…`; words are what stands between spaces.
    fn from_str(text: &str) -> Result<Self, AttesterError> {
        let parts = text.split_once(':').and_then(|(tee, command)| Some((tee.parse().ok()?, command)));
        let Some((tee, command)) = parts else {
            let expected = "`nvidia-gpu:<program> <argument>…`";
            return Err(AttesterError::Argument { what: "a part", found: format!("`{text}`"), expected });
        };
        Self::new(tee, command.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

impl fmt::Display for PartSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tee(), self.command)
    }
}

/// An attester beside whose evidence stands that of other devices.
///
/// ```no_run
/// use burgrave_attester::{AttesterSpec, WithParts};
///
/// let gpus = "nvidia-gpu:/usr/bin/nvattest collect-evidence --device gpu --nonce {nonce} --format json".parse()?;
/// let attester = WithParts::new(AttesterSpec::Auto.open()?, vec![gpus])?;
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
pub struct WithParts {
    lead: Box<dyn Attester>,
    sources: Vec<PartSpec>,
    stop: StopParts,
}

impl WithParts {
    /// Puts the parts that `sources` give behind those that `lead` has, in that order.
    ///
    /// # Errors
    /// [`AttesterError::Part`] where a program is not there or may not be run; [`AttesterError::Kernel`] where the system has no
    /// descriptor left.
    pub fn new(lead: Box<dyn Attester>, sources: Vec<PartSpec>) -> Result<Self, AttesterError> {
        for source in &sources {
            source.command.check().map_err(|error| source.failed(error))?;
        }
        let stop = StopParts::new().map_err(|source| AttesterError::Kernel {
            doing: "make",
            at: "eventfd".to_owned(),
            source,
            advice: "",
        })?;
        Ok(Self { lead, sources, stop })
    }

    /// What ends the runs of the commands, from another thread; to be taken before an agent has the attester.
    pub fn stop_handle(&self) -> StopParts {
        self.stop.clone()
    }
}

impl Attester for WithParts {
    fn tee(&self) -> Tee {
        self.lead.tee()
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        self.lead.evidence(binding)
    }

    fn parts(&mut self, nonce: &dyn Fn(Tee) -> [u8; 32]) -> Result<Vec<EvidencePart>, AttesterError> {
        let mut parts = self.lead.parts(nonce)?;
        for source in &self.sources {
            let most = (limits::PARTS - 1).saturating_sub(parts.len());
            parts.extend(source.evidence(&nonce(source.tee()), most, &self.stop)?);
        }
        Ok(parts)
    }

    fn log_taken(&mut self) {
        self.lead.log_taken();
    }

    fn log_forgotten(&mut self) {
        self.lead.log_forgotten();
    }

    fn activate_credential(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Secret<Vec<u8>>, AttesterError> {
        self.lead.activate_credential(id_object, encrypted_secret)
    }
}

#[cfg(test)]
mod tests;
