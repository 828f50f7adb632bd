//! What the tests need on the machine: found, installed where that is allowed, or named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{Steps, say};

/// A program that tests start, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("swtpm", "swtpm"),
    ("swtpm_setup", "swtpm-tools"),
    ("tpm2_createek", "tpm2-tools"),
    ("softhsm2-util", "softhsm2"),
    ("musl-gcc", "musl-tools"),
    ("curl", "curl"),
];

const MUSL: &str = "x86_64-unknown-linux-musl";
const CARGO_DENY: &str = "0.20.2";

/// Installs what is missing: Debian packages when root on Debian, cargo-deny by cargo, the musl target by rustup.
pub(crate) fn setup(steps: &mut Steps) -> Result<()> {
    packages(steps)?;
    if on_path("cargo-deny").is_none() {
        steps.cargo("cargo-deny", &["install", "--locked", "--version", CARGO_DENY, "cargo-deny"])?;
    }
    musl_target(steps)
}

fn packages(steps: &mut Steps) -> Result<()> {
    let missing: Vec<&(&str, &str)> = PROGRAMS.iter().filter(|(program, _)| on_path(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !(is_root() && on_path("apt-get").is_some()) {
        bail!(
            "the tests need {}, which are not on PATH; install the packages {} (on Debian as root: `apt-get install {}`)",
            missing.iter().map(|(program, _)| format!("`{program}`")).collect::<Vec<_>>().join(", "),
            packages.join(", "),
            packages.join(" "),
        );
    }
    steps.run("package lists", Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages);
    steps.run("packages", install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|(program, _)| on_path(program).is_none()) {
        Some((program, package)) => bail!("`{package}` is installed, but `{program}` is still not on PATH"),
        None => Ok(()),
    }
}

/// The static agent is built for musl; its C parts need `musl-gcc`, its Rust parts the target.
fn musl_target(steps: &mut Steps) -> Result<()> {
    let Some(rustup) = on_path("rustup") else {
        say("rustup is not on PATH: the static build of the agent is not tried");
        return Ok(());
    };
    let installed = Command::new(&rustup).args(["target", "list", "--installed"]).output()?;
    if String::from_utf8_lossy(&installed.stdout).lines().any(|line| line == MUSL) {
        return Ok(());
    }
    steps.run("musl target", Command::new(rustup).args(["target", "add", MUSL]))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps some of these outside an ordinary user's PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join(program)).find(|file| file.is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
