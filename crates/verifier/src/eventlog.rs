//! Boot event logs: which events extended a register, in what order. A log proves nothing by itself; replayed, it must
//! give the registers that the evidence vouches for, and then explains them.
//!
//! Layout: TCG *PC Client Platform Firmware Profile* (PFP), section 10, both the crypto-agile log and the older one of
//! SHA-1 digests alone; for TDX the same with measurement registers for PCRs (UEFI 2.10, section 38, *Confidential
//! Computing Event Log*).
//!
//! What a register covers is the events' digests and their order, neither their types nor their data. So data counts only
//! where its digest is the event's, and a type only where relabelling could not have helped whoever ran code after the boot:
//! such code can extend a register as well, and write any log that fits.

mod boot;
mod decode;
mod grub;
mod judge;
mod measured;
mod names;

use std::collections::BTreeMap;

pub(crate) use judge::{Quoted, judge, judge_run_time};
pub use measured::{MeasuredEvent, MeasuredLog, MeasuredRegister};

use crate::tpm::Hash;

/// Who numbers the registers of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A TPM: PCRs 0 to 23, in several banks.
    Tpm,
    /// A trust domain: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3, SHA-384.
    Td,
}

impl Layout {
    /// A register's name, as claims have it: `pcr7`, `sha384:pcr7`, `rtmr0`. `None` for MRTD, which grows no more.
    pub(crate) fn register_name(self, bank: Hash, index: u32) -> Option<String> {
        match (self, bank) {
            (Self::Tpm, Hash::Sha256) => Some(format!("pcr{index}")),
            (Self::Tpm, _) => Some(format!("{}:pcr{index}", bank.as_str())),
            (Self::Td, _) => index.checked_sub(1).map(|rtmr| format!("rtmr{rtmr}")),
        }
    }

    const fn last_index(self) -> u32 {
        match self {
            Self::Tpm => 23,
            Self::Td => 4,
        }
    }
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The register that it extended, as the log numbers them.
    pub index: u32,
    /// Its type (PFP, section 10.4.1).
    pub kind: u32,
    /// Its data.
    pub data: &'a [u8],
    digests: Vec<(Hash, &'a [u8])>,
}

impl<'a> Event<'a> {
    /// Its digest in a bank.
    pub fn digest(&self, bank: Hash) -> Option<&'a [u8]> {
        self.digests.iter().find(|(of, _)| *of == bank).map(|(_, digest)| *digest)
    }

    /// Whether it extends its register. `EV_NO_ACTION` only tells.
    pub fn extends(&self) -> bool {
        self.kind != names::NO_ACTION
    }

    /// Whether its digest in `bank` is that of `bytes`.
    fn is_digest_of(&self, bank: Hash, bytes: &[u8]) -> bool {
        self.digest(bank).is_some_and(|digest| digest == bank.digest(bytes))
    }
}

/// Why bytes are no event log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoEventLog {
    /// More bytes than any machine's log has.
    #[error("{0} bytes, more than {most} that a log may have", most = EventLog::MOST_BYTES)]
    Length(usize),
    /// The header is not that of a log, or of another version.
    #[error("a header (`Spec ID Event`) that is not known")]
    Header,
    /// The event of this number, from 0, is cut off, of a register that there is not, or with digests that the header does
    /// not announce.
    #[error("event {0}, which cannot be read")]
    Event(usize),
}

/// A boot event log, read and not yet held against any register.
///
/// ```
/// use burgrave_verifier::eventlog::{EventLog, Layout};
/// use burgrave_verifier::tpm::Hash;
///
/// // PCR 4, EV_SEPARATOR, its SHA-1 digest, four bytes of data: a log of the older layout.
/// let digest = hex::decode("9069ca78e7450a285173431b3e52c5c25299e473").unwrap();
/// let log = [&[4, 0, 0, 0, 4, 0, 0, 0], digest.as_slice(), &[4, 0, 0, 0], &[0; 4]].concat();
/// let log = EventLog::read(Layout::Tpm, &log)?;
/// assert_eq!(hex::encode(&log.replay(Hash::Sha1)[&4]), "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236");
/// # Ok::<(), burgrave_verifier::eventlog::NoEventLog>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventLog<'a> {
    layout: Layout,
    banks: Vec<Hash>,
    events: Vec<Event<'a>>,
}

impl<'a> EventLog<'a> {
    /// The longest log that is read; machines have some tens of kilobytes.
    pub const MOST_BYTES: usize = 1024 * 1024;

    /// Reads a whole log. Behind that of a trust domain may stand what is left of its table: zeros, or bytes of 0xff.
    ///
    /// # Errors
    /// [`NoEventLog`].
    pub fn read(layout: Layout, bytes: &'a [u8]) -> Result<Self, NoEventLog> {
        decode::read(layout, bytes)
    }

    /// The banks in which it has digests.
    pub fn banks(&self) -> &[Hash] {
        &self.banks
    }

    /// The events in their order, the header not among them.
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The registers of a bank after all events, by the log's numbers. A register is left out where the log has no event for
    /// it, or one without a digest of this bank.
    pub fn replay(&self, bank: Hash) -> BTreeMap<u32, Vec<u8>> {
        let mut registers: BTreeMap<u32, Option<Vec<u8>>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.extends()) {
            let register = registers.entry(event.index).or_insert_with(|| Some(self.initial(bank, event.index)));
            *register = register.take().and_then(|value| {
                let digest = event.digest(bank)?;
                Some(bank.digest(&[value.as_slice(), digest].concat()))
            });
        }
        registers.into_iter().filter_map(|(index, value)| Some((index, value?))).collect()
    }

    /// A register before the first event: zeros, but for the locality at which the TPM was started in the last byte of PCR 0
    /// (PFP, section 10.4.5.3).
    pub(crate) fn initial(&self, bank: Hash, index: u32) -> Vec<u8> {
        let mut value = vec![0; bank.length()];
        let locality = || {
            let told = self.events.iter().filter(|event| !event.extends() && event.index == 0);
            let mut told = told.filter_map(|event| event.data.strip_prefix(b"StartupLocality\0"));
            match told.next() {
                Some([locality]) => Some(*locality),
                _ => None,
            }
        };
        if self.layout == Layout::Tpm
            && index == 0
            && let Some(last) = value.last_mut()
        {
            *last = locality().unwrap_or(0);
        }
        value
    }

    /// The events that extend a register, in their order.
    fn of_register(&self, index: u32) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.extends() && event.index == index)
    }
}

/// The body of a fuzz target: reads bytes as a log of either layout and uses what was read. Returns of how many layouts they
/// are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let read = [Layout::Tpm, Layout::Td].map(|layout| EventLog::read(layout, bytes));
    let read = read.iter().filter_map(|read| read.as_ref().ok());
    let used = read.map(|log| {
        for bank in log.banks() {
            let registers = log.replay(*bank).into_keys().collect::<Vec<_>>();
            let _ = (boot::claims(log, *bank, |index| registers.contains(&index)), log.replay(*bank));
        }
        log.events().iter().map(names::describe).map(|text| text.len()).sum::<usize>()
    });
    used.count()
}
