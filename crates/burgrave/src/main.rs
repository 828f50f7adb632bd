//! `burgrave`: the command by which people run a domain, look into it and change it.
//!
//! [`args`] says which words there are, a module under [`commands`] does what each noun can do, and [`output`] is the one
//! place that prints: data on stdout, words on stderr, and the exit codes of `docs/errors.md`. Nothing is decided here. What
//! is asked of a node goes through `burgrave-client` over REST, as anybody's program would; `evidence` asks nobody.
//!
//! Threat notes: secrets come from files, descriptors or stdin, never from arguments. A node is believed by the genesis hash
//! of its domain alone.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests may fail loudly"
    )
)]

mod args;
mod commands;
mod demo;
mod domain;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.output);
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::run(cli, &output)),
        Err(error) => Err(anyhow::Error::new(error).context("the command cannot start").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}
