//! Normalised claims: what verified evidence says, in words that are the same for every TEE.
//!
//! A claim that a TEE cannot make is absent (`None`), which is distinct from false. The TEE's own, raw fields travel
//! beside these in the verifier's result; policies speak of these alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::Encoder;
use crate::name::text_serde;
use crate::operation::words;
use crate::{ParseError, Registers};

words!(
    /// A kind of trusted execution environment, or of evidence about one.
    Tee, "TEE", "expected one of snp, tdx, sgx, nitro, tpm, az-vtpm, cca, nvidia-gpu, simulated",
    {
        /// AMD SEV-SNP.
        Snp = "snp",
        /// Intel TDX.
        Tdx = "tdx",
        /// Intel SGX.
        Sgx = "sgx",
        /// AWS Nitro Enclaves.
        Nitro = "nitro",
        /// A machine measured by a TPM 2.0.
        Tpm = "tpm",
        /// An Azure confidential VM: hardware report and vTPM quote bound together.
        AzVtpm = "az-vtpm",
        /// Arm CCA.
        Cca = "cca",
        /// An NVIDIA GPU, as a part beside a CPU TEE.
        NvidiaGpu = "nvidia-gpu",
        /// No TEE: evidence made by software, which proves nothing; taken only in a `dev` domain.
        Simulated = "simulated",
    }
);

impl Tee {
    /// Whether hardware proves who signed what was launched: MRSIGNER, an ID block's key, PCR8, pretended by the simulated TEE.
    /// Of TDX, CCA and a TPM whoever runs the host says so.
    pub const fn proves_signer(self) -> bool {
        matches!(self, Self::Snp | Self::Sgx | Self::Nitro | Self::AzVtpm | Self::Simulated)
    }
}

words!(
    /// How a platform's trusted computing base stands, folded over all its parts.
    TcbStatus, "TCB status",
    "expected one of up-to-date, hardening-needed, configuration-needed, out-of-date, revoked, vendor-managed",
    {
        /// Nothing newer is asked for.
        UpToDate = "up-to-date",
        /// Up to date, but software must mitigate (Intel SWHardeningNeeded).
        HardeningNeeded = "hardening-needed",
        /// Up to date, but the platform's configuration must change (Intel ConfigurationNeeded).
        ConfigurationNeeded = "configuration-needed",
        /// Below the vendor's or the registration's floor.
        OutOfDate = "out-of-date",
        /// Revoked by the vendor.
        Revoked = "revoked",
        /// The vendor states no level (Nitro; a TPM's firmware).
        VendorManaged = "vendor-managed",
    }
);

words!(
    /// What an attestation showed.
    Proved, "proof", "expected one of launch, boot, runtime",
    {
        /// What was launched.
        Launch = "launch",
        /// What was booted, stage by stage.
        Boot = "boot",
        /// What was loaded since.
        Runtime = "runtime",
    }
);

words!(
    /// Something about a trust domain's attributes (Intel TDX Module ABI 1.5, ATTRIBUTES) that is refused unless it is conceded.
    TdAttribute, "TD attribute", "expected one of sept-ve, pks, key-locker, provisioning-agent, perfmon",
    {
        /// `SEPT_VE_DISABLE` is off: the host can make the TD take an exception on access to its own memory.
        SeptVe = "sept-ve",
        /// The TD may use supervisor protection keys.
        Pks = "pks",
        /// The TD may use Key Locker.
        KeyLocker = "key-locker",
        /// The TD may be a provisioning agent of TDX Connect.
        ProvisioningAgent = "provisioning-agent",
        /// The TD may use performance monitoring.
        Perfmon = "perfmon",
    }
);

/// Bytes that people see as hexadecimal: measurements, signers, platform ids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HexBytes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        hex::decode(text)
            .map(Self)
            .map_err(|_| ParseError::new("hexadecimal text", text, "expected an even number of digits 0-9, a-f"))
    }
}

impl From<&[u8]> for HexBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

text_serde!(HexBytes);

/// What verified evidence says of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Claims {
    /// The TEE that vouches.
    pub tee: Tee,
    /// The product, in the vendor's word: `milan`, `tdx-1.5`, the TPM's manufacturer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// An opaque name of the platform: chip id, PPID, hash of the endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_id: Option<HexBytes>,
    /// The platform's trusted computing base.
    pub tcb: TcbClaims,
    /// Whether the operator of the host can look inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<bool>,
    /// Whether the instance may be moved by an agent that sees its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migratable: Option<bool>,
    /// The level that asked for the evidence, 0 the most privileged (VMPL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privilege: Option<u32>,
    /// What was launched.
    pub launch: LaunchClaims,
    /// Registers that grow after launch, by name: `pcr0`, `rtmr3`.
    #[serde(default, skip_serializing_if = "is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, HexBytes>))]
    pub registers: Registers,
    /// The digest of configuration that the launcher set: HOST_DATA, MRCONFIGID, CONFIGID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<HexBytes>,
    /// The caller's bytes inside the evidence: report data, a quote's qualifying data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<HexBytes>,
    /// What the boot event log says, as far as the registers prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootClaims>,
    /// Of a trust domain (TDX): what else it, or others with it, may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub td: Option<TdClaims>,
    /// What the evidence showed.
    pub proved: BTreeSet<Proved>,
}

fn is_empty(registers: &Registers) -> bool {
    registers.is_empty()
}

/// What a trust domain (TDX), or others with it, may do beyond what any TEE may. The default is the strictest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TdClaims {
    /// What of its attributes is refused unless it is conceded.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub attributes: BTreeSet<TdAttribute>,
    /// Whether a service TD, which can read or move it, is bound to it or may be.
    pub service_td: bool,
}

/// What a boot event log says of the boot. A claim is there only where nobody could have made it up after the machine was
/// booted; which of a log's entries that holds for is the verifier's to know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BootClaims {
    /// Whether the firmware enforced UEFI Secure Boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The kernel's command line, as the boot loader measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_command_line: Option<String>,
    /// The digests of the UEFI programs that were started (boot loaders; a kernel that is one), in the order of their start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<HexBytes>,
}

impl BootClaims {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The state of a platform's trusted computing base.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TcbClaims {
    /// The verdict over all its parts.
    pub status: TcbStatus,
    /// Security version numbers by component, as the TEE names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub svn: BTreeMap<String, u64>,
    /// The vendor's advisories that apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

impl TcbClaims {
    /// A TCB of this status about which nothing more is known.
    pub fn new(status: TcbStatus) -> Self {
        Self { status, svn: BTreeMap::new(), advisories: Vec::new() }
    }
}

/// What was launched.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LaunchClaims {
    /// The digest of what was launched: MEASUREMENT, MRTD, MRENCLAVE, PCR0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<HexBytes>,
    /// The digest of the key that signed it, where hardware proves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<HexBytes>,
    /// The signer's word for which product it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    /// The signer's security version number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svn: Option<u64>,
}

/// What evidence must say to belong to a release: every value that stands here must be found, and found equal (`min_svn`:
/// at least).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReferenceValue {
    /// The TEE.
    pub tee: Tee,
    /// The launch measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<HexBytes>,
    /// The signer's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<HexBytes>,
    /// The signer's product id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
    /// The lowest security version number of the launch that is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_svn: Option<u64>,
    /// Registers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registers: BTreeMap<String, HexBytes>,
    /// The launcher's configuration digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<HexBytes>,
}

impl ReferenceValue {
    /// The canonical bytes whose SHA-256 names this value ([`crate::ReferenceDigest`]).
    pub fn canonical_bytes(&self) -> Vec<u8> {
        fn optional(encoder: Encoder, value: Option<&[u8]>) -> Encoder {
            let items: Vec<&[u8]> = value.into_iter().collect();
            encoder.list(items)
        }
        let mut encoder = Encoder::new().text("burgrave-reference-value-v1").text(self.tee.as_str());
        encoder = optional(encoder, self.measurement.as_ref().map(HexBytes::as_bytes));
        encoder = optional(encoder, self.signer.as_ref().map(HexBytes::as_bytes));
        encoder = optional(encoder, self.product_id.as_ref().map(String::as_bytes));
        encoder = optional(encoder, self.min_svn.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        encoder = optional(encoder, self.config.as_ref().map(HexBytes::as_bytes));
        encoder = encoder.u64(self.registers.len() as u64);
        for (name, value) in &self.registers {
            encoder = encoder.text(name).bytes(value.as_bytes());
        }
        encoder.finish()
    }

    /// Whether only code that somebody approved can be meant: the launch is named, by its measurement or by a signer that hardware
    /// proves. Other values alone accept any code, since whoever runs the host or wrote that code chooses them: HOST_DATA,
    /// MRCONFIGID and CONFIGID at the launch, an RTMR or REM by extending it with the digests of a good boot, the PCRs of an
    /// Azure machine by another paravisor. A TPM proves PCRs and no launch, so that of a TPM at least one PCR must be named.
    pub fn names_code(&self) -> bool {
        let launch = self.measurement.is_some() || self.signer.is_some() && self.tee.proves_signer();
        match self.tee {
            Tee::Snp | Tee::Tdx | Tee::Sgx | Tee::Nitro | Tee::AzVtpm | Tee::Cca => launch,
            Tee::Tpm => !self.registers.is_empty(),
            Tee::NvidiaGpu | Tee::Simulated => launch || !self.registers.is_empty() || self.config.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> ReferenceValue {
        ReferenceValue {
            tee: Tee::Tpm,
            measurement: None,
            signer: None,
            product_id: None,
            min_svn: None,
            registers: BTreeMap::from([("pcr0".to_owned(), HexBytes(vec![1; 32]))]),
            config: None,
        }
    }

    #[test]
    fn canonical_bytes_tell_fields_of_equal_content_apart() {
        let mut measured = reference();
        measured.measurement = Some(HexBytes(vec![2; 32]));
        let mut signed = reference();
        signed.signer = Some(HexBytes(vec![2; 32]));
        assert_ne!(measured.canonical_bytes(), signed.canonical_bytes());
    }

    #[test]
    fn a_reference_value_with_an_unknown_field_is_refused() {
        let error = serde_json::from_str::<ReferenceValue>(r#"{"tee":"tpm","mesurement":"00"}"#).unwrap_err();
        assert!(error.to_string().contains("mesurement"), "{error}");
    }

    #[test]
    fn a_value_names_code_where_the_launch_is_named_and_not_what_its_launcher_chooses() {
        let measured = Some(HexBytes(vec![1; 48]));
        let chosen = |tee| ReferenceValue { tee, config: Some(HexBytes(vec![2; 32])), ..reference() };
        for tee in Tee::ALL.iter().copied() {
            let launcher_chooses = !matches!(tee, Tee::Tpm | Tee::NvidiaGpu | Tee::Simulated);
            assert_eq!(chosen(tee).names_code(), !launcher_chooses, "{tee}");
            let signed = ReferenceValue { signer: measured.clone(), ..chosen(tee) };
            assert_eq!(signed.names_code(), !launcher_chooses || tee.proves_signer(), "{tee}");
            assert!(ReferenceValue { measurement: measured.clone(), ..chosen(tee) }.names_code(), "{tee}");
            let nothing = ReferenceValue { config: None, registers: BTreeMap::new(), ..chosen(tee) };
            assert!(!nothing.names_code(), "{tee}");
        }
    }
}
