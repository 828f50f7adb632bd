//! Writes the seeds of every target into a folder, one folder a target: `burgrave-fuzz FOLDER`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use burgrave_fuzz::TARGETS;

#[expect(clippy::print_stderr, reason = "a tool's one way to speak")]
fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: burgrave-fuzz FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(count) => {
            eprintln!("{count} seeds of {} targets", TARGETS.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        for (number, seed) in target.seeds()?.iter().enumerate() {
            let path = folder.join(format!("seed-{number:03}"));
            std::fs::write(&path, seed).with_context(|| format!("`{}` cannot be written", path.display()))?;
            count += 1;
        }
    }
    Ok(count)
}
