//! Bounded reading of CBOR (RFC 8949), without copies: what evidence formats need of it beyond `minicbor`.

use minicbor::Decoder;
use minicbor::data::Type;

/// More entries than this no map or array of any evidence format has.
const MOST: usize = 256;

/// A map's key: formats use nothing but numbers and text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key<'a> {
    Number(i64),
    Text(&'a str),
}

/// Reads a map of definite or indefinite length; `entry` reads the value of each key. `None` where a key stands twice, is of
/// another type, or `entry` refuses.
pub(crate) fn map<'a>(
    decoder: &mut Decoder<'a>,
    mut entry: impl FnMut(&mut Decoder<'a>, Key<'a>) -> Option<()>,
) -> Option<()> {
    let count = decoder.map().ok()?;
    let mut keys = Vec::new();
    while !at_end(decoder, count, keys.len())? {
        let key = match decoder.datatype().ok()? {
            Type::String => Key::Text(decoder.str().ok()?),
            _ => Key::Number(decoder.i64().ok()?),
        };
        if keys.len() == MOST || keys.contains(&key) {
            return None;
        }
        keys.push(key);
        entry(decoder, key)?;
    }
    Some(())
}

/// Reads an array of definite or indefinite length.
pub(crate) fn array<'a, T>(
    decoder: &mut Decoder<'a>,
    mut item: impl FnMut(&mut Decoder<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = decoder.array().ok()?;
    let mut items = Vec::new();
    while !at_end(decoder, count, items.len())? {
        if items.len() == MOST {
            return None;
        }
        items.push(item(decoder)?);
    }
    Some(items)
}

/// Passes over one value.
pub(crate) fn skip(decoder: &mut Decoder<'_>) -> Option<()> {
    decoder.skip().ok()
}

/// A byte string, or `None` inside where `null` or `undefined` stands for its absence.
pub(crate) fn optional_bytes<'a>(decoder: &mut Decoder<'a>) -> Option<Option<&'a [u8]>> {
    match decoder.datatype().ok()? {
        Type::Null | Type::Undefined => skip(decoder).map(|()| None),
        _ => decoder.bytes().ok().map(Some),
    }
}

/// Whether nothing follows.
pub(crate) fn is_at_end(decoder: &Decoder<'_>) -> bool {
    decoder.position() >= decoder.input().len()
}

fn at_end(decoder: &mut Decoder<'_>, count: Option<u64>, done: usize) -> Option<bool> {
    match count {
        Some(count) => Some(u64::try_from(done).ok()? >= count),
        None if decoder.datatype().ok()? == Type::Break => skip(decoder).map(|()| true),
        None => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Option<Vec<(i64, u64)>> {
        let mut out = Vec::new();
        let mut decoder = Decoder::new(bytes);
        map(&mut decoder, |decoder, key| {
            let Key::Number(key) = key else { return None };
            out.push((key, decoder.u64().ok()?));
            Some(())
        })?;
        is_at_end(&decoder).then_some(out)
    }

    #[test]
    fn maps_of_either_length_are_read() {
        assert_eq!(numbers(&[0xa2, 1, 2, 0x20, 4]), Some(vec![(1, 2), (-1, 4)]));
        assert_eq!(numbers(&[0xbf, 1, 2, 0x20, 4, 0xff]), Some(vec![(1, 2), (-1, 4)]));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_however_it_is_written() {
        assert_eq!(numbers(&[0xa2, 1, 2, 1, 4]), None);
        assert_eq!(numbers(&[0xa2, 1, 2, 0x18, 1, 4]), None);
    }

    #[test]
    fn a_count_beyond_the_input_is_refused_without_being_believed() {
        assert_eq!(numbers(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2]), None);
        let huge = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(array(&mut Decoder::new(&huge), |decoder| decoder.u8().ok()), None);
    }
}
