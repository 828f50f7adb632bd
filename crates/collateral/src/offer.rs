//! What is offered and what becomes of it: read, held against the floors, verified under the roots, and only then kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use burgrave_types::Timestamp;

use crate::amd::{Amd, Taken};
use crate::piece::{self, CrlPiece, Piece};
use crate::store::{Record, State, Store};
use crate::{Event, MOST, Mark, Number, Source, Subject, intel, nvidia};

/// What has ended longer ago than this is not kept: nobody can use it, and no alarm is owed for it.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Characters of a name or a reason that are told.
const LONGEST: usize = 400;
/// How many of one kind are tried in one offer.
const ROUNDS: usize = 8;

/// What became of something that was taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    /// New: it counts from now on.
    pub kept: Vec<Subject>,
    /// Held already, the same or newer.
    pub known: Vec<Subject>,
}

/// Something is older than what was seen before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{subject} from {from} has {found}, older than {floor}, which was seen before; if the source is a mirror, bring it up to date, \
     else find out who set it back"
)]
pub struct RolledBack {
    /// What.
    pub subject: Subject,
    /// What came.
    pub found: Mark,
    /// The lowest that is taken.
    pub floor: Mark,
    /// Who gave it.
    pub from: Source,
}

/// Why something is not taken. Nothing of what is held changes then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OfferError {
    /// No collateral.
    #[error(
        "the bytes are no collateral: expected a certificate or revocation list (DER or PEM), an answer of Intel's service, or the \
         nine members in one JSON object"
    )]
    Unreadable,
    /// Too long.
    #[error("{found} bytes are more than the {MOST} that are looked at; collateral is never that long")]
    Long {
        /// How many bytes came.
        found: usize,
    },
    /// Older than what was seen before.
    #[error(transparent)]
    RolledBack(Box<RolledBack>),
    /// Not in force yet.
    #[error("{subject} from {from} holds from {issued} on, which is not yet; check this machine's clock")]
    Early {
        /// What.
        subject: Subject,
        /// From when on it holds.
        issued: Timestamp,
        /// Who gave it.
        from: Source,
    },
    /// Ended long ago.
    #[error("{subject} from {from} ended at {ended}, more than 30 days ago; fetch it again from the vendor")]
    Stale {
        /// What.
        subject: Subject,
        /// When it ended.
        ended: Timestamp,
        /// Who gave it.
        from: Source,
    },
    /// No root vouches for it, or not without something that is missing.
    #[error("{what} from {from} is not taken: {why}")]
    Unverified {
        /// What it says it is.
        what: String,
        /// Which rule it broke.
        why: String,
        /// Who gave it.
        from: Source,
    },
}

impl Store {
    /// Offers bytes: one certificate or list, a PEM file of several, an answer of Intel's service, or the nine members.
    ///
    /// # Errors
    /// [`OfferError`]: the first reason for which a part of them was not taken. Other parts may have been.
    pub fn offer(&self, bytes: &[u8], source: &Source, now: Timestamp) -> Result<Offered, OfferError> {
        let (offered, mut errors) = self.offer_all([bytes], source, now);
        errors.drain(..).next().map_or(Ok(offered), Err)
    }

    /// Offers several files at once, which may complete each other (TCB info beside the chain of its signer, say). What
    /// was taken, and every reason for which something was not, which the listener is told too.
    pub fn offer_all<'a>(
        &self,
        files: impl IntoIterator<Item = &'a [u8]>,
        source: &Source,
        now: Timestamp,
    ) -> (Offered, Vec<OfferError>) {
        let (mut pieces, mut errors) = (Vec::new(), Vec::new());
        for bytes in files {
            match piece::read(bytes) {
                Some(read) => pieces.extend(read),
                None if bytes.len() > MOST => errors.push(OfferError::Long { found: bytes.len() }),
                None => errors.push(OfferError::Unreadable),
            }
        }
        let mut offer = Offer {
            store: self,
            source,
            now,
            kept: Vec::new(),
            known: Vec::new(),
            errors,
            events: Vec::new(),
            intel: false,
        };
        let mut state = self.lock();
        offer.pieces(pieces, &mut state);
        if offer.intel {
            offer.events.extend(self.rebuild(&mut state));
        } else if !offer.kept.is_empty() {
            self.show(&mut state);
        }
        drop(state);
        offer.finish()
    }
}

/// Revocation lists by issuer.
type Lists = BTreeMap<String, Arc<CrlPiece>>;

/// One offer on its way.
struct Offer<'a> {
    store: &'a Store,
    source: &'a Source,
    now: Timestamp,
    kept: Vec<Subject>,
    known: Vec<Subject>,
    errors: Vec<OfferError>,
    events: Vec<Event>,
    /// Whether anything of Intel's changed, so that wholes have to be put together anew.
    intel: bool,
}

/// What is to be known of a piece before it is verified.
struct Facts {
    subject: Subject,
    mark: Mark,
    ends: Timestamp,
}

impl Offer<'_> {
    fn pieces(&mut self, pieces: Vec<Piece>, state: &mut State) {
        let mut intel = Vec::new();
        let (mut certificates, mut lists) = (Vec::new(), Vec::new());
        for piece in pieces {
            match &piece {
                Piece::Chain(chain) => match state.intel.wants_chain(&piece) {
                    Some(true) => intel.push(piece),
                    Some(false) => {}
                    None if self.gpu_authorities(chain, state) => {}
                    None => certificates.extend(chain.iter().cloned()),
                },
                Piece::Crl(list) if Amd::signed_by_root(list, &self.store.roots) => lists.push(Arc::clone(list)),
                Piece::Crl(_) | Piece::Signed(_) => intel.push(piece),
            }
        }
        // Now that the authorities which came along are known.
        let of_gpus = intel.extract_if(.., |piece| match piece {
            Piece::Crl(list) => !intel::is_named(list) && state.nvidia.vouches_for(list, &self.store.roots),
            Piece::Signed(_) | Piece::Chain(_) => false,
        });
        let of_gpus: Vec<_> = of_gpus.collect();
        self.lists(lists, state, |state| &mut state.amd.crls);
        self.lists(of_gpus.into_iter().filter_map(list_of).collect(), state, |state| &mut state.nvidia.crls);
        // Authorities before what stands beneath them.
        certificates.sort_by_key(|certificate| Amd::read(certificate).is_some());
        certificates.iter().for_each(|certificate| self.certificate(certificate, state));
        self.intel(intel, state);
    }

    /// Keeps lists that an authority vouches for, the newest of each.
    fn lists(&mut self, mut lists: Vec<Arc<CrlPiece>>, state: &mut State, held: fn(&mut State) -> &mut Lists) {
        lists.sort_by(|one, two| newness(&two.mark).cmp(&newness(&one.mark)));
        for list in lists {
            let facts = Facts { subject: list.subject(), mark: list.mark.clone(), ends: list.ends };
            if !self.is_settled(&facts.subject) && self.is_fresh(&facts, state) {
                held(state).insert(list.issuer.clone(), list);
                self.keep(facts, state);
            }
        }
    }

    /// Keeps the authorities of a GPU's chain; says whether it is one.
    fn gpu_authorities(&mut self, chain: &[burgrave_verifier::Certificate], state: &mut State) -> bool {
        let found = state.nvidia.adopt(chain, &self.store.roots);
        for (certificate, is_new) in &found {
            let (subject, ends) = (Subject::Authority { name: certificate.subject() }, certificate.validity().1);
            match is_new {
                true => self.keep(Facts { subject, mark: nvidia::mark(certificate), ends }, state),
                false => self.know(subject, state),
            }
        }
        !found.is_empty()
    }

    fn certificate(&mut self, certificate: &burgrave_verifier::Certificate, state: &mut State) {
        match state.amd.adopt(certificate, &self.store.roots, self.now) {
            Ok(Taken::New(subject, mark)) => {
                let held = state.amd.veks.values().find(|held| held.certificate.der() == certificate.der());
                let authority =
                    || state.amd.authorities.values().find(|held| held.certificate.der() == certificate.der());
                let ends = held.map(|held| held.ends).or_else(|| authority().map(|held| held.ends));
                self.keep(Facts { subject, mark, ends: ends.unwrap_or(self.now) }, state);
            }
            Ok(Taken::Known(subject)) => self.know(subject, state),
            Ok(Taken::Other) => {
                let mut anchors = self.store.roots.amd_anchors();
                if !anchors.any(|root| root.der() == certificate.der()) && certificate.subject() != certificate.issuer()
                {
                    self.refuse(certificate.subject(), "no root that is trusted signed it".to_owned());
                }
            }
            Err(why) => self.refuse(certificate.subject(), why),
        }
    }

    /// Of several of a kind the newest is tried first, and the others only where it is not genuine.
    fn intel(&mut self, pieces: Vec<Piece>, state: &mut State) {
        let (mut chains, mut numbered) = (Vec::new(), Vec::new());
        for piece in pieces {
            match facts(&piece) {
                Some(facts) => numbered.push((piece, facts)),
                None => chains.push(piece),
            }
        }
        numbered.sort_by(|(_, one), (_, two)| newness(&two.mark).cmp(&newness(&one.mark)));
        for _ in 0..ROUNDS {
            let (mut round, mut subjects, mut later) = (std::mem::take(&mut chains), Vec::new(), Vec::new());
            for (piece, facts) in numbered {
                if self.is_settled(&facts.subject) {
                    continue;
                }
                if subjects.iter().any(|one: &Facts| one.subject == facts.subject) {
                    later.push((piece, facts));
                } else if self.is_fresh(&facts, state) {
                    round.push(piece);
                    subjects.push(facts);
                }
            }
            if !round.is_empty() {
                chains = self.adopt(round, subjects, state);
            }
            numbered = later;
            if numbered.is_empty() {
                break;
            }
        }
    }

    /// Has pieces verified and keeps those that are genuine; returns the chains that were of no use so far.
    fn adopt(&mut self, round: Vec<Piece>, subjects: Vec<Facts>, state: &mut State) -> Vec<Piece> {
        let left = state.intel.adopt(round, &self.store.roots);
        let refused: Vec<_> = left.iter().filter_map(|(piece, _)| facts(piece)).map(|facts| facts.subject).collect();
        self.intel = true;
        for facts in subjects {
            if !refused.contains(&facts.subject) {
                self.keep(facts, state);
            }
        }
        let mut chains = Vec::new();
        for (piece, why) in left {
            match facts(&piece) {
                Some(facts) => self.refuse(facts.subject.to_string(), why.to_string()),
                None => chains.push(piece),
            }
        }
        // Chains alone are of no use, and no fault where something else was offered.
        if !chains.is_empty() && self.kept.is_empty() && self.known.is_empty() && self.errors.is_empty() {
            let why = "it vouches for nothing that was offered with it".to_owned();
            self.refuse("a chain of certificates".to_owned(), why);
        }
        chains
    }

    /// Whether this offer had one of the kind already, at least as new.
    fn is_settled(&self, subject: &Subject) -> bool {
        self.kept.contains(subject) || self.known.contains(subject)
    }

    /// Whether something is newer than what is held and not below its floor, in force, and not long over.
    fn is_fresh(&mut self, Facts { subject, mark, ends }: &Facts, state: &mut State) -> bool {
        let (subject, from) = (subject.clone(), self.source.clone());
        if let Some(floor) = state.floors.above(&subject, mark) {
            let floor = floor.clone();
            let found = mark.clone();
            self.errors.push(OfferError::RolledBack(Box::new(RolledBack { subject, found, floor, from })));
            return false;
        }
        if mark.issued > self.now {
            self.errors.push(OfferError::Early { subject, issued: mark.issued, from });
            return false;
        }
        if self.now.since(*ends) > FORGOTTEN {
            self.errors.push(OfferError::Stale { subject, ended: *ends, from });
            return false;
        }
        let Some(held) = state.records.get(&subject) else { return true };
        let newer = newness(mark) > newness(&held.mark);
        // What evidence brought gives way to what a source gives; and takes the place only of what has ended.
        let replaces = match (held.source.is_configured(), self.source.is_configured()) {
            (true, false) => newer && held.ends <= self.now,
            (false, true) => true,
            _ => newer,
        };
        if !replaces {
            self.know(subject, state);
        }
        replaces
    }

    fn keep(&mut self, Facts { subject, mark, ends }: Facts, state: &mut State) {
        let floor_rose = self.source.is_configured() && state.floors.raise(&subject, &mark);
        let record = Record::new(mark.clone(), ends, self.source.clone(), self.now);
        state.records.insert(subject.clone(), record);
        self.kept.push(subject.clone());
        self.events.push(Event::Refreshed { subject, mark, ends, source: self.source.clone(), floor_rose });
    }

    fn know(&mut self, subject: Subject, state: &mut State) {
        if let Some(record) = state.records.get_mut(&subject)
            && self.source.is_configured()
        {
            record.seen(self.now);
        }
        self.known.push(subject);
    }

    fn refuse(&mut self, what: String, why: String) {
        let (what, why) = (shortened(what), shortened(why));
        self.errors.push(OfferError::Unverified { what, why, from: self.source.clone() });
    }

    /// Tells what happened, now that no lock is held.
    fn finish(self) -> (Offered, Vec<OfferError>) {
        self.events.into_iter().for_each(|event| self.store.tell_once(event));
        for error in &self.errors {
            let source = self.source.clone();
            self.store.tell_once(match error.clone() {
                OfferError::RolledBack(back) => {
                    let RolledBack { subject, found, floor, .. } = *back;
                    Event::RolledBack { subject, found, floor, source }
                }
                other => Event::Refused { source, why: other.to_string() },
            });
        }
        (Offered { kept: self.kept, known: self.known }, self.errors)
    }
}

/// Names in certificates can be as long as their maker likes; logs are not.
fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

fn list_of(piece: Piece) -> Option<Arc<CrlPiece>> {
    match piece {
        Piece::Crl(list) => Some(list),
        Piece::Signed(_) | Piece::Chain(_) => None,
    }
}

fn newness(mark: &Mark) -> (&Number, Timestamp) {
    (&mark.number, mark.issued)
}

fn facts(piece: &Piece) -> Option<Facts> {
    match piece {
        Piece::Signed(signed) => {
            Some(Facts { subject: signed.subject.clone(), mark: signed.mark.clone(), ends: signed.ends })
        }
        Piece::Crl(list) => Some(Facts { subject: list.subject(), mark: list.mark.clone(), ends: list.ends }),
        Piece::Chain(_) => None,
    }
}
