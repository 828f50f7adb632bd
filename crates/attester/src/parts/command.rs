//! Runs a program: for so long and no longer, and for so many bytes and no more.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::error::{PartError, Said};
use super::{NONCE, nvidia};

/// Bytes that a program may print: seven devices take 100 KiB.
pub(super) const MOST_BYTES: usize = 1024 * 1024;
/// Bytes that are kept of what it writes to standard error, the last ones.
const KEPT_BYTES: usize = 4096;
/// All of its environment.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C")];

/// A program, by its absolute path, and its arguments, in which `{nonce}` stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Command {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

/// When runs have to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// After so long from now.
    pub(super) fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }
}

/// Ends the runs of commands before their time, e.g. since the agent ends.
#[derive(Clone, Debug)]
pub struct StopParts(Arc<OwnedFd>);

impl StopParts {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Kills what runs, with all that it started, and lets nothing run any more.
    pub fn stop(&self) {
        // It fails where it was told as often as it can count.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Command {
    /// Whether the program could be run.
    pub(super) fn check(&self) -> Result<(), PartError> {
        let metadata = std::fs::metadata(&self.program).map_err(PartError::Start)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            Ok(())
        } else {
            Err(PartError::Start(io::Error::new(ErrorKind::PermissionDenied, "it is no executable file")))
        }
    }

    /// What it prints over `nonce`, given as it stands among the arguments. It gets no input, none of the agent's environment,
    /// and a process group of its own, of which nothing is left when this returns.
    ///
    /// # Errors
    /// [`PartError`] where it does not end well by the deadline, or is stopped.
    pub(super) fn run(&self, nonce: &str, deadline: Deadline, stop: &StopParts) -> Result<Vec<u8>, PartError> {
        let mut child = std::process::Command::new(&self.program)
            .args(self.arguments.iter().map(|word| word.replace(NONCE, nonce)))
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(PartError::Start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut group = Group(Some(child));
        let mut printed = Stream::new(stdout, MOST_BYTES)?;
        let mut said = Stream::new(stderr, KEPT_BYTES)?;
        match group.follow(&mut printed, &mut said, deadline.at, stop)? {
            Ended::Late => Err(PartError::Timeout { seconds: deadline.allowed.as_secs(), said: Said::new(&said.kept) }),
            Ended::Stopped => Err(PartError::Stopped),
            Ended::TooLong => Err(PartError::TooLong { limit: MOST_BYTES }),
            Ended::With(status) if status.success() => Ok(printed.kept),
            Ended::With(status) => {
                let said = nvidia::message(&printed.kept).unwrap_or_else(|| Said::new(&said.kept));
                Err(PartError::Failed { status, said })
            }
        }
    }
}

/// The command as it was given, `{nonce}` and all.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.arguments.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// How a run came to its end.
enum Ended {
    With(ExitStatus),
    Late,
    Stopped,
    TooLong,
}

/// A process group, by its leader, until that has been waited for.
struct Group(Option<Child>);

impl Group {
    /// Reads what the leader prints until it has ended and nobody is left to print more.
    fn follow<A: Read + AsFd, B: Read + AsFd>(
        &mut self,
        printed: &mut Stream<A>,
        said: &mut Stream<B>,
        deadline: Instant,
        stop: &StopParts,
    ) -> Result<Ended, PartError> {
        let leader = self.0.as_ref().map(|child| pidfd_open(Pid::from_child(child), PidfdFlags::empty())).transpose();
        let leader = leader.map_err(|error| PartError::Read(error.into()))?;
        let mut status = None;
        while status.is_none() || printed.source.is_some() || said.source.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Ended::Late);
            }
            let mut waited: Vec<PollFd<'_>> = Vec::with_capacity(4);
            waited.push(PollFd::new(&stop.0, PollFlags::IN));
            waited.extend(printed.source.as_ref().map(|source| PollFd::new(source, PollFlags::IN)));
            waited.extend(said.source.as_ref().map(|source| PollFd::new(source, PollFlags::IN)));
            waited
                .extend(leader.as_ref().filter(|_| status.is_none()).map(|leader| PollFd::new(leader, PollFlags::IN)));
            match poll(&mut waited, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(PartError::Read(error.into())),
            }
            if waited.first().is_some_and(|stop| !stop.revents().is_empty()) {
                return Ok(Ended::Stopped);
            }
            let leader_ended = status.is_none() && waited.last().is_some_and(|last| !last.revents().is_empty());
            printed.read().map_err(PartError::Read)?;
            said.read().map_err(PartError::Read)?;
            if printed.total > MOST_BYTES {
                return Ok(Ended::TooLong);
            }
            if leader_ended {
                // Who is left of the group would print no more evidence, and hold the pipes open.
                status = self.kill().map(|mut child| child.wait()).transpose().map_err(PartError::Read)?;
            }
        }
        Ok(status.map_or(Ended::Late, Ended::With))
    }

    /// Kills what is left of the group. Its leader is still to be waited for, and not before: until then a process that has
    /// ended keeps its number, so that no other group is hit.
    fn kill(&mut self) -> Option<Child> {
        let child = self.0.take()?;
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        Some(child)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(mut child) = self.kill() {
            // A process that hangs in a driver ends when the driver lets it, which nobody here waits for.
            std::thread::spawn(move || child.wait());
        }
    }
}

/// A pipe, and the last of what came out of it.
struct Stream<T> {
    /// The pipe, until it ends.
    source: Option<T>,
    kept: Vec<u8>,
    total: usize,
    most: usize,
}

impl<T: Read + AsFd> Stream<T> {
    fn new(source: Option<T>, most: usize) -> Result<Self, PartError> {
        if let Some(source) = &source {
            let flags = fcntl_getfl(source).and_then(|flags| fcntl_setfl(source, flags | OFlags::NONBLOCK));
            flags.map_err(|error| PartError::Read(error.into()))?;
        }
        Ok(Self { source, kept: Vec::new(), total: 0, most })
    }

    /// Takes a piece of what is there, and keeps the last `most` bytes and a piece at most.
    fn read(&mut self) -> io::Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let mut piece = [0; 16 * 1024];
        match source.read(&mut piece) {
            Ok(0) => self.source = None,
            Ok(length) => {
                self.total += length;
                self.kept.extend(piece.iter().take(length));
                let surplus = self.kept.len().saturating_sub(self.most);
                self.kept.drain(..surplus);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
