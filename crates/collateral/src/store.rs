//! The store: what is held, how it stands, and what is wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use burgrave_types::Timestamp;
use burgrave_verifier::Roots;
use burgrave_verifier::dcap::{Cache, CollateralId};
use tokio::sync::Notify;

use crate::amd::Amd;
use crate::intel::{Intel, Window};
use crate::nvidia::{GpuList, Nvidia};
use crate::status::{Failure, Level};
use crate::supply::Embedded;
use crate::wants::{Want, Wants};
use crate::{Event, Floors, Mark, Source, Status, Subject};

/// The history of more things than this is cut to those that are held.
const RECORDS: usize = 6000;
/// Things that were told already and are not told again, at most.
const TOLD: usize = 1024;

/// Who is told what happens.
pub trait Listener: Send + Sync {
    /// Takes an event. Must not block, and must not call the store.
    fn tell(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Listener for F {
    fn tell(&self, event: Event) {
        self(event);
    }
}

/// Collateral that roots vouch for. Share it; every method takes `&self`.
pub struct Store {
    pub(crate) roots: Roots,
    listener: Arc<dyn Listener>,
    /// What judging evidence reads.
    pub(crate) view: ArcSwap<View>,
    state: Mutex<State>,
    wants: Mutex<Wants>,
    told: Mutex<HashSet<String>>,
    /// How often what readers see was replaced.
    changes: AtomicU64,
    /// The lists that speak of a GPU, by the digest of its chain.
    pub(crate) gpu_chains: Mutex<HashMap<[u8; 32], Arc<Vec<GpuList>>>>,
    pub(crate) remembered: Mutex<HashMap<[u8; 32], Arc<Embedded>>>,
    wanted: Notify,
}

/// What is held, as readers see it: never changed, only replaced.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) dcap: Arc<Cache>,
    pub(crate) platforms: BTreeMap<CollateralId, Window>,
    pub(crate) amd: Amd,
    pub(crate) nvidia: Nvidia,
    pub(crate) floors: Floors,
}

/// What is held, as writers see it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) floors: Floors,
    pub(crate) intel: Intel,
    pub(crate) amd: Amd,
    pub(crate) nvidia: Nvidia,
    /// The history of each thing that is held or was asked for.
    pub(crate) records: BTreeMap<Subject, Record>,
    unusable: BTreeSet<CollateralId>,
}

/// Where something came from, and how its refreshing goes.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) mark: Mark,
    pub(crate) ends: Timestamp,
    pub(crate) source: Source,
    pub(crate) refreshed: Timestamp,
    failed: Option<Failure>,
    alarmed: Level,
}

impl Record {
    pub(crate) fn new(mark: Mark, ends: Timestamp, source: Source, now: Timestamp) -> Self {
        Self { mark, ends, source, refreshed: now, failed: None, alarmed: Level::Current }
    }

    /// A source gave the same again.
    pub(crate) fn seen(&mut self, now: Timestamp) {
        self.refreshed = self.refreshed.max(now);
        self.failed = None;
    }
}

impl Store {
    /// A store with nothing in it, which takes what `roots` vouch for and is not below `floors`.
    pub fn new(roots: Roots, floors: Floors, listener: Arc<dyn Listener>) -> Self {
        Self {
            roots,
            listener,
            view: ArcSwap::from_pointee(View { floors: floors.clone(), ..View::default() }),
            state: Mutex::new(State { floors, ..State::default() }),
            wants: Mutex::default(),
            told: Mutex::default(),
            changes: AtomicU64::new(0),
            gpu_chains: Mutex::default(),
            remembered: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// The floors as they are now: the caller writes them down when an [`Event::Refreshed`] says that one rose.
    pub fn floors(&self) -> Floors {
        self.view.load().floors.clone()
    }

    /// Raises floors to those that were seen elsewhere (at another node, say). Collateral of Intel's that is below them counts
    /// no more; a revocation list of AMD's or NVIDIA's stays in use until a newer one comes, since without it more would pass.
    pub fn raise(&self, floors: &Floors) {
        let mut state = self.lock();
        let State { floors: own, intel, amd, nvidia, records, .. } = &mut *state;
        own.merge(floors);
        if intel.forget_below(own) {
            records.retain(|subject, record| {
                let is_in_use = matches!(subject, Subject::Crl { issuer }
                    if amd.crls.contains_key(issuer) || nvidia.crls.contains_key(issuer));
                is_in_use || own.above(subject, &record.mark).is_none()
            });
        }
        let events = self.rebuild(&mut state);
        drop(state);
        events.into_iter().for_each(|event| self.tell_once(event));
    }

    /// Everything that is held or wanted, and how it stands at `now`.
    pub fn status(&self, now: Timestamp) -> Vec<Status> {
        let state = self.lock();
        let held = state.records.iter().map(|(subject, record)| Status {
            subject: subject.clone(),
            level: Level::of(record.mark.issued, record.ends, now),
            number: subject.has_floor().then(|| record.mark.number.clone()),
            issued: Some(record.mark.issued),
            ends: Some(record.ends),
            source: Some(record.source.clone()),
            refreshed: Some(record.refreshed),
            failed: record.failed.clone(),
        });
        let mut all: Vec<_> = held.collect();
        for (want, failed) in self.wants_list().list() {
            let Some(subject) = want.subject() else { continue };
            if !state.records.contains_key(&subject) {
                all.push(Status {
                    subject,
                    level: Level::Missing,
                    number: None,
                    issued: None,
                    ends: None,
                    source: None,
                    refreshed: None,
                    failed,
                });
            }
        }
        all
    }

    /// Raises the alarms that are due at `now`: each once, when something begins to end and when it has ended.
    pub fn alarm(&self, now: Timestamp) {
        let mut events = Vec::new();
        for (subject, record) in &mut self.lock().records {
            let level = Level::of(record.mark.issued, record.ends, now);
            if level <= record.alarmed {
                continue;
            }
            record.alarmed = level;
            let (subject, ends) = (subject.clone(), record.ends);
            events.push(if level == Level::Ending {
                Event::Ending { subject, ends }
            } else {
                Event::Ended { subject, ends }
            });
        }
        events.into_iter().for_each(|event| self.listener.tell(event));
    }

    /// What evidence asked for in vain, for whoever fetches.
    pub fn wants(&self) -> Vec<Want> {
        self.wants_list().list().into_iter().map(|(want, _)| want).collect()
    }

    /// Waits until something is wanted anew. Cancelling it loses nothing.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Differs from what it was before where anything that is held has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// What configured sources gave and still counts, each under a name that stays and in a form in which it can be offered again.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let view = self.view.load();
        let state = self.lock();
        let State { intel, amd, nvidia, records, .. } = &*state;
        let ours = |subject: &Subject| records.get(subject).is_some_and(|record| record.source.is_configured());
        let wholes = view.platforms.keys().filter(|id| intel.parts(**id).iter().all(ours));
        let wholes = wholes.filter_map(|id| {
            let name = format!("the collateral for {}, FMSPC {}, PCK {} CA", id.tee, hex::encode(id.fmspc), id.ca);
            Some((name, intel.assemble(*id).ok()?))
        });
        let lists =
            amd.crls.values().chain(nvidia.crls.values()).map(|list| (list.subject(), list.parsed.der().to_vec()));
        let authorities = amd
            .authorities
            .iter()
            .map(|(name, held)| (Subject::Authority { name: name.clone() }, held.certificate.der().to_vec()));
        let veks = amd.veks.iter().map(|(id, held)| (id.subject(), held.certificate.der().to_vec()));
        // Without the authority's certificate its list could not be verified again.
        let has_list = |name: &&String| ours(&Subject::Crl { issuer: (*name).clone() });
        let above = nvidia.authorities.iter().filter(|(name, _)| has_list(name)).map(|(name, certificate)| {
            (Subject::Authority { name: name.clone() }.to_string(), certificate.der().to_vec())
        });
        let single = lists.chain(authorities).chain(veks).filter(|(subject, _)| ours(subject));
        wholes.chain(single.map(|(subject, bytes)| (subject.to_string(), bytes))).chain(above).collect()
    }

    /// What is worth asking for again: the kinds of platform and the families of which something is held.
    pub(crate) fn kept(&self) -> Vec<Want> {
        let state = self.lock();
        let platforms = state.intel.ids().into_iter().map(Want::Platform);
        let lists = state.amd.families().into_iter().map(Want::AmdCrl).chain(state.nvidia.wants());
        platforms.chain(lists).collect()
    }

    /// Whether there is now what a want names.
    pub(crate) fn holds(&self, want: &Want) -> bool {
        let view = self.view.load();
        let of = |name: &String, family| crate::amd::family_of_authority(name) == Some(family);
        match want {
            Want::Platform(id) => view.platforms.contains_key(id),
            Want::GpuCrl(list) => view.nvidia.crls.contains_key(&list.issuer),
            Want::AmdCrl(family) => view.amd.crls.keys().any(|issuer| of(issuer, *family)),
            Want::AmdChain { family, vlek } => {
                view.amd.authorities.keys().any(|name| of(name, *family) && name.contains("VLEK") == *vlek)
            }
            Want::Vek { id, .. } => view.amd.veks.contains_key(id),
        }
    }

    /// Whether anything of what a want names ends soon or has ended.
    pub(crate) fn is_ending(&self, want: &Want, now: Timestamp) -> bool {
        let state = self.lock();
        let subjects = state.subjects(want);
        subjects
            .iter()
            .filter_map(|subject| state.records.get(subject))
            .any(|record| Level::of(record.mark.issued, record.ends, now) != Level::Current)
    }

    /// Notes that a want was answered.
    pub(crate) fn answered(&self, want: &Want) {
        self.wants_list().remove(want);
    }

    /// Notes that nobody could answer a want.
    pub(crate) fn unanswered(&self, want: &Want, why: &str, now: Timestamp) {
        let failure = Failure { at: now, why: why.to_owned() };
        self.wants_list().failed(want, failure.clone());
        let mut state = self.lock();
        for subject in state.subjects(want) {
            if let Some(record) = state.records.get_mut(&subject) {
                record.failed = Some(failure.clone());
            }
        }
    }

    pub(crate) fn want(&self, want: Want, now: Timestamp) {
        if self.wants_list().note(want, now) {
            self.wanted.notify_one();
        }
    }

    /// Tells an event, once.
    pub(crate) fn tell_once(&self, event: Event) {
        let key = match &event {
            Event::RolledBack { subject, found, source, .. } => format!("{source} {subject} {found}"),
            Event::SourceFailed { source, why } | Event::Refused { source, why } => format!("{source} {why}"),
            Event::Unusable { platform, why } => format!("{platform} {why}"),
            Event::Refreshed { .. } | Event::Ending { .. } | Event::Ended { .. } => String::new(),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        if key.is_empty() || told.insert(key) {
            drop(told);
            self.listener.tell(event);
        }
    }

    /// Lets a failure of a source be told again, once it has answered.
    pub(crate) fn recovered(&self, source: &Source) {
        let prefix = format!("{source} ");
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|told| !told.starts_with(&prefix));
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants_list(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies each kind's collateral anew and shows the result to readers. What cannot be used any more is told.
    pub(crate) fn rebuild(&self, state: &mut State) -> Vec<Event> {
        let before = self.view.load_full();
        let mut dcap = Arc::clone(&before.dcap);
        let mut built = state.intel.build(&self.roots, &dcap);
        // The verifier's cache takes nothing with lower numbers and forgets nothing: where evidence's gives way to a source's, and
        // where something became unusable, a new one begins.
        let is_held = |id: &CollateralId| before.platforms.contains_key(id);
        let is_lost = before.platforms.keys().any(|id| !built.get(id).is_some_and(Result::is_ok));
        if is_lost {
            dcap = Arc::new(Cache::new());
            built = state.intel.build(&self.roots, &dcap);
        }
        let mut events = Vec::new();
        let mut platforms = BTreeMap::new();
        for (id, result) in built {
            match result {
                Ok(window) => {
                    state.unusable.remove(&id);
                    platforms.insert(id, window);
                }
                Err(why) if is_held(&id) && state.unusable.insert(id) => {
                    let platform = format!("{}, FMSPC {}, PCK {} CA", id.tee, hex::encode(id.fmspc), id.ca);
                    events.push(Event::Unusable { platform, why });
                }
                Err(_) => {}
            }
        }
        self.publish(state, dcap, platforms);
        events
    }

    /// Shows readers what has changed of AMD's.
    pub(crate) fn show(&self, state: &mut State) {
        let before = self.view.load_full();
        self.publish(state, Arc::clone(&before.dcap), before.platforms.clone());
    }

    fn publish(&self, state: &mut State, dcap: Arc<Cache>, platforms: BTreeMap<CollateralId, Window>) {
        if state.records.len() > RECORDS {
            state.forget_what_is_gone();
        }
        let view = View {
            dcap,
            platforms,
            amd: state.amd.clone(),
            nvidia: state.nvidia.clone(),
            floors: state.floors.clone(),
        };
        self.view.store(Arc::new(view));
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("held", &self.lock().records.len()).finish_non_exhaustive()
    }
}

impl State {
    fn forget_what_is_gone(&mut self) {
        let veks: BTreeSet<Subject> = self.amd.veks.keys().map(crate::VekId::subject).collect();
        let (intel, amd, nvidia) = (&self.intel, &self.amd, &self.nvidia);
        self.records.retain(|subject, _| match subject {
            Subject::TcbInfo { tee, fmspc } => intel.tcb_infos.contains_key(&(*tee, *fmspc)),
            Subject::QeIdentity { tee } => intel.identities.contains_key(tee),
            Subject::Crl { issuer } => {
                intel.crls.contains_key(issuer) || amd.crls.contains_key(issuer) || nvidia.crls.contains_key(issuer)
            }
            Subject::Vek { .. } => veks.contains(subject),
            Subject::Authority { name } => amd.authorities.contains_key(name) || nvidia.authorities.contains_key(name),
        });
    }

    /// The things that a want is about, as far as they are known.
    fn subjects(&self, want: &Want) -> Vec<Subject> {
        match want {
            Want::Platform(id) => {
                let own = [Subject::TcbInfo { tee: id.tee, fmspc: id.fmspc }, Subject::QeIdentity { tee: id.tee }];
                let lists = self.intel.crls.keys().map(|issuer| Subject::Crl { issuer: issuer.clone() });
                own.into_iter().chain(lists).collect()
            }
            Want::GpuCrl(list) => vec![Subject::Crl { issuer: list.issuer.clone() }],
            Want::AmdCrl(family) => {
                let of = |issuer: &&String| crate::amd::family_of_authority(issuer) == Some(*family);
                let lists = self.amd.crls.keys().filter(of);
                lists.map(|issuer| Subject::Crl { issuer: issuer.clone() }).collect()
            }
            Want::AmdChain { .. } => Vec::new(),
            Want::Vek { id, .. } => vec![id.subject()],
        }
    }
}

impl Want {
    /// The thing that is missing, for people.
    fn subject(&self) -> Option<Subject> {
        match self {
            Self::Platform(id) => Some(Subject::TcbInfo { tee: id.tee, fmspc: id.fmspc }),
            Self::GpuCrl(list) => Some(Subject::Crl { issuer: list.issuer.clone() }),
            Self::AmdCrl(family) => Some(Subject::Crl { issuer: format!("CN=ARK-{}", family.product()) }),
            Self::AmdChain { family, vlek } => Some(Subject::Authority {
                name: format!("CN=SEV-{}{}", if *vlek { "VLEK-" } else { "" }, family.product()),
            }),
            Self::Vek { id, .. } => Some(id.subject()),
        }
    }
}
