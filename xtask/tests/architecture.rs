//! The map in `ARCHITECTURE.md` is the truth about the workspace: its table of crates is held against `cargo metadata`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crate → the workspace crates that it may use.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Reads the rows `| `crate` | duty | may use |` under the heading `## Crates`.
fn map() -> Graph {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let section = text.split("\n## Crates").nth(1).expect("ARCHITECTURE.md has a section `## Crates`");
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let uses = cells[3].split(',').map(|word| word.trim().trim_matches('`').to_owned());
            (cells[1].trim_matches('`').to_owned(), uses.filter(|word| !word.is_empty() && word != "-").collect())
        })
        .collect()
}

fn workspace() -> Graph {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let short = |name: &str| name.strip_prefix("burgrave-").unwrap_or(name).to_owned();
    let members: BTreeSet<String> = metadata.packages.iter().map(|package| short(&package.name)).collect();
    metadata
        .packages
        .iter()
        .map(|package| {
            let uses = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
            let uses = uses.map(|dependency| short(&dependency.name)).filter(|name| members.contains(name));
            (short(&package.name), uses.collect())
        })
        .collect()
}

#[test]
fn every_crate_stands_on_the_map_and_every_row_is_a_crate() {
    let on_map: BTreeSet<String> = map().into_keys().collect();
    let in_workspace: BTreeSet<String> = workspace().into_keys().collect();
    assert_eq!(on_map, in_workspace, "ARCHITECTURE.md (left) and the workspace (right) name different crates");
}

#[test]
fn crates_use_only_what_the_map_allows() {
    let map = map();
    for (name, uses) in workspace() {
        let allowed = &map[&name];
        let beyond: Vec<&String> = uses.difference(allowed).collect();
        assert!(beyond.is_empty(), "`{name}` uses {beyond:?}, which its row in ARCHITECTURE.md does not allow");
    }
}

#[test]
fn the_map_allows_nothing_that_is_not_used() {
    let workspace = workspace();
    for (name, allowed) in map() {
        let unused: Vec<&String> = allowed.difference(&workspace[&name]).collect();
        assert!(unused.is_empty(), "the row of `{name}` in ARCHITECTURE.md allows {unused:?}, which it does not use");
    }
}

#[test]
fn dependencies_point_one_way() {
    let workspace = workspace();
    fn visit(graph: &Graph, name: &str, path: &mut Vec<String>) {
        assert!(!path.iter().any(|seen| seen == name), "a circle of crates: {path:?} and back to `{name}`");
        path.push(name.to_owned());
        for next in &graph[name] {
            visit(graph, next, path);
        }
        path.pop();
    }
    for name in workspace.keys() {
        visit(&workspace, name, &mut Vec::new());
    }
}

#[test]
fn no_edge_reaches_round_the_control_services() {
    let uses = &workspace()["edge"];
    for hidden in ["ledger", "keyring", "hsm", "store", "policy", "verifier"] {
        assert!(!uses.contains(hidden), "the edge uses `{hidden}`, and so could decide by itself");
    }
}

#[test]
fn every_file_that_the_map_names_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> =
        text.split('`').filter(|word| word.starts_with("crates/") || word.starts_with("docs/")).collect();
    assert!(named.len() > 20, "the map names hardly any file");
    for name in named {
        assert!(root().join(name).exists(), "ARCHITECTURE.md names `{name}`, which is not there");
    }
}
