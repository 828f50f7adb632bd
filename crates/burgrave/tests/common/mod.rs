//! A running `burgrave`, told to stop or killed by its id.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The command, with contexts of its own in `folder`.
pub(crate) fn burgrave(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burgrave"));
    command.env("BURGRAVE_CONFIG", folder.join("contexts.toml")).env("NO_COLOR", "1").env_remove("BURGRAVE_CONTEXT");
    command
}

/// A process that serves; killed when dropped.
pub(crate) struct Serving(Child);

impl Serving {
    /// Starts it with both its outputs piped.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The lines of its stdout up to and with the first that holds `end`.
    pub(crate) fn stdout_until(&mut self, end: &str) -> Vec<String> {
        until(self.0.stdout.take().unwrap(), end)
    }

    /// The lines of its stderr up to and with the first that holds `end`.
    pub(crate) fn stderr_until(&mut self, end: &str) -> Vec<String> {
        until(self.0.stderr.take().unwrap(), end)
    }

    /// Tells it to stop (SIGTERM), and waits until it has; whether it succeeded.
    pub(crate) fn stop(mut self) -> bool {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        self.0.wait().unwrap().success()
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(from: impl Read + Send + 'static, end: &str) -> Vec<String> {
    let mut reader = BufReader::new(from);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the process ended before `{end}`: {lines:#?}");
        let found = line.contains(end);
        lines.push(line.trim_end().to_owned());
        if found {
            // What it says later is read away, so that it is never stopped by a full pipe.
            std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
            return lines;
        }
    }
}

/// Asserts an exit code, and gives stdout.
pub(crate) fn exits(code: i32, command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{command:?}\nstdout: {stdout}\nstderr: {stderr}");
    if code == 0 { stdout.into_owned() } else { format!("{stdout}{stderr}") }
}
