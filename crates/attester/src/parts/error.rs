//! Why a command gave no evidence of a part.

use std::io;
use std::process::ExitStatus;

/// What went wrong with a command, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The program cannot be run.
    #[error("it cannot be started: {0}; name a program that is there and that the agent's user may run")]
    Start(io::Error),
    /// The system would not give what it printed.
    #[error("what it printed cannot be read: {0}")]
    Read(io::Error),
    /// It went on for too long, and was killed.
    #[error(
        "it was killed since it took more than {seconds} s{said}; raise `timeout_secs`, or run it by hand to see what it waits for"
    )]
    Timeout {
        /// How long it had.
        seconds: u64,
        /// The end of what it wrote to standard error.
        said: Said,
    },
    /// The agent ends.
    #[error("it was killed since the agent ends")]
    Stopped,
    /// It printed more than evidence can be, and was killed.
    #[error("it was killed since it printed more than {limit} bytes; let it print nothing but the evidence")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// It did not succeed.
    #[error("it failed ({status}){said}; run it by hand, as the agent's user, with 64 hexadecimal digits as the nonce")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said: the message in its answer, or the end of what it wrote to standard error.
        said: Said,
    },
    /// It ended well and reports an error.
    #[error(
        "it reports the error {code}{said}; run it by hand, as the agent's user, with 64 hexadecimal digits as the nonce"
    )]
    Reported {
        /// `result_code`.
        code: i64,
        /// `result_message`.
        said: Said,
    },
    /// What it printed is not what `nvattest` prints.
    #[error(
        "its answer is not that of `nvattest collect-evidence --format json`: {0}; let it print that and nothing else"
    )]
    Answer(String),
    /// A device answers another nonce.
    #[error(
        "device {device} answers the nonce `{found}`, not the `{expected}` that was asked; hand `{{nonce}}` on to the device, and keep no answers"
    )]
    Nonce {
        /// The device, from 0.
        device: usize,
        /// What was asked.
        expected: String,
        /// What is answered.
        found: String,
    },
    /// There is no device.
    #[error(
        "it found no device; check the driver and that the device is in confidential computing mode, or take this part out of the configuration"
    )]
    NoDevice,
    /// There are more devices than evidence takes.
    #[error("it found {found} devices, and the evidence has room for {most}; name a command that gives fewer")]
    Devices {
        /// How many it found.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A device stands twice.
    #[error("device {device} stands twice in its answer, by its certificates; let it give each device once")]
    Twice {
        /// The second of the two, from 0.
        device: usize,
    },
}

/// What a program said, for people: nothing, or one line of printable characters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Said(String);

impl Said {
    /// Characters of it that are shown, the last ones.
    const SHOWN: usize = 400;

    /// The end of what it said.
    pub(super) fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let words: Vec<String> =
            text.split_whitespace().map(|word| word.chars().filter(|one| !one.is_control()).collect()).collect();
        let line = words.join(" ");
        let skipped = line.chars().count().saturating_sub(Self::SHOWN);
        let shown: String = line.chars().skip(skipped).collect();
        Self(if skipped > 0 { format!("…{shown}") } else { shown })
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": `{}`", self.0) }
    }
}
