//! `burgrave-bench`: how near the code comes to what its work must cost at the least.
//!
//! A benchmark measures what the project does and, in the same run and by turns, the limit that it is held against: the bare
//! cryptography that the work cannot do without. So the machine, its clock and its noise are the same for both, and the ratio
//! says what the rest of the code costs. `docs/benchmarks.md` explains the rows.
//!
//! Threat notes: none. It reads evidence of tests and listens nowhere.

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

mod bare;
mod measure;
mod report;
mod vectors;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::report::Report;
use crate::vectors::Collection;

/// The benchmarks, each beside its limit in the same run.
#[derive(Debug, Parser)]
#[command(name = "burgrave-bench", version, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Evidence verified per second on one core, beside the bare signature verifications that it needs
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Measure only rows in whose name this stands, e.g. `snp` or `/warm`
    #[arg(long, value_name = "PATTERN", default_value = "")]
    rows: String,
    /// How long each row is measured, in seconds; more is steadier
    #[arg(long, value_name = "N", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Exit with 1 where a target is missed
    #[arg(long)]
    check: bool,
    /// The whole collection of evidence, for rows whose evidence does not stand in the repository
    #[arg(long, value_name = "FOLDER", env = "BURGRAVE_VECTORS")]
    vectors: Option<PathBuf>,
    /// How the rows are printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    let Command::Verify(arguments) = Cli::parse().command;
    match run(&arguments) {
        Ok(report) if arguments.check && report.misses_a_target() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &VerifyArgs) -> Result<Report> {
    let collection = Collection::open(arguments.vectors.clone())?;
    let report = verify::run(&collection, &arguments.rows, arguments.seconds)?;
    match arguments.output {
        Format::Table => report.print_table(),
        Format::Json => report.print_json()?,
    }
    Ok(report)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| *seconds <= Duration::from_secs(3600)).ok_or_else(|| "0 to 3600 seconds".to_owned())
}
