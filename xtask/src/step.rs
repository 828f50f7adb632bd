//! A step of the work: named, timed, and told apart in the output.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The steps run so far, with how long each took.
pub(crate) struct Steps {
    done: Vec<(String, Duration, &'static str)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs cargo with `arguments`; its failure is the step's.
    pub(crate) fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        self.cargo_with(name, arguments, &[])
    }

    /// As [`Steps::cargo`], with further environment variables.
    pub(crate) fn cargo_with(&mut self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).envs(environment.iter().copied());
        self.run(name, &mut command)
    }

    /// Runs `command`; its failure is the step's.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        say(&format!("{name}: {}", words(command)));
        let start = Instant::now();
        let status =
            command.stdin(Stdio::null()).status().with_context(|| format!("`{}` did not start", words(command)))?;
        let verdict = if status.success() { "ok" } else { "FAILED" };
        self.done.push((name.to_owned(), start.elapsed(), verdict));
        if !status.success() {
            bail!("{name}: `{}` ended with {status}", words(command));
        }
        Ok(())
    }

    /// Checks the dependencies against the advisory database, where it can be reached; says so where it cannot.
    pub(crate) fn advisories(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["deny", "--locked", "check", "advisories"]).stdin(Stdio::null());
        say(&format!("advisories: {}", words(&command)));
        let output = command.output().context("`cargo deny` did not start")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let unreachable = text.contains("failed to fetch advisory database");
        let verdict = match (output.status.success(), unreachable) {
            (true, _) => "ok",
            (false, true) => "SKIPPED (the advisory database cannot be reached from here)",
            (false, false) => "FAILED",
        };
        self.done.push(("advisories".to_owned(), start.elapsed(), verdict));
        if verdict == "FAILED" {
            bail!("advisories:\n{text}");
        }
        Ok(())
    }

    /// Prints what was done.
    pub(crate) fn summary(&self) {
        for (name, took, verdict) in &self.done {
            say(&format!("{:>7.1} s  {name}: {verdict}", took.as_secs_f64()));
        }
    }
}

/// One line to the person who waits.
#[expect(clippy::print_stderr, reason = "this is the task runner's one way to speak")]
pub(crate) fn say(line: &str) {
    eprintln!("[test] {line}");
}

fn words(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
