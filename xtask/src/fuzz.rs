//! The fuzz targets: their seeds, their replay on stable Rust, and the fuzzer where nightly Rust is there.

use std::process::Command;

use anyhow::{Result, bail};

use crate::step::Steps;

const USAGE: &str = "expected `fuzz seed`, `fuzz smoke` or `fuzz run TARGET [--seconds N]`";
const CORPUS: &str = "fuzz/corpus";

/// Does what `arguments` say: `seed`, `smoke`, or `run TARGET [--seconds N]`.
pub(crate) fn fuzz(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    match arguments {
        [what] if what == "seed" => seed(steps),
        [what] if what == "smoke" => {
            steps.cargo("fuzz smoke", &["test", "--package", "burgrave-fuzz", "--test", "smoke", "--locked"])
        }
        [what, target] if what == "run" => run(steps, target, 60),
        [what, target, option, seconds] if what == "run" && option == "--seconds" => match seconds.parse() {
            Ok(seconds) => run(steps, target, seconds),
            Err(_) => bail!("`{seconds}` is no number of seconds"),
        },
        _ => bail!("{USAGE}"),
    }
}

fn seed(steps: &mut Steps) -> Result<()> {
    steps.cargo("seeds", &["run", "--quiet", "--package", "burgrave-fuzz", "--locked", "--", CORPUS])
}

fn run(steps: &mut Steps, target: &str, seconds: u64) -> Result<()> {
    if !works(Command::new("cargo").args(["+nightly", "fuzz", "--version"])) {
        bail!(
            "the fuzzer needs nightly Rust and cargo-fuzz; install them with `rustup toolchain install nightly` and \
             `cargo install cargo-fuzz --locked`, or run `fuzz smoke`, which needs neither"
        );
    }
    seed(steps)?;
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz", target, "--"]);
    // The compiler that was chosen for the rest is not the fuzzer's.
    command.env_remove("RUSTUP_TOOLCHAIN").arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    steps.run(&format!("fuzz {target}"), &mut command)
}

fn works(command: &mut Command) -> bool {
    command.env_remove("RUSTUP_TOOLCHAIN").output().is_ok_and(|output| output.status.success())
}
