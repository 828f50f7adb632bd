//! What `./test` and continuous integration run, so that a laptop and CI do the same.
//!
//! `cargo run -p xtask -- WHAT`, with WHAT one of `setup`, `check`, `test`, `all`, or `fuzz` and what to do of it.

mod fuzz;
mod setup;
mod step;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::step::Steps;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "all".to_owned());
    let rest: Vec<String> = arguments.collect();
    let mut steps = Steps::new();
    match run(&what, &rest, &mut steps) {
        Ok(()) => {
            steps.summary();
            ExitCode::SUCCESS
        }
        Err(error) => {
            steps.summary();
            step::say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(what: &str, rest: &[String], steps: &mut Steps) -> Result<()> {
    match what {
        "fuzz" => fuzz::fuzz(steps, rest),
        "setup" => setup::setup(steps),
        "check" => check(steps),
        "test" => setup::setup(steps).and_then(|()| test(steps)),
        "all" => {
            setup::setup(steps)?;
            check(steps)?;
            test(steps)
        }
        other => bail!("`{other}` is no task; expected setup, check, test, all or fuzz"),
    }
}

/// Format, lints, documentation, licences and advisories.
fn check(steps: &mut Steps) -> Result<()> {
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.cargo("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    steps.cargo_with(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")],
    )?;
    steps.cargo("licences, sources, duplicates", &["deny", "--locked", "check", "licenses", "bans", "sources"])?;
    steps.advisories()
}

/// Every test: unit, integration and documentation.
fn test(steps: &mut Steps) -> Result<()> {
    steps.cargo("tests", &["test", "--workspace", "--locked"])?;
    // A workspace of its own: what it compares with brings a second crypto library, which may not reach the product.
    let manifest = "crates/verifier/second-opinion/Cargo.toml";
    let arguments = ["test", "--manifest-path", manifest, "--locked", "--target-dir", "target/second-opinion"];
    steps.cargo("second opinion on TDX and SGX", &arguments)
}
