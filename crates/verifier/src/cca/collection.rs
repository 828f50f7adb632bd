//! What holds the two tokens together: a map under a tag of its own, or a CMW collection (RFC 9999).

use minicbor::Decoder;
use minicbor::data::Type;

use crate::cbor::{self, Key};

/// The collection in RMM 1.0 and drafts 00 and 01 of the token's specification.
const COLLECTION: u64 = 399;
/// The collection since draft 02 (a CMW): each token stands beside its media type.
const CMW_COLLECTION: u64 = 907;
/// `application/eat+cwt`, as a CoAP content format.
const EAT_CWT: u64 = 263;
/// The same as a media type, which may have parameters.
const EAT_CWT_TYPE: &str = "application/eat+cwt";
/// That a record holds evidence, among a CMW's indicators.
const EVIDENCE: u64 = 1 << 2;
const PLATFORM: Key<'static> = Key::Number(44234);
const REALM: Key<'static> = Key::Number(44241);
/// A device's claims in a CMW: nobody signs them, and nothing here is drawn from them.
const DEVICE: Key<'static> = Key::Number(44258);
/// A collection's name for what it is.
const TYPE: Key<'static> = Key::Text("__cmwc_t");

/// Whether bytes begin as a collection.
pub(super) fn looks_like_collection(bytes: &[u8]) -> bool {
    let tag = Decoder::new(bytes).tag().map(|tag| tag.as_u64());
    matches!(tag, Ok(COLLECTION | CMW_COLLECTION))
}

/// Both tokens, each a `COSE_Sign1`. `None` where bytes are no collection or something follows it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut decoder = Decoder::new(bytes);
    let tag = decoder.tag().ok()?.as_u64();
    let element = match tag {
        COLLECTION => bare,
        CMW_COLLECTION => record,
        _ => return None,
    };
    let (mut platform, mut realm) = (None, None);
    cbor::map(&mut decoder, |decoder, key| match (key, tag) {
        (PLATFORM, _) => {
            platform = Some(element(decoder)?);
            Some(())
        }
        (REALM, _) => {
            realm = Some(element(decoder)?);
            Some(())
        }
        (DEVICE, CMW_COLLECTION) => cbor::skip(decoder),
        (TYPE, CMW_COLLECTION) => decoder.str().ok().map(|_| ()),
        _ => None,
    })?;
    cbor::is_at_end(&decoder).then_some((platform?, realm?))
}

/// A token that stands alone.
fn bare<'a>(decoder: &mut Decoder<'a>) -> Option<&'a [u8]> {
    decoder.bytes().ok()
}

/// A CMW record: the type of its value, the value, and perhaps what it is for.
fn record<'a>(decoder: &mut Decoder<'a>) -> Option<&'a [u8]> {
    let length = decoder.array().ok()?.filter(|length| matches!(length, 2 | 3))?;
    let is_token = match decoder.datatype().ok()? {
        Type::String => decoder.str().ok()?.split(';').next()?.trim_end().eq_ignore_ascii_case(EAT_CWT_TYPE),
        _ => decoder.u64().ok()? == EAT_CWT,
    };
    let token = decoder.bytes().ok()?;
    let is_evidence = length == 2 || decoder.u64().ok()? & EVIDENCE != 0;
    (is_token && is_evidence).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(tag: u16, further: &[u8], record: &[u8]) -> Vec<u8> {
        let entries = u8::try_from(2 + usize::from(!further.is_empty())).unwrap();
        let (platform, realm) = ([0x19, 0xac, 0xca].as_slice(), [0x19, 0xac, 0xd1].as_slice());
        let head = [[0xd9].as_slice(), &tag.to_be_bytes(), &[0xa0 | entries]].concat();
        [head.as_slice(), further, platform, record, realm, record].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [[0x78, u8::try_from(text.len()).unwrap()].as_slice(), text.as_bytes()].concat()
    }

    #[test]
    fn records_of_every_form_that_says_a_token_are_read() {
        let token: &[u8] = &[0x41, 7];
        let number: &[u8] = &[0x19, 0x01, 0x07];
        let (media, profiled) =
            (text(EAT_CWT_TYPE), text("application/eat+cwt; eat_profile=\"tag:example.com,2026:x\""));
        let records = [
            [&[0x82], number, token].concat(),
            [&[0x82], media.as_slice(), token].concat(),
            [&[0x82], profiled.as_slice(), token].concat(),
            [&[0x83], number, token, &[4]].concat(),
        ];
        for record in records {
            assert_eq!(split(&collection(907, &[], &record)), Some(([7].as_slice(), [7].as_slice())), "{record:02x?}");
            assert_eq!(split(&collection(399, &[], &record)), None);
            let named = [text("__cmwc_t"), text("tag:example.com,2026:y")].concat();
            assert!(split(&collection(907, &named, &record)).is_some());
            let misnamed = [text("__cmwc_t"), vec![0x01]].concat();
            assert_eq!(split(&collection(907, &misnamed, &record)), None);
        }
        let others = [
            token.to_vec(),
            [&[0x81], number].concat(),
            [&[0x82], [0x19, 0x01, 0x08].as_slice(), token].concat(),
            [&[0x82], text("application/eat+jwt").as_slice(), token].concat(),
            [&[0x82], text("application/eat+cwt2").as_slice(), token].concat(),
            [&[0x83], number, token, &[2]].concat(),
            [&[0x84], number, token, &[4], &[4]].concat(),
            [&[0x9f], number, token, &[0xff]].concat(),
        ];
        for record in others {
            assert_eq!(split(&collection(907, &[], &record)), None, "{record:02x?}");
        }
        assert!(split(&collection(399, &[], token)).is_some());
        assert_eq!(split(&collection(399, &[text("__cmwc_t"), text("x")].concat(), token)), None);
    }
}
