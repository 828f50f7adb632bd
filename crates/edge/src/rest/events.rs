//! What happens, as a stream (server-sent events, WHATWG HTML section 9.2) that can be taken up again where it broke.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use burgrave_types::api::Event;
use burgrave_types::{Clock, Problem, ProblemCode, Revision, Timestamp};
use futures_util::stream;
use http::request::Parts;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::Shared;
use super::auth::Admin;
use super::document::Operation;
use super::problem::Refusal;
use super::table::{Answer, Part};

/// Events that are kept for those who come back.
const KEPT: usize = 4096;

/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The latest events, numbered; begins with the first watcher.
pub(super) struct EventLog {
    /// Tells the numbers of this process from those of the one before.
    run: i64,
    ring: Mutex<Ring>,
    /// The number after the last event.
    end: watch::Sender<u64>,
    filling: AtomicBool,
}

#[derive(Default)]
struct Ring {
    /// The number of the first event that is kept.
    first: u64,
    /// The events as JSON.
    events: VecDeque<Arc<str>>,
    /// The ledger position of the last one.
    revision: Revision,
}

/// Where a client wants to go on.
pub(super) struct LastEventId(Option<String>);

impl FromRequestParts<Arc<Shared>> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned)))
    }
}

impl Part for LastEventId {
    fn describe(operation: &mut Operation) {
        let text = "The `id` of the last event that was seen: the stream goes on after it.";
        operation.header("Last-Event-ID", text, json!({"type": "string"}), false);
    }
}

/// A stream of events.
pub(super) struct EventStream(Response);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answer for EventStream {
    fn describe(operation: &mut Operation) {
        let schema = operation.schema::<Event>();
        operation.answer(200, "text/event-stream", schema);
        operation.problem(429);
    }
}

/// `GET /v1/events`.
pub(super) async fn watch_events(admin: Admin, LastEventId(last): LastEventId) -> Result<EventStream, Refusal> {
    let shared = Arc::clone(&admin.shared);
    let source = shared.control.events(&admin.identity).await?;
    let seat = shared.watchers.clone().try_acquire_owned().map_err(|_| {
        Problem::new(ProblemCode::Limit, format!("{} watch already", shared.limits.watchers))
            .with_fix("close other streams, or ask another node")
    })?;
    shared.events.fill_from(source, Arc::clone(&shared.clock));
    let (next, missed) = shared.events.resume(last.as_deref());
    let watcher = Watcher {
        next,
        missed,
        grown: shared.events.end.subscribe(),
        stopping: shared.stopping.clone(),
        recheck: Instant::now() + shared.limits.recheck,
        admin,
        _seat: seat,
    };
    let events = stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Ok(EventStream(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()))
}

/// One who watches.
struct Watcher {
    /// The number of the next event to send.
    next: u64,
    /// Whether events before `next` are lost to this client, which it is not told yet.
    missed: bool,
    grown: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// When the watcher's rights are asked again.
    recheck: Instant,
    admin: Admin,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; `None` when the server stops or the rights of the watcher have ended.
    async fn next(&mut self) -> Option<sse::Event> {
        let shared = Arc::clone(&self.admin.shared);
        loop {
            if self.recheck <= Instant::now() {
                if !self.admin.holds() || shared.control.events(&self.admin.identity).await.is_err() {
                    return None;
                }
                self.recheck = Instant::now() + shared.limits.recheck;
            }
            if std::mem::take(&mut self.missed) {
                return Some(sse::Event::default().data(shared.events.gap(shared.clock.now())));
            }
            match shared.events.get(self.next) {
                Found::Event(event) => {
                    let id = shared.events.id(self.next);
                    self.next += 1;
                    return Some(sse::Event::default().id(id).data(event));
                }
                Found::Gone { first } => (self.next, self.missed) = (first, true),
                Found::NotYet => tokio::select! {
                    _ = self.grown.changed() => {}
                    _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                    () = tokio::time::sleep_until(self.recheck) => {}
                },
            }
        }
    }
}

/// What stands under a number.
enum Found {
    Event(Arc<str>),
    /// Nothing any more; `first` is the first that is kept.
    Gone {
        first: u64,
    },
    NotYet,
}

impl EventLog {
    /// An empty log of a process that began at `started`.
    pub(super) fn new(started: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            run: started.unix_millis(),
            ring: Mutex::default(),
            end: watch::Sender::new(0),
            filling: AtomicBool::new(false),
        })
    }

    /// Takes events from `source` until it ends, unless they are taken from another already.
    fn fill_from(self: &Arc<Self>, mut source: broadcast::Receiver<Event>, clock: Arc<dyn Clock>) {
        if self.filling.swap(true, Ordering::SeqCst) {
            return;
        }
        let log = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match source.recv().await {
                    Ok(event) => log.push(&event),
                    Err(RecvError::Lagged(missed)) => {
                        let revision = log.ring().revision;
                        log.push(&missed_event(clock.now(), revision, &format!("{missed} events came too fast")));
                    }
                    Err(RecvError::Closed) => break,
                }
            }
            log.filling.store(false, Ordering::SeqCst);
        });
    }

    fn push(&self, event: &Event) {
        let Ok(json) = serde_json::to_string(event) else { return };
        let mut ring = self.ring();
        ring.revision = event.revision;
        ring.events.push_back(json.into());
        if ring.events.len() > KEPT {
            ring.events.pop_front();
            ring.first += 1;
        }
        let end = ring.first + ring.events.len() as u64;
        drop(ring);
        self.end.send_replace(end);
    }

    /// Where a client goes on that has seen `last`, and whether it has missed something.
    fn resume(&self, last: Option<&str>) -> (u64, bool) {
        let ring = self.ring();
        let end = ring.first + ring.events.len() as u64;
        let Some(last) = last else { return (end, false) };
        let next = last
            .split_once('-')
            .and_then(|(run, number)| Some((run.parse::<i64>().ok()?, number.parse::<u64>().ok()?.checked_add(1)?)));
        match next {
            Some((run, next)) if run == self.run && (ring.first..=end).contains(&next) => (next, false),
            _ => (ring.first, true),
        }
    }

    fn get(&self, number: u64) -> Found {
        let ring = self.ring();
        let Some(index) = number.checked_sub(ring.first) else { return Found::Gone { first: ring.first } };
        let event = usize::try_from(index).ok().and_then(|index| ring.events.get(index));
        event.map_or(Found::NotYet, |event| Found::Event(Arc::clone(event)))
    }

    /// The id under which a client sees an event.
    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The event that says that events are missing.
    fn gap(&self, now: Timestamp) -> String {
        let event = missed_event(now, self.ring().revision, "earlier events are not kept any more");
        serde_json::to_string(&event).unwrap_or_default()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missed_event(at: Timestamp, revision: Revision, detail: &str) -> Event {
    let detail = format!("{detail}; read the lists again");
    Event { at, revision, kind: "events.missed".to_owned(), subject: String::new(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: u64) -> Arc<EventLog> {
        let log = EventLog::new(Timestamp::from_unix_secs(1));
        for number in 0..events {
            log.push(&missed_event(Timestamp::default(), Revision(number), "test"));
        }
        log
    }

    #[test]
    fn a_client_goes_on_after_the_event_it_saw_last() {
        let log = log(10);
        assert_eq!(log.resume(None), (10, false));
        assert_eq!(log.resume(Some(&log.id(3))), (4, false));
        assert_eq!(log.resume(Some(&log.id(9))), (10, false));
        assert!(matches!(log.get(4), Found::Event(event) if event.contains("\"revision\":4")));
        assert!(matches!(log.get(10), Found::NotYet));
    }

    #[test]
    fn a_client_is_told_that_it_missed_events() {
        let log = log(KEPT as u64 + 5);
        assert_eq!(log.resume(Some(&log.id(4))), (5, false));
        assert_eq!(log.resume(Some(&log.id(3))), (5, true), "event 4 is gone");
        for unknown in ["1000-99999999", "7-2", "", "x-y", "1000-18446744073709551615"] {
            assert_eq!(log.resume(Some(unknown)), (5, true), "`{unknown}`");
        }
        assert!(matches!(log.get(4), Found::Gone { first: 5 }));
        assert!(log.gap(Timestamp::default()).contains("events.missed"));
    }
}
