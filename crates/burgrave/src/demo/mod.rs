//! `burgrave demo`: the whole story on one machine, played by the product's own parts.
//!
//! The node runs in this process, on loopback, with a software token. Each enclave is a process of its own with the
//! product's agent in it, under the simulated TEE (and one under a TPM, where `swtpm` is installed). Nothing is told that was
//! not checked: the first expectation that does not hold ends the demo with exit code 1.

mod agent;
mod cast;
mod enclave;
mod messages;
mod play;
mod steps;
mod story;
mod tap;

use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};

pub(crate) use agent::{AgentArgs, agent};

use crate::commands::Outcome;
use crate::output::{Output, Tone};
use play::Play;
use story::Story;

/// How to play.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave out what an expectation rests on, to see that the demo notices
    #[arg(long = "break", value_enum, value_name = "WHAT", hide = true)]
    broken: Option<Broken>,
}

/// What can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Broken {
    /// The patched code is registered.
    Attest,
    /// Everybody may have the key.
    Key,
    /// The policy is not changed.
    Cut,
    /// Nothing is revoked.
    Revoke,
    /// The node starts with another domain.
    Restart,
}

/// Plays, and tells what happens on stdout.
pub(crate) async fn run(demo: Demo, output: &Output) -> Outcome {
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("burgrave-demo-").tempdir().context("no temporary folder")?;
    output.say(&output.tone_err(
        Tone::Warning,
        "The demo's domain is of class dev: it takes simulated evidence, which proves nothing. All else is the real thing.",
    ));
    let mut story = Story::new(output);
    let mut play = Play::new(folder.path(), demo.broken)?;
    let played = match steps::all(&mut play, &mut story).await {
        Ok(()) => story.finish(begun.elapsed()),
        Err(error) => Err(story.failed(error)),
    };
    play.end().await;
    Ok(played?)
}
