//! The TPM structures that evidence consists of (TPM 2.0 Library, part 2; all numbers big endian).

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use der::Encode;
use der::asn1::UintRef;

use crate::reader::Reader;

/// `TPM_ALG_NULL`.
const NULL: u16 = 0x0010;
const RSA: u16 = 0x0001;
const ECC: u16 = 0x0023;
pub(super) const RSASSA: u16 = 0x0014;
pub(super) const RSAPSS: u16 = 0x0016;
const OAEP: u16 = 0x0017;
pub(super) const ECDSA: u16 = 0x0018;
const ECDAA: u16 = 0x001a;
/// `TPM_GENERATED_VALUE`: stands first in everything that a TPM made itself.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;

/// A hash algorithm (part 2, section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hash {
    /// SHA-1: read, never relied on.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The algorithm of a `TPM_ALG_ID`.
    pub(crate) const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000b => Some(Self::Sha256),
            0x000c => Some(Self::Sha384),
            0x000d => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The `TPM_ALG_ID`.
    pub(crate) const fn id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The bank's name, as files and claims use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|hash| hash.as_str() == name)
    }

    /// The digest of `bytes`.
    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// Bytes of a digest.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The bits of `TPMA_OBJECT` (part 2, section 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes(pub u32);

impl Attributes {
    const FIXED_TPM: u32 = 1 << 1;
    const FIXED_PARENT: u32 = 1 << 4;
    const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    const RESTRICTED: u32 = 1 << 16;
    const DECRYPT: u32 = 1 << 17;
    const SIGN: u32 = 1 << 18;

    /// A key that never left this TPM and signs only what the TPM itself made.
    pub const fn are_of_attestation_key(self) -> bool {
        const NEEDED: u32 = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::RESTRICTED
            | Attributes::SIGN;
        self.0 & (NEEDED | Self::DECRYPT) == NEEDED
    }

    /// A key that never left this TPM and opens only what belongs to objects of the TPM.
    pub const fn are_of_endorsement_key(self) -> bool {
        const NEEDED: u32 = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::RESTRICTED
            | Attributes::DECRYPT;
        self.0 & (NEEDED | Self::SIGN) == NEEDED
    }
}

/// A curve (part 2, section 6.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// Bytes of a coordinate.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// The key itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// An RSA modulus and exponent.
    Rsa {
        /// Big endian, without leading zeros.
        modulus: Vec<u8>,
        /// 65537, mostly.
        exponent: u32,
    },
    /// A point, each coordinate in the curve's width.
    Ecc {
        /// Its curve.
        curve: Curve,
        /// The abscissa.
        x: Vec<u8>,
        /// The ordinate.
        y: Vec<u8>,
    },
}

/// A `TPMT_PUBLIC` of an asymmetric key (part 2, section 12.2.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Public {
    /// The algorithm of the key's name.
    pub name_algorithm: Hash,
    /// What the TPM does with the key.
    pub attributes: Attributes,
    /// Key bits of the symmetric algorithm (AES, CFB) that the key protects its children with; absent for others.
    pub(crate) symmetric_bits: Option<u16>,
    /// The key.
    pub key: Key,
    bytes: Vec<u8>,
}

impl Public {
    /// Reads a `TPMT_PUBLIC`, also behind its length (`TPM2B_PUBLIC`, as `tpm2_createak -u` and `tpm2_readpublic -o` write it),
    /// with nothing after it. `None` for anything else and for algorithms that are not known.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = public_area(bytes);
        let mut reader = Reader::new(bytes);
        let kind = reader.u16_be()?;
        let name_algorithm = Hash::from_id(reader.u16_be()?).filter(|hash| *hash != Hash::Sha1)?;
        let attributes = Attributes(reader.u32_be()?);
        reader.sized()?; // authPolicy
        let symmetric_bits = match reader.u16_be()? {
            NULL => None,
            0x0006 => {
                let bits = reader.u16_be()?;
                // AES in CFB mode is the one that part 1 has for a parent.
                (reader.u16_be()? == 0x0043).then_some(Some(bits))?
            }
            _ => return None,
        };
        match reader.u16_be()? {
            NULL => {}
            RSASSA | RSAPSS | OAEP | ECDSA => {
                Hash::from_id(reader.u16_be()?)?;
            }
            ECDAA => {
                reader.take(4)?;
            }
            _ => return None,
        }
        let key = match kind {
            RSA => {
                let bits = reader.u16_be()?;
                let exponent = reader.u32_be()?;
                let modulus = reader.sized()?.to_vec();
                let whole = modulus.len() == usize::from(bits / 8) && modulus.first().is_some_and(|byte| *byte >= 0x80);
                whole.then_some(Key::Rsa { modulus, exponent: if exponent == 0 { 65537 } else { exponent } })?
            }
            ECC => {
                let curve = match reader.u16_be()? {
                    0x0003 => Curve::P256,
                    0x0004 => Curve::P384,
                    _ => return None,
                };
                if reader.u16_be()? != NULL {
                    return None; // no key derivation scheme is defined for these keys
                }
                Key::Ecc { curve, x: padded(reader.sized()?, curve)?, y: padded(reader.sized()?, curve)? }
            }
            _ => return None,
        };
        reader.end(Self { name_algorithm, attributes, symmetric_bits, key, bytes: bytes.to_vec() })
    }

    /// The public area as it came, without its length.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key's name: the algorithm's id, and the digest of the public area (part 1, section 16).
    pub fn name(&self) -> Vec<u8> {
        [self.name_algorithm.id().to_be_bytes().as_slice(), &self.name_algorithm.digest(&self.bytes)].concat()
    }

    /// The key's qualified name beneath a parent of that qualified name; a hierarchy's is its handle (part 1, section 16).
    pub(super) fn qualified_name(&self, parent: &[u8]) -> Vec<u8> {
        let digest = self.name_algorithm.digest(&[parent, &self.name()].concat());
        [self.name_algorithm.id().to_be_bytes().as_slice(), &digest].concat()
    }

    /// The key as certificates hold it.
    pub(crate) fn subject_public_key(&self) -> Option<Vec<u8>> {
        self.key.subject_public_key()
    }
}

impl Key {
    /// The key as certificates hold it: an `RSAPublicKey` in DER, or an uncompressed point.
    pub(crate) fn subject_public_key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Rsa { modulus, exponent } => {
                let exponent = exponent.to_be_bytes();
                let key =
                    RsaPublicKey { modulus: UintRef::new(modulus).ok()?, exponent: UintRef::new(&exponent).ok()? };
                key.to_der().ok()
            }
            Self::Ecc { x, y, .. } => Some([&[4], x.as_slice(), y].concat()),
        }
    }
}

impl Public {
    /// The key as a `SubjectPublicKeyInfo` in DER, for RSA keys.
    pub(crate) fn subject_public_key_info(&self) -> Option<Vec<u8>> {
        let key = self.subject_public_key()?;
        let algorithm = spki::AlgorithmIdentifierRef {
            oid: const_oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"), // rsaEncryption
            parameters: Some(der::asn1::AnyRef::NULL),
        };
        let subject_public_key = der::asn1::BitStringRef::from_bytes(&key).ok()?;
        spki::SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der().ok()
    }
}

/// `RSAPublicKey` (RFC 8017, appendix A.1.1).
#[derive(der::Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// Which PCRs of which bank a quote covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// The bank.
    pub bank: Hash,
    /// The PCRs, ascending.
    pub pcrs: Vec<u8>,
}

/// A quote: `TPMS_ATTEST` with `TPMS_QUOTE_INFO` (part 2, sections 10.12.12 and 10.12.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quote {
    /// The qualified name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// The caller's bytes.
    pub extra_data: Vec<u8>,
    /// Milliseconds that the TPM has run.
    pub clock: u64,
    /// How often the TPM was reset; goes up with each boot.
    pub reset_count: u32,
    /// How often it was resumed since.
    pub restart_count: u32,
    /// Whether no larger clock value was ever shown before.
    pub safe: bool,
    /// The TPM's firmware.
    pub firmware_version: u64,
    /// What was quoted.
    pub selections: Vec<Selection>,
    /// The digest over the quoted values.
    pub pcr_digest: Vec<u8>,
}

/// Why bytes are no quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoQuote {
    /// They do not begin as what a TPM made.
    Magic(u32),
    /// The TPM made them, but they are no quote.
    Type(u16),
    /// They do not parse.
    Malformed,
}

impl std::fmt::Display for NoQuote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Magic(magic) => write!(f, "magic {magic:#010x}"),
            Self::Type(kind) => write!(f, "type {kind:#06x}"),
            Self::Malformed => f.write_str("fields that do not parse"),
        }
    }
}

impl Quote {
    /// Reads a quote, with nothing after it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NoQuote> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32_be().ok_or(NoQuote::Malformed)?;
        if magic != GENERATED {
            return Err(NoQuote::Magic(magic));
        }
        let kind = reader.u16_be().ok_or(NoQuote::Malformed)?;
        if kind != QUOTE {
            return Err(NoQuote::Type(kind));
        }
        Self::read_body(reader).ok_or(NoQuote::Malformed)
    }

    fn read_body(mut reader: Reader<'_>) -> Option<Self> {
        let qualified_signer = reader.sized()?.to_vec();
        let extra_data = reader.sized()?.to_vec();
        let clock = reader.u64_be()?;
        let reset_count = reader.u32_be()?;
        let restart_count = reader.u32_be()?;
        let safe = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let firmware_version = reader.u64_be()?;
        let count = reader.u32_be()?;
        if count > 16 {
            return None; // more banks than there are algorithms
        }
        let mut selections = Vec::new();
        for _ in 0..count {
            let bank = Hash::from_id(reader.u16_be()?)?;
            let octets = reader.u8()?;
            let bitmap = reader.take(usize::from(octets))?;
            let mut pcrs = Vec::with_capacity(8 * bitmap.len());
            for (first, octet) in (0..=u8::MAX).step_by(8).zip(bitmap) {
                let mut left = *octet;
                while left != 0 {
                    pcrs.push(first + u8::try_from(left.trailing_zeros()).ok()?);
                    left &= left - 1;
                }
            }
            selections.push(Selection { bank, pcrs });
        }
        let pcr_digest = reader.sized()?.to_vec();
        reader.end(Self {
            qualified_signer,
            extra_data,
            clock,
            reset_count,
            restart_count,
            safe,
            firmware_version,
            selections,
            pcr_digest,
        })
    }
}

/// A public area without the length of a `TPM2B_PUBLIC`. No public area is as long as its first two bytes, which are its type,
/// would say.
pub(super) fn public_area(bytes: &[u8]) -> &[u8] {
    match bytes.split_first_chunk() {
        Some((length, area)) if usize::from(u16::from_be_bytes(*length)) == area.len() => area,
        _ => bytes,
    }
}

/// Whether bytes begin as a structure that a TPM made.
pub(crate) fn looks_like_quote(bytes: &[u8]) -> bool {
    bytes.first_chunk::<4>() == Some(&GENERATED.to_be_bytes())
}

/// A number in the width of the curve's coordinates: a TPM may leave leading zeros out.
fn padded(number: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let mut out = vec![0; curve.length()];
    pad(number, &mut out)?;
    Some(out)
}

/// Puts a number at the end of zeros. `None` where it is longer.
pub(super) fn pad(number: &[u8], zeros: &mut [u8]) -> Option<()> {
    let missing = zeros.len().checked_sub(number.len())?;
    zeros.get_mut(missing..)?.copy_from_slice(number);
    Some(())
}
