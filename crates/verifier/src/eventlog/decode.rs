//! From bytes to events. Every length that a log states is held against what is left of it.

use super::{Event, EventLog, Layout, NoEventLog};
use crate::reader::Reader;
use crate::tpm::Hash;

/// `Spec ID Event03`: the header of a crypto-agile log.
const AGILE: &[u8; 16] = b"Spec ID Event03\0";
/// More algorithms than a TPM has banks.
const MOST_BANKS: u32 = 16;
/// Longer than any digest.
const LONGEST_DIGEST: usize = 64;

pub(super) fn read(layout: Layout, bytes: &[u8]) -> Result<EventLog<'_>, NoEventLog> {
    if bytes.len() > EventLog::MOST_BYTES {
        return Err(NoEventLog::Length(bytes.len()));
    }
    let mut reader = Reader::new(bytes);
    // The header is an event of the older layout in either case.
    let first = read_legacy(&mut reader).ok_or(NoEventLog::Header)?;
    let algorithms = match first.data.strip_prefix(AGILE) {
        Some(header) if !first.extends() => Some(read_header(header).ok_or(NoEventLog::Header)?),
        _ => None,
    };
    let (banks, mut events) = match &algorithms {
        Some(algorithms) => (algorithms.iter().filter_map(|algorithm| algorithm.bank).collect(), Vec::new()),
        None => (vec![Hash::Sha1], vec![first]),
    };
    while !is_end(layout, reader.rest()) {
        let event = match &algorithms {
            Some(algorithms) => read_agile(&mut reader, algorithms),
            None => read_legacy(&mut reader),
        };
        let is_known = |event: &Event<'_>| !event.extends() || event.index <= layout.last_index();
        events.push(event.filter(is_known).ok_or(NoEventLog::Event(events.len()))?);
    }
    if events.first().is_some_and(|first| first.extends() && first.index > layout.last_index()) {
        return Err(NoEventLog::Event(0));
    }
    Ok(EventLog { layout, banks, events })
}

/// An algorithm that the header announces; one that is not known here has a width all the same.
struct Algorithm {
    id: u16,
    width: usize,
    bank: Option<Hash>,
}

/// `TCG_EfiSpecIDEventStruct` behind its signature (PFP, section 10.4.5.1).
fn read_header(bytes: &[u8]) -> Option<Vec<Algorithm>> {
    let mut reader = Reader::new(bytes);
    reader.take(4)?; // platform class
    let (_minor, major, _errata, _word) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let count = reader.u32_le()?;
    if major != 2 || count == 0 || count > MOST_BANKS {
        return None;
    }
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for _ in 0..count {
        let (id, width) = (reader.u16_le()?, usize::from(reader.u16_le()?));
        let bank = Hash::from_id(id);
        let fits = bank.map_or(width <= LONGEST_DIGEST, |bank| bank.length() == width);
        if !fits || algorithms.iter().any(|known| known.id == id) {
            return None;
        }
        algorithms.push(Algorithm { id, width, bank });
    }
    let vendor = reader.u8()?;
    reader.take(usize::from(vendor))?;
    reader.end(algorithms)
}

/// `TCG_PCClientPCREvent` (PFP, section 10.2.1).
fn read_legacy<'a>(reader: &mut Reader<'a>) -> Option<Event<'a>> {
    let (index, kind) = (reader.u32_le()?, reader.u32_le()?);
    let digest = reader.take(Hash::Sha1.length())?;
    let data = read_data(reader)?;
    Some(Event { index, kind, data, digests: vec![(Hash::Sha1, digest)] })
}

/// `TCG_PCR_EVENT2` (PFP, section 10.2.2), or `CC_EVENT`, which looks the same.
fn read_agile<'a>(reader: &mut Reader<'a>, algorithms: &[Algorithm]) -> Option<Event<'a>> {
    let (index, kind, count) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
    if usize::try_from(count).ok()? > algorithms.len() {
        return None;
    }
    let (mut digests, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let id = reader.u16_le()?;
        let algorithm = algorithms.iter().find(|algorithm| algorithm.id == id)?;
        if seen.contains(&id) {
            return None;
        }
        seen.push(id);
        let digest = reader.take(algorithm.width)?;
        digests.extend(algorithm.bank.map(|bank| (bank, digest)));
    }
    let data = read_data(reader)?;
    Some(Event { index, kind, data, digests })
}

fn read_data<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u32_le()?;
    reader.take(usize::try_from(length).ok()?)
}

/// Whether a log ends here. A trust domain's stands in a table of fixed size.
fn is_end(layout: Layout, rest: &[u8]) -> bool {
    let is_filled_with = |byte: u8| rest.iter().all(|found| *found == byte);
    rest.is_empty() || (layout == Layout::Td && (is_filled_with(0) || is_filled_with(0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::names;

    fn legacy(index: u32, kind: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        [&index.to_le_bytes()[..], &kind.to_le_bytes(), &[0; 20], &length.to_le_bytes(), data].concat()
    }

    fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
        let mut data = [AGILE.as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2]].concat();
        data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
        for (id, width) in algorithms {
            data.extend([id.to_le_bytes(), width.to_le_bytes()].concat());
        }
        legacy(0, names::NO_ACTION, &[data.as_slice(), &[0]].concat())
    }

    fn agile(index: u32, digests: &[(u16, usize)], data: &[u8]) -> Vec<u8> {
        let mut out = [index.to_le_bytes(), 5u32.to_le_bytes()].concat();
        out.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
        for (id, width) in digests {
            out.extend([&id.to_le_bytes()[..], &vec![7; *width]].concat());
        }
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        [out.as_slice(), data].concat()
    }

    #[test]
    fn an_algorithm_that_is_not_known_is_passed_over_in_its_stated_width() {
        let log = [header(&[(0x12, 32), (0x0b, 32)]), agile(1, &[(0x12, 32), (0x0b, 32)], b"x")].concat();
        let log = read(Layout::Tpm, &log).unwrap();
        assert_eq!((log.banks(), log.events().len()), (&[Hash::Sha256][..], 1));
        assert_eq!(log.events()[0].digest(Hash::Sha256), Some(&[7; 32][..]));
    }

    #[test]
    fn what_a_header_does_not_announce_is_refused() {
        for event in [
            agile(1, &[(0x0b, 32), (0x0b, 32)], b""),
            agile(1, &[(0x0c, 48)], b""),
            agile(24, &[(0x0b, 32)], b""),
            agile(u32::MAX, &[(0x0b, 32)], b""),
            agile(1, &[(0x0b, 31)], b""),
        ] {
            let log = [header(&[(0x0b, 32)]), event].concat();
            assert_eq!(read(Layout::Tpm, &log), Err(NoEventLog::Event(0)));
        }
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        for algorithms in [&[][..], &[(0x0b, 31)], &[(0x0b, 32), (0x0b, 32)], &[(0x99, 65)]] {
            assert_eq!(read(Layout::Tpm, &header(algorithms)), Err(NoEventLog::Header), "{algorithms:?}");
        }
        let mut other_version = header(&[(0x0b, 32)]);
        other_version[32 + 16 + 5] = 3;
        assert_eq!(read(Layout::Tpm, &other_version), Err(NoEventLog::Header));
        assert_eq!(read(Layout::Tpm, b"boot"), Err(NoEventLog::Header));
        assert_eq!(
            read(Layout::Tpm, &[0; EventLog::MOST_BYTES + 1]),
            Err(NoEventLog::Length(EventLog::MOST_BYTES + 1))
        );
    }

    #[test]
    fn a_log_that_is_cut_off_anywhere_is_refused() {
        let log = [header(&[(0x0b, 32)]), agile(1, &[(0x0b, 32)], b"abc"), agile(2, &[(0x0b, 32)], b"de")].concat();
        let whole = [header(&[(0x0b, 32)]).len(), log.len() - agile(2, &[(0x0b, 32)], b"de").len()];
        for length in (0..log.len()).filter(|length| !whole.contains(length)) {
            assert!(read(Layout::Tpm, &log[..length]).is_err(), "{length}");
        }
        assert!(read(Layout::Tpm, &[log.as_slice(), &[0; 12]].concat()).is_err(), "padding is a trust domain's alone");
        assert!(read(Layout::Td, &[log.as_slice(), &[0xff; 12]].concat()).is_ok());
        assert!(read(Layout::Td, &[log.as_slice(), &[0xff, 0, 0xff]].concat()).is_err());
    }

    #[test]
    fn the_locality_of_the_start_stands_in_the_first_register() {
        let told = legacy(0, names::NO_ACTION, b"StartupLocality\0\x03");
        let log = [told, legacy(0, 4, &[0; 4]), legacy(1, 4, &[0; 4])].concat();
        let log = read(Layout::Tpm, &log).unwrap();
        assert_eq!(log.initial(Hash::Sha256, 0)[31], 3);
        assert_eq!(log.initial(Hash::Sha256, 1), [0; 32]);
        assert_ne!(log.replay(Hash::Sha1)[&0], log.replay(Hash::Sha1)[&1]);
    }
}
