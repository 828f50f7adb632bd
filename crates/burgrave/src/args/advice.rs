//! Every command that an error, a docstring or a page advises is one that there is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::Cli;

#[test]
fn every_command_that_is_advised_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md"), root.join("SECURITY.md"), root.join("ARCHITECTURE.md")];
    collect(&root.join("docs"), "md", &mut files);
    collect(&root.join("crates"), "rs", &mut files);
    let mut tried = 0;
    let mut wrong = Vec::new();
    files.retain(|file| !file.ends_with("args/advice.rs"));
    for file in &files {
        for advice in advised(&fs::read_to_string(file).unwrap()) {
            tried += 1;
            if let Err(why) = typed(&advice) {
                wrong.push(format!("{}: `{advice}`: {why}", file.display()));
            }
        }
    }
    assert!(tried > 50, "only {tried} commands were found: the search is broken");
    assert!(wrong.is_empty(), "commands that are advised and are not there:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_not_a_command_is_found() {
    assert_eq!(typed("burgrave enclave list"), Ok(()));
    assert_eq!(typed("burgrave enclave release add {enclave} …"), Ok(()));
    assert!(typed("burgrave release add payments/api").is_err());
    assert!(typed("burgrave enclave ban {name}").is_err());
    assert!(typed("burgrave enclave revoke {name} --version {release}").is_err());
    assert_eq!(advised("see `burgrave why` or\n    $ burgrave status\n"), ["burgrave why", "burgrave status"]);
}

/// The commands in a text: between backticks, or after a prompt.
fn advised(text: &str) -> Vec<String> {
    let ticked = text.split('`').filter(|piece| !piece.contains('\n'));
    let prompted = text.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
    let all = ticked.chain(prompted).filter(|piece| piece.starts_with("burgrave "));
    all.map(|piece| piece.split(" | ").next().unwrap_or(piece).trim_end_matches([' ', '\\']).to_owned()).collect()
}

/// Whether the command's nouns, verbs and options are there. Values are not looked at: many are placeholders.
fn typed(advice: &str) -> Result<(), String> {
    let mut tree = Cli::command();
    tree.build();
    let mut command = &tree;
    for word in advice.split_whitespace().skip(1) {
        if let Some(flag) = word.strip_prefix("--") {
            let name = flag.split('=').next().unwrap_or(flag);
            let known = command.get_arguments().any(|argument| argument.get_long() == Some(name)) || name == "help";
            known.then_some(()).ok_or_else(|| format!("`{}` has no option `--{name}`", command.get_name()))?;
        } else if let Some(deeper) = command.find_subcommand(word) {
            command = deeper;
        } else if command.is_subcommand_required_set() && word != "…" {
            return Err(format!("`{}` has nothing called `{word}`", command.get_name()));
        }
    }
    Ok(())
}

fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true => collect(&path, extension, files),
            false if path.extension().is_some_and(|found| found == extension) => files.push(path),
            false => {}
        }
    }
}
