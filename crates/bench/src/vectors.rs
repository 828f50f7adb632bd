//! Evidence of the verifier's tests: what stands in the repository, and the whole collection where it is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burgrave_types::{EvidencePart, Timestamp};
use burgrave_verifier::Roots;
use serde::Deserialize;

/// A row of a manifest, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    tee: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// Where evidence is found.
#[derive(Debug)]
pub(crate) struct Collection {
    folders: Vec<(PathBuf, Vec<Entry>)>,
}

/// Evidence with the arguments it is judged under.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) part: EvidencePart,
    /// The certificates or anchors that replace the pinned roots, as files.
    pub(crate) root_files: Vec<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) at: Timestamp,
}

impl Collection {
    /// Opens the repository's evidence and, where it is there, the whole collection in `folder`.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packaged = here.join("../verifier/testdata");
        let whole = folder.unwrap_or_else(|| here.join("../../../shared/vectors"));
        let mut folders = Vec::new();
        for folder in [packaged, whole] {
            let manifest = folder.join("manifest.json");
            if manifest.exists() {
                let text = std::fs::read(&manifest).with_context(|| format!("`{}`", manifest.display()))?;
                let entries = serde_json::from_slice(&text).with_context(|| format!("`{}`", manifest.display()))?;
                folders.push((folder, entries));
            }
        }
        if folders.is_empty() {
            bail!("there is no evidence in `{}`; run this from a clone of the repository", here.display());
        }
        Ok(Self { folders })
    }

    /// The evidence of that id; `None` where it is not at hand.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Case>> {
        let mut found = self.folders.iter().filter_map(|(folder, entries)| {
            let entry = entries.iter().find(|entry| entry.id == id)?;
            folder.join(id).is_dir().then_some((folder, entry))
        });
        found.next().map(|(folder, entry)| read(folder, entry)).transpose()
    }
}

fn read(folder: &Path, entry: &Entry) -> Result<Case> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).with_context(|| format!("`{}`", path.display()))
    };
    let mut items = BTreeMap::new();
    for name in entry.files.keys() {
        items.insert(name.clone(), file(&format!("{}/{name}", entry.id))?);
    }
    let part = EvidencePart { tee: entry.tee.parse()?, items };
    let mut case = Case { part, root_files: Vec::new(), nonce: None, at: Timestamp::default() };
    for pair in entry.args.chunks(2) {
        match pair {
            [name, value] if name == "--at" => case.at = value.parse()?,
            [name, value] if name == "--nonce" => case.nonce = Some(hex::decode(value)?),
            [name, value] if name == "--root" => case.root_files.push(file(value)?),
            [name, _] if name == "--tee" => {}
            other => bail!("the manifest has arguments for `{}` that are not known here: {other:?}", entry.id),
        }
    }
    Ok(case)
}

impl Case {
    /// The item of that name.
    pub(crate) fn item(&self, name: &str) -> Result<&[u8]> {
        self.part.item(name).with_context(|| format!("the evidence has no item `{name}`"))
    }

    /// What it is judged under. The pinned roots are shared by all; [`Roots::forgetting`] makes them new.
    pub(crate) fn roots(&self) -> Result<Roots> {
        let only = || Roots::only(&self.root_files).map_err(|cause| anyhow::anyhow!("the roots are refused: {cause}"));
        if self.root_files.is_empty() { Ok(Roots::vendor()) } else { only() }
    }
}
