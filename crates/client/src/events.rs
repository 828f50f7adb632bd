//! Server-sent events (WHATWG HTML, section 9.2), as far as a node sends them.

use burgrave_types::api::Event;
use burgrave_types::{Problem, ProblemCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// An event's text, at most: 1 MiB.
const MAX_EVENT: usize = 1024 * 1024;

/// What happens at a node, as it happens.
pub struct Events {
    body: Incoming,
    lines: Lines,
}

impl Events {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next event with its id, for resuming; `None` when the node has ended the stream. Waiting can be dropped and taken
    /// up again without losing an event.
    ///
    /// # Errors
    /// `unavailable` where the connection breaks, `protocol.violation` where what comes is no event.
    pub async fn next(&mut self) -> Result<Option<(String, Event)>, Problem> {
        loop {
            if let Some((id, data)) = self.lines.event() {
                let event = serde_json::from_str(&data).map_err(|error| {
                    Problem::new(ProblemCode::Protocol, format!("an event cannot be read: {error}"))
                })?;
                return Ok(Some((id, event)));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| {
                Problem::new(ProblemCode::Unavailable, format!("the stream of events broke: {error}"))
                    .with_fix("start it again; it goes on after the last event that was seen")
            })?;
            if let Ok(data) = frame.into_data() {
                self.lines.feed(&data)?;
            }
        }
    }
}

/// Collects bytes until an event is whole. Takes time in proportion to the bytes, however they come.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// How many of them belong to events that were given.
    given: usize,
    /// From where on the end of an event is looked for.
    from: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.bytes.drain(..self.given);
        (self.from, self.given) = (self.from - self.given, 0);
        if self.bytes.len() + bytes.len() > MAX_EVENT {
            return Err(Problem::new(ProblemCode::Protocol, format!("an event is longer than {MAX_EVENT} bytes")));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the first whole event that carries data: its id and data.
    fn event(&mut self) -> Option<(String, String)> {
        loop {
            let rest = self.bytes.get(self.from..)?;
            let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") else {
                // The last byte may be the first of an end.
                self.from = self.bytes.len().saturating_sub(1).max(self.given);
                return None;
            };
            let end = self.from + end + 2;
            let block = self.bytes.get(self.given..end).unwrap_or_default();
            (self.given, self.from) = (end, end);
            let text = String::from_utf8_lossy(block);
            let (mut id, mut data) = (String::new(), String::new());
            for line in text.lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "id" => id = value.to_owned(),
                    "data" if data.is_empty() => data = value.to_owned(),
                    "data" => data = format!("{data}\n{value}"),
                    _ => {}
                }
            }
            // A block without data is a comment that keeps the connection alive.
            if !data.is_empty() {
                return Some((id, data));
            }
        }
    }
}

/// Reads bytes as a stream, whole and in pieces as long as the first byte says, for the fuzzer; returns how many events there
/// are that can be read.
pub(crate) fn read_cut(bytes: &[u8]) -> usize {
    let Some((length, bytes)) = bytes.split_first().filter(|(_, bytes)| bytes.len() <= MAX_EVENT) else { return 0 };
    let read = |length: usize| {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in bytes.chunks(length.max(1)) {
            if lines.feed(piece).is_ok() {
                seen.extend(std::iter::from_fn(|| lines.event()));
            }
        }
        seen
    };
    let seen = read(MAX_EVENT);
    assert_eq!(read(usize::from(*length)), seen, "events depend on how the stream was cut");
    seen.iter().filter(|(_, data)| serde_json::from_str::<Event>(data).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for byte in b": hello\n\nid: 7\ndata: {\"a\":\ndata: 1}\n\nid: 8\ndata: x\n\n" {
            lines.feed(&[*byte]).unwrap();
            seen.extend(lines.event());
        }
        assert_eq!(seen, [("7".to_owned(), "{\"a\":\n1}".to_owned()), ("8".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn a_mebibyte_of_empty_events_takes_time_in_proportion() {
        let mut lines = Lines::default();
        let started = std::time::Instant::now();
        for _ in 0..4 {
            lines.feed(&vec![b'\n'; MAX_EVENT]).unwrap();
            assert_eq!(lines.event(), None);
        }
        // The quadratic way takes minutes, this one a tenth of a second in a debug build.
        assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; MAX_EVENT]).unwrap();
        assert_eq!(lines.feed(b"x").unwrap_err().code, ProblemCode::Protocol);
    }
}
