//! What the certificate of a firmware's key says of that firmware (TCG DICE).
//!
//! Blackwell and later have TCG's own `DiceTcbInfo` (*DICE Attestation Architecture* 1.2, section 6.1.1). Hopper has, under the
//! same object identifier, the `CompositeDeviceID` of Microsoft's *RIoT* (whose own is 1.3.6.1.4.1.311.89.3.1).

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Reader, Sequence, SliceReader, Tag, Tagged};

use crate::x509::Certificate;

/// `tcg-dice-TcbInfo`, and the arc beneath it that Blackwell writes.
const EXTENSIONS: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("2.23.133.5.4.1"), ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1")];
/// `id-sha384` (RFC 5754, section 2.3).
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
/// Bytes of a SHA-384 digest.
const DIGEST: usize = 48;
/// `fwids` of `DiceTcbInfo`.
const FWIDS: u32 = 6;
/// `flags` of `DiceTcbInfo`.
const FLAGS: u32 = 7;
/// `notSecure`, `recovery` and `debug` among the first eight of `OperationalFlags`, whose bit 0 is the highest.
const OPEN: u8 = 0b0111_0000;

/// What is said of a firmware.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layer {
    /// Its SHA-384.
    pub(super) firmware: Vec<u8>,
    /// Whether it runs in a state in which others may look into the device; none where the certificate says nothing of it.
    pub(super) debug: Option<bool>,
}

/// `CompositeDeviceID`.
#[derive(Sequence)]
struct CompositeDeviceId<'a> {
    version: u8,
    device: spki::SubjectPublicKeyInfoRef<'a>,
    firmware: FirmwareId<'a>,
}

/// `FWID`.
#[derive(Sequence)]
struct FirmwareId<'a> {
    algorithm: ObjectIdentifier,
    digest: &'a OctetStringRef,
}

impl FirmwareId<'_> {
    /// The digest, where it is one of a firmware: of the right algorithm and length, and not all zero.
    fn firmware(&self) -> Option<Vec<u8>> {
        let digest = self.digest.as_bytes();
        let is_one = self.algorithm == SHA384 && digest.len() == DIGEST && digest.iter().any(|byte| *byte != 0);
        is_one.then(|| digest.to_vec())
    }
}

impl Layer {
    /// That of the firmware whose key `leaf` certifies; `None` where it names no firmware, or two extensions do.
    pub(super) fn of(leaf: &Certificate) -> Option<Self> {
        let mut found = leaf.extensions().iter().filter(|extension| EXTENSIONS.contains(&extension.extn_id));
        match (found.next(), found.next()) {
            (Some(extension), None) => Self::read(extension.extn_value.as_bytes()),
            _ => None,
        }
    }

    /// Reads either structure, with nothing after it.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        match CompositeDeviceId::from_der(der) {
            Ok(identity) => Some(Self { firmware: identity.firmware.firmware()?, debug: None }),
            Err(_) => Self::of_tcb_info(der),
        }
    }

    /// `DiceTcbInfo`: optional fields, each once and in order. The first of several FWIDs is the firmware's; what the later
    /// ones are is not said, and NVIDIA's are zero.
    fn of_tcb_info(der: &[u8]) -> Option<Self> {
        let info = AnyRef::from_der(der).ok().filter(|info| info.tag() == Tag::Sequence)?;
        let mut reader = SliceReader::new(info.value()).ok()?;
        let (mut last, mut firmware, mut debug) = (None, None, None);
        while !reader.is_finished() {
            let field = AnyRef::decode(&mut reader).ok()?;
            let Tag::ContextSpecific { number, constructed } = field.tag() else { return None };
            let number = number.value();
            if last.is_some_and(|last| last >= number) {
                return None;
            }
            last = Some(number);
            match number {
                FWIDS if constructed => firmware = first_firmware(field.value()),
                FLAGS if !constructed => debug = Some(is_open(field.value())?),
                FWIDS | FLAGS => return None,
                _ => {}
            }
        }
        Some(Self { firmware: firmware?, debug })
    }
}

/// The first of `SEQUENCE OF FWID`, whose tag was replaced.
fn first_firmware(fwids: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(fwids).ok()?;
    let first = FirmwareId::decode(&mut reader).ok()?.firmware();
    while !reader.is_finished() {
        FirmwareId::decode(&mut reader).ok()?;
    }
    first
}

/// Whether any of the flags that open a device stands in a bit string: the number of unused bits, then the bits.
fn is_open(bits: &[u8]) -> Option<bool> {
    match bits {
        [0..=7, flags, ..] => Some(flags & OPEN != 0),
        [0] => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head.as_slice(), content].concat()
    }

    fn fwid(algorithm: &[u8], digest: &[u8]) -> Vec<u8> {
        tlv(0x30, &[tlv(6, algorithm), tlv(4, digest)].concat())
    }

    fn sha384(digest: u8) -> Vec<u8> {
        fwid(SHA384.as_bytes(), &[digest; 48])
    }

    fn info(fields: &[Vec<u8>]) -> Option<Layer> {
        Layer::read(&tlv(0x30, &fields.concat()))
    }

    #[test]
    fn the_first_firmware_of_a_tcb_info_is_the_one_that_is_meant() {
        let fwids = tlv(0xa6, &[sha384(7), sha384(0)].concat());
        let named = [tlv(0x80, b"NVIDIA"), tlv(0x81, b"GB100 A01 GSP"), fwids.clone(), tlv(0x87, &[0, 0, 0, 0, 1])];
        assert_eq!(info(&named), Some(Layer { firmware: vec![7; 48], debug: Some(false) }));
        assert_eq!(info(&[fwids]), Some(Layer { firmware: vec![7; 48], debug: None }));
        for (flags, debug) in [(0x80, false), (0x40, true), (0x20, true), (0x10, true), (0x0f, false)] {
            let fields = [tlv(0xa6, &sha384(7)), tlv(0x87, &[0, flags, 0, 0, 1])];
            assert_eq!(info(&fields).unwrap().debug, Some(debug), "{flags:#04x}");
        }
    }

    #[test]
    fn a_tcb_info_that_names_no_firmware_or_is_none_is_not_read() {
        let sha256 = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
        let broken = [
            vec![],
            vec![tlv(0x80, b"NVIDIA")],
            vec![tlv(0xa6, &[])],
            vec![tlv(0xa6, &[sha384(0), sha384(7)].concat())],
            vec![tlv(0xa6, &fwid(&sha256, &[7; 32]))],
            vec![tlv(0xa6, &fwid(SHA384.as_bytes(), &[7; 47]))],
            vec![tlv(0xa6, &[sha384(7), vec![0]].concat())],
            vec![tlv(0x86, &sha384(7))],
            vec![tlv(0xa6, &sha384(7)), tlv(0xa6, &sha384(8))],
            vec![tlv(0x87, &[0, 0]), tlv(0xa6, &sha384(7))],
            vec![tlv(0xa6, &sha384(7)), tlv(0x87, &[])],
            vec![tlv(0xa6, &sha384(7)), tlv(0x87, &[8, 0])],
            vec![tlv(0xa6, &sha384(7)), tlv(4, &[])],
        ];
        for fields in broken {
            assert_eq!(info(&fields), None, "{fields:02x?}");
        }
        let good = tlv(0x30, &tlv(0xa6, &sha384(7)));
        assert!(Layer::read(&good).is_some());
        assert_eq!(Layer::read(&[good.as_slice(), &[0]].concat()), None);
        assert_eq!(Layer::read(&good[..good.len() - 1]), None);
        assert_eq!(Layer::read(&tlv(0x31, &tlv(0xa6, &sha384(7)))), None);
    }
}
