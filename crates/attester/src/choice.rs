//! Which TEE is asked: chosen by name, or by what the machine has.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use crate::files::{self, below};
use crate::sev_guest::privilege_level;
use crate::{
    Attester, AttesterError, AzureAttester, ConfigfsTsm, EkKind, EventLogs, GramineAttester, NsmAttester,
    SevGuestAttester, SimulatedAttester, TpmAttester, Transport, configfs,
};

/// A source of evidence that a machine may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Gramine's pseudo files: SGX.
    Gramine,
    /// The kernel's common interface: SEV-SNP, TDX, Arm CCA.
    ConfigfsTsm,
    /// The SEV-SNP guest driver's own device.
    SevGuest,
    /// The Nitro Secure Module.
    Nsm,
    /// Azure's paravisor, through its vTPM: SEV-SNP, TDX.
    AzVtpm,
    /// A TPM 2.0. The weakest: whoever is root after boot has the enclave.
    Tpm,
}

impl Source {
    /// All of them, best first: what isolates from the host before what only measures the boot, and the kernel's common
    /// interface before a driver's own.
    pub const ALL: [Self; 6] = [Self::Gramine, Self::ConfigfsTsm, Self::SevGuest, Self::Nsm, Self::AzVtpm, Self::Tpm];

    /// The name by which it is chosen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gramine => "gramine",
            Self::ConfigfsTsm => "configfs-tsm",
            Self::SevGuest => "sev-guest",
            Self::Nsm => "nsm",
            Self::AzVtpm => "az-vtpm",
            Self::Tpm => "tpm",
        }
    }

    /// Where it is, below the root; the first that is there is used.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Gramine => &["dev/attestation/attestation_type"],
            Self::ConfigfsTsm => &[configfs::DIR],
            Self::SevGuest => &["dev/sev-guest"],
            Self::Nsm => &["dev/nsm"],
            Self::AzVtpm | Self::Tpm => &["dev/tpmrm0", "dev/tpm0"],
        }
    }

    fn is_below(self, root: &Path) -> bool {
        let is_there = self.paths().iter().any(|path| below(root, path).exists());
        is_there && (self != Self::AzVtpm || is_azure(root))
    }
}

/// Whether the machine is one of Azure's, by the chassis that its hypervisor shows (SMBIOS).
fn is_azure(root: &Path) -> bool {
    const CHASSIS: &[u8] = b"7783-7084-3265-9085-8269-3286-77";
    let tag = files::read(&below(root, "sys/class/dmi/id/chassis_asset_tag"), 256);
    tag.is_ok_and(|tag| tag.is_ok_and(|tag| tag.trim_ascii() == CHASSIS))
}

/// The machine's TPM; `/dev/tpmrm0` where it has none.
fn tpm_device(root: &Path) -> Transport {
    let there = Source::Tpm.paths().iter().map(|path| below(root, path)).find(|path| path.exists());
    Transport::Device(there.unwrap_or_else(|| below(root, "dev/tpmrm0")))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The sources whose files are there below `root` (`/` on a real machine), best first. Nothing is opened: some of them may
/// still turn out to have no TEE behind them.
///
/// ```
/// assert!(burgrave_attester::detect("/no/such/root".as_ref()).is_empty());
/// ```
pub fn detect(root: &Path) -> Vec<Source> {
    Source::ALL.into_iter().filter(|source| source.is_below(root)).collect()
}

/// An attester as a configuration names it.
///
/// ```
/// use burgrave_attester::AttesterSpec;
///
/// let spec: AttesterSpec = "tpm:/dev/tpmrm0,pcrs=0+7+10,ek=ecc".parse()?;
/// assert_eq!(spec.to_string(), "tpm:/dev/tpmrm0,pcrs=0+7+10,ek=ecc");
/// assert!("sgx".parse::<AttesterSpec>().is_err());
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttesterSpec {
    /// `auto`: the best source that the machine has. The simulated TEE is never among them.
    Auto,
    /// `gramine`.
    Gramine,
    /// `configfs-tsm`, with `,privlevel=<0 to 3>` where the report shall show another privilege level than the kernel's
    /// lowest.
    ConfigfsTsm {
        /// The privilege level.
        privilege_level: Option<u8>,
    },
    /// `sev-guest`, with `,vmpl=<0 to 3>` where the report shall show another level than 0.
    SevGuest {
        /// The virtual machine privilege level.
        vmpl: u8,
    },
    /// `nsm`.
    Nsm,
    /// `az-vtpm`: an Azure confidential machine, with `,pcrs=` as a TPM has it.
    AzVtpm {
        /// The PCRs to quote instead of the usual.
        pcrs: Option<BTreeSet<u8>>,
    },
    /// `tpm`, or `tpm:<device>`, `tpm:unix:<socket>`, `tpm:<ip>:<port>`.
    Tpm(TpmSpec),
    /// `simulated:<code name>`: software that pretends, for `dev` domains.
    Simulated(String),
}

/// How a TPM is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TpmSpec {
    /// The way to it.
    pub transport: Transport,
    /// `,pcrs=<index>+<index>…`: the PCRs to quote instead of the usual. With 10 among them, the evidence carries the run-time
    /// log.
    pub pcrs: Option<BTreeSet<u8>>,
    /// `,ek=rsa` or `,ek=ecc`: the endorsement key.
    pub ek: EkKind,
}

/// What is expected of the text, for errors and help.
const EXPECTED: &str = "`auto`, `configfs-tsm[,privlevel=<0 to 3>]`, `sev-guest[,vmpl=<0 to 3>]`, `nsm`, `gramine`, \
     `az-vtpm[,pcrs=<index>+<index>…]`, \
     `tpm[:<device>|:unix:<socket>|:<ip>:<port>][,pcrs=<index>+<index>…][,ek=rsa|ecc]`, \
     or `simulated:<code name>` in a dev domain";

impl AttesterSpec {
    /// Opens the attester on this machine.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where the interface is not there, [`AttesterError::NoTee`] where `auto` finds none. `auto`
    /// passes over what is absent, but not over what is there and fails: a TEE that may not be used is not silently replaced
    /// by a weaker one.
    pub fn open(&self) -> Result<Box<dyn Attester>, AttesterError> {
        self.open_below("/".as_ref())
    }

    /// As [`AttesterSpec::open`], with the kernel's files below `root`. A path that the specification itself names stays as it
    /// is.
    ///
    /// # Errors
    /// As [`AttesterSpec::open`].
    pub fn open_below(&self, root: &Path) -> Result<Box<dyn Attester>, AttesterError> {
        Ok(match self {
            Self::Auto => return automatic(root),
            Self::Gramine => Box::new(GramineAttester::open(&below(root, "dev/attestation"))?),
            Self::ConfigfsTsm { privilege_level: None } => Box::new(ConfigfsTsm::open(root)?),
            Self::ConfigfsTsm { privilege_level: Some(level) } => {
                Box::new(ConfigfsTsm::open(root)?.with_privilege_level(*level)?)
            }
            Self::SevGuest { vmpl } => {
                Box::new(SevGuestAttester::open(&below(root, "dev/sev-guest"))?.with_vmpl(*vmpl)?)
            }
            Self::Nsm => Box::new(NsmAttester::open(&below(root, "dev/nsm"))?),
            Self::AzVtpm { pcrs } => {
                let attester = AzureAttester::open(tpm_device(root))?.with_logs(EventLogs::new(root));
                match pcrs {
                    None => Box::new(attester),
                    Some(pcrs) => Box::new(attester.with_pcrs(pcrs.iter().copied())?),
                }
            }
            Self::Tpm(spec) => Box::new(spec.attester(root)?),
            Self::Simulated(code) => Box::new(SimulatedAttester::of_code(code)),
        })
    }
}

impl TpmSpec {
    /// The usual PCRs and the RSA endorsement key, over `transport`.
    pub fn new(transport: Transport) -> Self {
        Self { transport, pcrs: None, ek: EkKind::Rsa2048 }
    }

    /// The attester; a TPM is reached for only when it is asked for evidence. The logs of a machine belong to the TPM that is
    /// a device of it.
    fn attester(&self, root: &Path) -> Result<TpmAttester, AttesterError> {
        let mut attester = TpmAttester::new(self.transport.clone()).with_ek(self.ek);
        if let Some(pcrs) = &self.pcrs {
            attester = attester.with_pcrs(pcrs.iter().copied())?;
        }
        Ok(match &self.transport {
            Transport::Device(_) => attester.with_logs(EventLogs::new(root)),
            Transport::UnixSocket(_) | Transport::Tcp(_) => attester,
        })
    }
}

/// Opens the best source that is there.
fn automatic(root: &Path) -> Result<Box<dyn Attester>, AttesterError> {
    let mut looked = Vec::new();
    let found = detect(root);
    let unreachable_td = below(root, "dev/tdx_guest").exists() && !found.contains(&Source::ConfigfsTsm);
    for source in found.iter().filter(|source| !(unreachable_td && **source == Source::Tpm)) {
        let spec = match source {
            Source::Gramine => AttesterSpec::Gramine,
            Source::ConfigfsTsm => AttesterSpec::ConfigfsTsm { privilege_level: None },
            Source::SevGuest => AttesterSpec::SevGuest { vmpl: 0 },
            Source::Nsm => AttesterSpec::Nsm,
            Source::AzVtpm => AttesterSpec::AzVtpm { pcrs: None },
            Source::Tpm => AttesterSpec::Tpm(TpmSpec::new(tpm_device(root))),
        };
        match spec.open_below(root) {
            Err(error) if error.is_absent() => looked.push(error.to_string()),
            opened => return opened,
        }
    }
    // Azure's paravisor is behind the TPM's path, which is named once.
    let missing = Source::ALL.iter().filter(|source| **source != Source::AzVtpm && !found.contains(source));
    looked.extend(missing.filter_map(|source| {
        source.paths().first().map(|path| format!("`{}` is not there", below(root, path).display()))
    }));
    if below(root, "dev/tdx_guest").exists() {
        looked.push(
            "this is a TDX guest: mount configfs at /sys/kernel/config and load the module tsm (Linux 6.7)".to_owned(),
        );
    }
    Err(AttesterError::NoTee { looked: looked.join("; ") })
}

impl FromStr for AttesterSpec {
    type Err = AttesterError;

    fn from_str(text: &str) -> Result<Self, AttesterError> {
        let invalid =
            || AttesterError::Argument { what: "the attester", found: format!("`{text}`"), expected: EXPECTED };
        if let Some(code) = text.strip_prefix("simulated:") {
            return if code.is_empty() { Err(invalid()) } else { Ok(Self::Simulated(code.to_owned())) };
        }
        let mut words = text.split(',');
        let name = words.next().unwrap_or_default();
        let mut options = Options(words.map(|word| word.split_once('=')).collect::<Option<_>>().ok_or_else(invalid)?);
        let level = |value: &str| value.parse().ok().and_then(|level| privilege_level(level).ok()).ok_or_else(invalid);
        let spec = match name.split_once(':') {
            None => match name {
                "auto" => Self::Auto,
                "gramine" => Self::Gramine,
                "configfs-tsm" => {
                    Self::ConfigfsTsm { privilege_level: options.take("privlevel").map(level).transpose()? }
                }
                "sev-guest" => {
                    Self::SevGuest { vmpl: options.take("vmpl").map(level).transpose()?.unwrap_or_default() }
                }
                "nsm" => Self::Nsm,
                "az-vtpm" => Self::AzVtpm { pcrs: pcrs(&mut options).ok_or_else(invalid)? },
                "tpm" => tpm("/dev/tpmrm0", &mut options).ok_or_else(invalid)?,
                _ => return Err(invalid()),
            },
            Some(("tpm", place)) => tpm(place, &mut options).ok_or_else(invalid)?,
            Some(_) => return Err(invalid()),
        };
        if options.0.is_empty() { Ok(spec) } else { Err(invalid()) }
    }
}

/// `key=value` behind the name, each taken once.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(found, _)| *found == key)?;
        Some(self.0.remove(at).1)
    }
}

/// The choice of PCRs, if there is one; nothing where it is not valid.
fn pcrs(options: &mut Options<'_>) -> Option<Option<BTreeSet<u8>>> {
    let Some(text) = options.take("pcrs") else { return Some(None) };
    let pcrs = text.split('+').map(|pcr| pcr.parse().ok().filter(|pcr| *pcr < 24));
    pcrs.collect::<Option<_>>().map(Some)
}

fn tpm(place: &str, options: &mut Options<'_>) -> Option<AttesterSpec> {
    let transport = match place.strip_prefix("unix:") {
        Some("") => return None,
        Some(path) => Transport::UnixSocket(path.into()),
        None if place.starts_with('/') => Transport::Device(place.into()),
        None => Transport::Tcp(place.parse::<SocketAddr>().ok()?),
    };
    let mut spec = TpmSpec::new(transport);
    spec.pcrs = pcrs(options)?;
    spec.ek = match options.take("ek") {
        None | Some("rsa") => EkKind::Rsa2048,
        Some("ecc") => EkKind::EccP256,
        Some(_) => return None,
    };
    Some(AttesterSpec::Tpm(spec))
}

impl fmt::Display for AttesterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gramine => f.write_str("gramine"),
            Self::ConfigfsTsm { privilege_level: None } => f.write_str("configfs-tsm"),
            Self::ConfigfsTsm { privilege_level: Some(level) } => write!(f, "configfs-tsm,privlevel={level}"),
            Self::SevGuest { vmpl: 0 } => f.write_str("sev-guest"),
            Self::SevGuest { vmpl } => write!(f, "sev-guest,vmpl={vmpl}"),
            Self::Nsm => f.write_str("nsm"),
            Self::AzVtpm { pcrs } => f.write_str("az-vtpm").and_then(|()| write_pcrs(f, pcrs.as_ref())),
            Self::Tpm(spec) => spec.fmt(f),
            Self::Simulated(code) => write!(f, "simulated:{code}"),
        }
    }
}

fn write_pcrs(f: &mut fmt::Formatter<'_>, pcrs: Option<&BTreeSet<u8>>) -> fmt::Result {
    let Some(pcrs) = pcrs else { return Ok(()) };
    let pcrs: Vec<String> = pcrs.iter().map(u8::to_string).collect();
    write!(f, ",pcrs={}", pcrs.join("+"))
}

impl fmt::Display for TpmSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::UnixSocket(path) => write!(f, "tpm:unix:{}", path.display())?,
            transport => write!(f, "tpm:{transport}")?,
        }
        write_pcrs(f, self.pcrs.as_ref())?;
        match self.ek {
            EkKind::Rsa2048 => Ok(()),
            EkKind::EccP256 => f.write_str(",ek=ecc"),
        }
    }
}

#[cfg(test)]
mod tests;
