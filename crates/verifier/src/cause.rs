//! The vocabulary of refusal: which rule a piece of evidence broke.

use std::fmt;
use std::str::FromStr;

use burgrave_types::ParseError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal $class:ident),+ $(,)?) => {
        /// Why evidence was refused: a closed set of stable codes, each of which a check of some TEE may name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Cause { $($(#[$doc])* $variant),+ }

        impl Cause {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Whether only a policy refuses: the evidence may be authentic all the same.
            pub const fn is_policy(self) -> bool {
                match self { $(Self::$variant => causes!(@ $class)),+ }
            }
        }

        impl FromStr for Cause {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseError::new("cause", text, "expected a code such as `signature.invalid`")),
                }
            }
        }
    };
    (@ policy) => { true };
    (@ authentic) => { false };
}

causes! {
    /// Bytes that do not parse as what they should be.
    FormatMalformed = "format.malformed" authentic,
    /// Fewer or more bytes than the format has.
    FormatLength = "format.length" authentic,
    /// A version of the format that is not known.
    FormatVersion = "format.version" authentic,
    /// An algorithm that is not known or not taken.
    FormatAlgorithm = "format.algorithm" authentic,
    /// The chain ends at no pinned root.
    ChainUntrusted = "chain.untrusted" authentic,
    /// A signature in the chain does not verify.
    ChainSignature = "chain.signature" authentic,
    /// A certificate is used for what it may not do (CA flag, path length, key usage).
    ChainConstraint = "chain.constraint" authentic,
    /// A certificate is not valid yet or no longer.
    CertificateValidity = "certificate.validity" authentic,
    /// A certificate is revoked.
    CertificateRevoked = "certificate.revoked" authentic,
    /// A certificate is of another kind than the evidence needs.
    CertificateKind = "certificate.kind" authentic,
    /// A vendor extension is missing or says something else than the evidence.
    CertificateExtension = "certificate.extension" authentic,
    /// A revocation list is not valid yet or no longer.
    CrlValidity = "crl.validity" authentic,
    /// A revocation list is not signed by its issuer.
    CrlSignature = "crl.signature" authentic,
    /// Collateral is missing, not valid yet or no longer.
    CollateralValidity = "collateral.validity" authentic,
    /// Collateral is not signed by its vendor.
    CollateralSignature = "collateral.signature" authentic,
    /// Collateral is for another platform.
    CollateralMismatch = "collateral.mismatch" authentic,
    /// The signature over the evidence does not verify.
    SignatureInvalid = "signature.invalid" authentic,
    /// The certificate belongs to another chip.
    ChipMismatch = "chip.mismatch" authentic,
    /// The TCB numbers of evidence and certificate, or within the evidence, contradict each other.
    TcbMismatch = "tcb.mismatch" authentic,
    /// The platform's TCB stands below what is asked for.
    TcbStatus = "tcb.status" policy,
    /// The vendor lists no level for the platform's TCB.
    TcbNoLevel = "tcb.no_level" policy,
    /// The quoting enclave is not the vendor's.
    QeIdentity = "qe.identity" authentic,
    /// The quoting enclave does not vouch for the attestation key.
    QeBinding = "qe.binding" authentic,
    /// The TDX module is not the vendor's.
    ModuleIdentity = "module.identity" authentic,
    /// The TD's or enclave's attributes are not taken.
    TdAttributes = "td.attributes" policy,
    /// A service TD is bound.
    ServiceTd = "service_td" policy,
    /// The host's operator can look inside.
    Debug = "debug" policy,
    /// The evidence was asked for at too low a privilege (VMPL).
    Privilege = "privilege" policy,
    /// A migration agent may move the instance.
    Migration = "migration" policy,
    /// The evidence does not carry the nonce.
    BindingNonce = "binding.nonce" policy,
    /// The evidence does not carry the report data.
    BindingReportData = "binding.report_data" policy,
    /// A part of the evidence is not bound to the one that should carry it.
    BindingPart = "binding.part" authentic,
    /// The PCR values do not hash to what was quoted.
    PcrDigest = "pcr.digest" authentic,
    /// The quote does not cover the PCRs that it should.
    PcrSelection = "pcr.selection" policy,
    /// An event log does not give the register that was quoted.
    LogReplay = "log.replay" authentic,
    /// An event log that is demanded is not there, or explains nothing.
    LogAbsent = "log.absent" policy,
    /// The run-time log goes on from where nothing is known: it must be sent from its start.
    LogGap = "log.gap" policy,
    /// The run-time log does not reach the quoted register yet: its rest must be sent.
    LogIncomplete = "log.incomplete" policy,
    /// Something was loaded at run time that is not allowed.
    RuntimeUnlisted = "runtime.unlisted" policy,
    /// The signed structure is no quote made by a TPM.
    QuoteStructure = "quote.structure" authentic,
    /// The attestation key is not one that signs only what the TPM made.
    AkAttributes = "ak.attributes" authentic,
    /// The attestation key is not proven to stand in the TPM of the endorsement key.
    AkUnbound = "ak.unbound" policy,
    /// The measurement belongs to no accepted release.
    MeasurementUnknown = "measurement.unknown" policy,
    /// The platform is not on the registration's list.
    PlatformUnlisted = "platform.unlisted" policy,
    /// Simulated evidence where none is taken: it proves nothing, so it is not authentic either.
    SimulatedRefused = "simulated.refused" authentic,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_reads_back_from_its_code() {
        for cause in Cause::ALL {
            assert_eq!(cause.as_str().parse::<Cause>().unwrap(), *cause);
        }
    }
}
