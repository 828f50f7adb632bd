//! Keeps a store fresh: the one part that does I/O.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burgrave_types::{Clock, Random, Timestamp};
use futures_util::{StreamExt, stream};

use crate::directory::{Content, Directory};
use crate::fetch::FetchError;
use crate::schedule::{Schedule, Went};
use crate::spool::Spool;
use crate::{CrlFolder, Event, Kds, Pace, Pccs, Source, Store, Want};

/// Fetches at the same time.
const AT_ONCE: usize = 4;
/// The longest rest: alarms are due at some hour, whatever the plan.
const REST: Duration = Duration::from_secs(60);

/// Where collateral comes from. Of services that have the same, the first that answers counts.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Folders.
    pub directories: Vec<Directory>,
    /// For TDX and SGX.
    pub pccs: Vec<Pccs>,
    /// For SEV-SNP.
    pub kds: Vec<Kds>,
    /// For NVIDIA's GPUs.
    pub gpu_crls: Vec<CrlFolder>,
}

impl Sources {
    fn has_service_for(&self, want: &Want) -> bool {
        !self.services_for(want).is_empty()
    }

    fn services_for(&self, want: &Want) -> Vec<Service<'_>> {
        match want {
            Want::Platform(_) => self.pccs.iter().map(Service::Pccs).collect(),
            Want::AmdCrl(_) | Want::AmdChain { .. } | Want::Vek { .. } => self.kds.iter().map(Service::Kds).collect(),
            Want::GpuCrl(_) => self.gpu_crls.iter().map(Service::GpuCrls).collect(),
        }
    }
}

/// Refreshes a store from its sources until it is dropped.
pub struct Refresher {
    store: Arc<Store>,
    sources: Sources,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    schedule: Schedule,
    pace: Pace,
    spool: Option<Spool>,
    /// How the store was when it was last written down.
    spooled: u64,
    /// What stood in each folder when it was last offered, and when that was.
    seen: Vec<Option<Seen>>,
}

/// Paths, lengths and times of change.
type Seen = (Vec<(PathBuf, u64, u128)>, Timestamp);

impl Refresher {
    /// A refresher that has not begun.
    pub fn new(
        store: Arc<Store>,
        sources: Sources,
        pace: Pace,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let schedule = Schedule::new(pace, clock.now());
        let seen = sources.directories.iter().map(|_| None).collect();
        Self { store, sources, clock, random, schedule, pace, spool: None, spooled: 0, seen }
    }

    /// Keeps what sources gave in a folder of the node's own, and begins with what stands there: services may be away when the
    /// node starts. It is a source like any other folder: what stands there is verified, and not taken below a floor.
    #[must_use]
    pub fn with_spool(mut self, folder: &Path) -> Self {
        self.sources.directories.insert(0, Directory::new(folder));
        self.seen.insert(0, None);
        self.spool = Some(Spool::new(folder));
        self
    }

    /// Refreshes for ever: at its pace, and at once where evidence wants something. Dropping it ends it at any point; what was
    /// offered before counts.
    pub async fn run(mut self) {
        loop {
            let rest = self.turn().await.min(REST);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.store.wanted() => {}
            }
        }
    }

    /// Does all that is due now, raises alarms, and says how long nothing else is due.
    pub async fn turn(&mut self) -> Duration {
        if self.schedule.folders_due(self.clock.now()) {
            self.folders().await;
        }
        let mut kept = self.store.kept();
        // Where there is no service, what is held comes from folders, which are looked at anyway.
        kept.retain(|want| self.sources.has_service_for(want));
        let due = self.schedule.due(&self.store.wants(), &kept, self.clock.now());
        let (store, sources, clock) = (&*self.store, &self.sources, &*self.clock);
        let fetches = due.into_iter().map(|want| async move {
            let went = fetch(store, sources, &want, clock).await;
            (want, went)
        });
        let done: Vec<_> = stream::iter(fetches).buffer_unordered(AT_ONCE).collect().await;
        let now = self.clock.now();
        for (want, went) in done {
            self.schedule.done(&want, went, now, &*self.random);
        }
        self.store.alarm(now);
        self.write_down().await;
        self.schedule.rest(!self.store.wants().is_empty(), now)
    }

    /// Offers what stands in folders, where anything has changed, and now and then where nothing has: what is offered counts by the
    /// time and by what else is held.
    async fn folders(&mut self) {
        let interval = self.pace.interval;
        for (directory, seen) in self.sources.directories.iter().zip(&mut self.seen) {
            let (folder, before) = (directory.clone(), seen.take());
            let (store, now) = (Arc::clone(&self.store), self.clock.now());
            let work = move || {
                let source = folder.source();
                let content = match folder.list() {
                    Ok(content) => content,
                    Err(error) => {
                        store.tell_once(Event::SourceFailed { source, why: format!("it cannot be listed: {error}") });
                        return None;
                    }
                };
                let unchanged = before
                    .as_ref()
                    .is_some_and(|(seen, at)| *seen == content.seen && *at <= now && now.since(*at) < interval);
                if unchanged {
                    return before;
                }
                store.recovered(&source);
                let Content { files, problems, seen } = folder.read(content);
                for why in problems {
                    store.tell_once(Event::Refused { source: source.clone(), why });
                }
                store.offer_all(files.iter().map(Vec::as_slice), &source, now);
                Some((seen, now))
            };
            // It reads files and verifies signatures, for seconds where there are thousands.
            *seen = tokio::task::spawn_blocking(work).await.unwrap_or_default();
        }
    }
}

impl Refresher {
    async fn write_down(&mut self) {
        let changes = self.store.changes();
        if changes == self.spooled {
            return;
        }
        let Some(mut spool) = self.spool.take() else { return };
        let (store, folder) = (Arc::clone(&self.store), self.sources.directories.first().map(Directory::source));
        let work = move || {
            if let (Err(error), Some(source)) = (spool.write(&store.files()), folder) {
                store.tell_once(Event::SourceFailed { source, why: format!("it cannot be written: {error}") });
            }
            spool
        };
        self.spool = tokio::task::spawn_blocking(work).await.ok();
        self.spooled = changes;
    }
}

/// Asks one source after the other, until one has given what is wanted.
async fn fetch(store: &Store, sources: &Sources, want: &Want, clock: &dyn Clock) -> Went {
    let mut reasons = Vec::new();
    let mut absent = true;
    let services = sources.services_for(want);
    for service in &services {
        let source = service.source();
        match service.fetch(want).await {
            Ok(bytes) => match store.offer(&bytes, &source, clock.now()) {
                Ok(_) if !store.holds(want) => {
                    let why = "it gave something else than it was asked for".to_owned();
                    reasons.push(format!("{source}: {why}"));
                    store.tell_once(Event::SourceFailed { source, why });
                    absent = false;
                }
                Ok(_) => {
                    store.recovered(&source);
                    store.answered(want);
                    return if store.is_ending(want, clock.now()) { Went::Ending } else { Went::Well };
                }
                Err(error) => {
                    absent = false;
                    reasons.push(error.to_string());
                }
            },
            Err(error) => {
                absent &= error.is_absent();
                // A chip that the service does not know is the evidence's fault, not the service's.
                if !(error.is_absent() && matches!(want, Want::Vek { .. })) {
                    store.tell_once(Event::SourceFailed { source: source.clone(), why: error.to_string() });
                }
                reasons.push(format!("{source}: {error}"));
            }
        }
    }
    if services.is_empty() {
        let option = match want {
            Want::Platform(_) => "pccs_url",
            Want::AmdCrl(_) | Want::AmdChain { .. } | Want::Vek { .. } => "kds_url",
            Want::GpuCrl(_) => "nvidia_crl_url",
        };
        reasons.push(format!(
            "no service is configured for it; set `collateral.{option}`, or put it into a folder of `collateral.directories`"
        ));
    }
    store.unanswered(want, &reasons.join("; "), clock.now());
    if absent { Went::Absent } else { Went::Badly }
}

/// A service of any vendor.
enum Service<'a> {
    Pccs(&'a Pccs),
    Kds(&'a Kds),
    GpuCrls(&'a CrlFolder),
}

impl Service<'_> {
    fn source(&self) -> Source {
        match self {
            Self::Pccs(pccs) => pccs.source(),
            Self::Kds(kds) => kds.source(),
            Self::GpuCrls(folder) => folder.source(),
        }
    }

    async fn fetch(&self, want: &Want) -> Result<Vec<u8>, FetchError> {
        match (self, want) {
            (Self::Pccs(pccs), Want::Platform(id)) => pccs.platform(*id).await,
            (Self::GpuCrls(folder), Want::GpuCrl(list)) => folder.fetch(list).await,
            (Self::Kds(kds), want) => kds.fetch(want).await,
            (Self::Pccs(_) | Self::GpuCrls(_), _) => {
                Err(FetchError::Connection("it has nothing of the kind".to_owned()))
            }
        }
    }
}
