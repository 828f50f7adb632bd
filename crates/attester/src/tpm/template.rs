//! The keys' templates: public areas (`TPMT_PUBLIC`, Part 2, 12.2.4) as the TPM is asked to make them.

/// Which endorsement key is used: the vendor's certificate is for exactly one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EkKind {
    /// RSA-2048, template L-1 of the TCG EK Credential Profile (2.3, B.3.3).
    Rsa2048,
    /// ECC NIST P-256, template L-2 (B.3.4).
    EccP256,
}

/// What both EK templates share after the type: name algorithm SHA-256, attributes 0x000300b2 (fixedTPM, fixedParent,
/// sensitiveDataOrigin, adminWithPolicy, restricted, decrypt), the policy PolicySecret(TPM_RH_ENDORSEMENT), AES-128-CFB
/// for what the key protects, and no scheme.
const EK: [u8; 48] = *b"\x00\x0b\x00\x03\x00\xb2\x00\x20\
    \x83\x71\x97\x67\x44\x84\xb3\xf8\x1a\x90\xcc\x8d\x46\xa5\xd7\x24\
    \xfd\x52\xd7\x6e\x06\x52\x0b\x64\xf2\xa1\xda\x1b\x33\x14\x69\xaa\
    \x00\x06\x00\x80\x00\x43\x00\x10";

/// The attestation key: ECC, name algorithm SHA-256, attributes 0x00050072 (fixedTPM, fixedParent, sensitiveDataOrigin,
/// userWithAuth, restricted, sign), no policy, no symmetric algorithm, ECDSA with SHA-256, curve P-256, no KDF, and an
/// empty point.
pub(super) const AK: [u8; 24] = *b"\x00\x23\x00\x0b\x00\x05\x00\x72\x00\x00\
    \x00\x10\x00\x18\x00\x0b\x00\x03\x00\x10\x00\x00\x00\x00";

impl EkKind {
    /// The template that makes the key.
    pub(super) fn template(self) -> Vec<u8> {
        match self {
            // 2048 bits, the default exponent, 256 zero bytes for the modulus.
            Self::Rsa2048 => [b"\x00\x01", EK.as_slice(), b"\x08\x00\x00\x00\x00\x00\x01\x00", &[0; 256]].concat(),
            // Curve P-256, no KDF, 32 zero bytes for each coordinate.
            Self::EccP256 => {
                [b"\x00\x23", EK.as_slice(), b"\x00\x03\x00\x10\x00\x20", &[0; 32], b"\x00\x20", &[0; 32]].concat()
            }
        }
    }

    /// The NV index of the vendor's certificate (EK Credential Profile 2.3, 2.2.1.4).
    pub(super) fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::EccP256 => 0x01c0_000a,
        }
    }

    /// The name of the certificate among the items of the evidence.
    pub(super) fn certificate_item(self) -> &'static str {
        match self {
            Self::Rsa2048 => "ekcert-rsa.der",
            Self::EccP256 => "ekcert-ecc.der",
        }
    }
}
