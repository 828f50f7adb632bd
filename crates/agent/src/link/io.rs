//! The two tasks of a link: one writes what is queued, one reads frames.

use std::sync::Arc;
use std::time::Duration;

use burgrave_protocol::frame::{Decoder, FrameType};
use burgrave_protocol::message::{Assembler, MAX_MESSAGE};
use burgrave_types::{Problem, ProblemCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::{Event, Link};
use crate::lock;

/// After how much silence the agent pings, and ends the link; also how long one write may take.
const PING_AFTER: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(45);
/// Bytes that are collected for one write, and that one read asks for.
const BATCH: usize = 64 * 1024;
const READ: usize = 16 * 1024;

impl Link {
    /// Writes what is queued until the link ends and nothing waits.
    pub(super) async fn write(self: Arc<Self>, mut writer: impl AsyncWrite + Unpin) {
        let mut batch = Zeroizing::new(Vec::with_capacity(READ));
        loop {
            if lock(&self.pending).len() > 1 || !lock(&self.channels).is_empty() {
                // Lets what other tasks are about to send join the batch.
                tokio::task::yield_now().await;
            }
            batch.clear();
            lock(&self.outbox).fill(&mut batch, BATCH);
            if !batch.is_empty() {
                let written = timeout(SILENCE, async {
                    writer.write_all(&batch).await?;
                    writer.flush().await
                });
                if !matches!(written.await, Ok(Ok(()))) {
                    self.end(Problem::new(ProblemCode::Unavailable, "the node does not take what is sent to it"));
                    return;
                }
            } else if self.has_ended() {
                let _ = timeout(SILENCE, writer.shutdown()).await;
                return;
            } else {
                self.wake.notified().await;
            }
        }
    }

    /// Reads until the link ends, and ends it.
    pub(super) async fn read(
        self: Arc<Self>,
        mut reader: impl AsyncRead + Unpin,
        decoder: Decoder,
        events: mpsc::Sender<Event>,
    ) {
        let reason = self.read_frames(&mut reader, decoder, &events).await;
        self.end(reason);
    }

    async fn read_frames(
        self: &Arc<Self>,
        reader: &mut (impl AsyncRead + Unpin),
        mut decoder: Decoder,
        events: &mpsc::Sender<Event>,
    ) -> Problem {
        let mut answers = Assembler::new(MAX_MESSAGE);
        let mut heard = Instant::now();
        let mut pinged = false;
        loop {
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => {
                        if let Err(reason) = self.frame(frame, &mut answers, events) {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return self.violation(error.to_string()),
                }
            }
            decoder.buffer_mut().reserve(READ);
            let alarm = heard + if pinged { SILENCE } else { PING_AFTER };
            tokio::select! {
                biased;
                () = self.end.notified() => return self.why(),
                read = reader.read_buf(decoder.buffer_mut()) => match read {
                    Ok(0) => return Problem::new(ProblemCode::Unavailable, "the node closed the link"),
                    Ok(_) => {
                        heard = Instant::now();
                        pinged = false;
                    }
                    Err(error) => {
                        return Problem::new(ProblemCode::Unavailable, format!("the link to the node broke: {error}"));
                    }
                },
                () = tokio::time::sleep_until(alarm) => {
                    if pinged {
                        let silent = format!("the node was silent for {} s", SILENCE.as_secs());
                        return Problem::new(ProblemCode::Unavailable, silent);
                    }
                    pinged = true;
                    self.control(FrameType::Ping, 0, &[0; 9]);
                }
            }
        }
    }
}
