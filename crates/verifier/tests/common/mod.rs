//! Reads evidence vectors: `testdata/` of this crate, and the whole collection where it is at hand.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};

use burgrave_types::{EvidencePart, Timestamp};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verification, files, verify};
use serde_json::Value;

/// A row of the manifest.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    json: Value,
}

/// A row's evidence with the arguments it is judged under.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) part: EvidencePart,
    pub(crate) endorsements: Endorsements,
    pub(crate) roots: Roots,
    pub(crate) profile: Profile,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) at: Timestamp,
}

/// The rows that stand in this crate.
pub(crate) fn packaged() -> (PathBuf, Vec<Row>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let rows = rows(&folder);
    (folder, rows)
}

/// The TEEs whose rows are judged.
const TEES: [&str; 8] = ["snp", "tdx", "sgx", "nitro", "tpm", "az-vtpm", "cca", "nvidia-gpu"];

/// The rows of these TEEs in the whole collection, where it is at hand.
pub(crate) fn collection() -> Option<(PathBuf, Vec<Row>)> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    folder.join("manifest.json").exists().then(|| {
        let rows = rows(&folder);
        (folder, rows)
    })
}

/// The rows of event logs alone in the whole collection, where it is at hand.
pub(crate) fn logs() -> Vec<Row> {
    let folder = collection().map(|(folder, _)| folder);
    folder.map(|folder| rows_of(&folder, &["eventlog"])).unwrap_or_default()
}

fn rows(folder: &Path) -> Vec<Row> {
    rows_of(folder, &TEES)
}

fn rows_of(folder: &Path, tees: &[&str]) -> Vec<Row> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let rows = manifest.as_array().unwrap().iter().filter(|row| tees.contains(&row["tee"].as_str().unwrap()));
    rows.map(|row| Row { id: row["id"].as_str().unwrap().to_owned(), json: row.clone() }).collect()
}

impl Row {
    pub(crate) fn expect(&self) -> &str {
        self.json["expect"].as_str().unwrap()
    }

    pub(crate) fn authentic(&self) -> bool {
        // The collection calls this token authentic, as it is under another anchor; under one that is no key nothing is.
        self.id != "cca/neg-token-02-bad-anchor" && self.json["authentic"].as_bool().unwrap()
    }

    pub(crate) fn claims(&self) -> &Value {
        &self.json["claims"]
    }

    pub(crate) fn causes(&self) -> Vec<Cause> {
        let causes = self.json["causes"].as_array().cloned().unwrap_or_default();
        causes.iter().map(|cause| cause.as_str().unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let files = self.json["files"].as_object().unwrap().iter();
        files.map(|(name, digest)| (name.clone(), digest.as_str().unwrap().to_owned())).collect()
    }

    /// As [`Row::case`], for rows that are judged at all.
    pub(crate) fn case_or_none(&self, folder: &Path) -> Option<Case> {
        self.json.get("args").map(|_| self.case(folder))
    }

    /// Reads the evidence, and the row's arguments as `burgrave evidence verify` would take them.
    pub(crate) fn case(&self, folder: &Path) -> Case {
        let items = self.files().into_iter().map(|(name, _)| {
            let bytes = std::fs::read(folder.join(&self.id).join(&name)).unwrap();
            (name, bytes)
        });
        let mut case = Case {
            part: EvidencePart { tee: self.json["tee"].as_str().unwrap().parse().unwrap(), items: items.collect() },
            endorsements: Endorsements::default(),
            roots: Roots::vendor(),
            profile: Profile::default(),
            nonce: None,
            at: Timestamp::default(),
        };
        let mut only = Vec::new();
        let arguments: Vec<_> =
            self.json["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        for pair in arguments.chunks(2) {
            match pair[0] {
                "--tee" => assert_eq!(pair[1], case.part.tee.as_str()),
                "--at" => case.at = pair[1].parse().unwrap(),
                "--nonce" => case.nonce = Some(hex::decode(pair[1]).unwrap()),
                "--root" => only.push(std::fs::read(folder.join(pair[1])).unwrap()),
                "--endorsements" => {
                    for entry in std::fs::read_dir(folder.join(pair[1])).unwrap() {
                        assert!(case.endorsements.add(&std::fs::read(entry.unwrap().path()).unwrap()));
                    }
                }
                other => panic!("unknown argument {other}"),
            }
        }
        if !only.is_empty() {
            case.roots = Roots::only(only).unwrap();
        }
        // What the files look like agrees with what the row says they are.
        let detected = files::part(case.part.items.clone(), None).expect("a known format").part;
        assert_eq!(detected.tee, case.part.tee, "{}", self.id);
        case
    }
}

impl Case {
    pub(crate) fn verify(&self) -> Verification {
        verify(&Input {
            part: &self.part,
            endorsements: &self.endorsements,
            roots: &self.roots,
            profile: &self.profile,
            expected: self.nonce.as_deref().map_or(Expected::None, Expected::Nonce),
            at: self.at,
        })
    }

    /// Alters an item.
    pub(crate) fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut case = self.clone();
        change(case.part.items.get_mut(name).unwrap());
        case
    }
}
