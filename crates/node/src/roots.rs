//! What evidence is verified against: the vendors' roots that are built in, and what the configuration's files add.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use burgrave_verifier::{Cause, Roots};

use crate::config::AttestationConfig;

/// Reads the files that the configuration names.
///
/// # Errors
/// A file cannot be read, or holds something else than its option is for.
pub(crate) fn roots(config: &AttestationConfig) -> Result<Roots> {
    let makers = |roots: Roots, file: &[u8]| roots.with_tpm_makers([file]);
    let anchors = |roots: Roots, file: &[u8]| roots.with_cca_anchors([file]);
    let firmware = |roots: Roots, file: &[u8]| roots.with_cca_firmware([file]);
    let roots = add(Roots::vendor(), "tpm_roots", &config.tpm_roots, "certificates (PEM or DER)", makers)?;
    let expected = "a JSON array of `implementation-id`, `instance-id` and `pkey`";
    let roots = add(roots, "cca_anchors", &config.cca_anchors, expected, anchors)?;
    let expected = "a JSON object with `platform`, an array of `implementation-id` and `sw-components`";
    add(roots, "cca_firmware", &config.cca_firmware, expected, firmware)
}

fn add(
    roots: Roots,
    option: &str,
    files: &[PathBuf],
    expected: &str,
    with: impl Fn(Roots, &[u8]) -> Result<Roots, Cause>,
) -> Result<Roots> {
    files.iter().map(PathBuf::as_path).try_fold(roots, |roots, path: &Path| {
        let file = std::fs::read(path)
            .with_context(|| format!("`attestation.{option}`: `{}` cannot be read", path.display()))?;
        with(roots, &file).map_err(|_| anyhow!("`attestation.{option}`: `{}` does not hold {expected}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHORS: &str = include_str!("../../verifier/testdata/cca/token-02/trust-anchor.json");
    const FIRMWARE: &str = include_str!("../../verifier/testdata/cca/reference-values/rv.json");
    const CERTIFICATE: &[u8] = include_bytes!("../../verifier/roots/nvidia-device-identity.der");

    fn written(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn each_option_takes_its_own_files_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        type Config = fn(PathBuf) -> AttestationConfig;
        let options: [(&str, Config, &[u8]); 3] = [
            ("tpm_roots", |path| AttestationConfig { tpm_roots: vec![path], ..Default::default() }, CERTIFICATE),
            (
                "cca_anchors",
                |path| AttestationConfig { cca_anchors: vec![path], ..Default::default() },
                ANCHORS.as_bytes(),
            ),
            (
                "cca_firmware",
                |path| AttestationConfig { cca_firmware: vec![path], ..Default::default() },
                FIRMWARE.as_bytes(),
            ),
        ];
        for (option, config, own) in options {
            for content in [CERTIFICATE, ANCHORS.as_bytes(), FIRMWARE.as_bytes(), b"{}"] {
                let path = written(&folder, content);
                let read = roots(&config(path.clone()));
                assert_eq!(read.is_ok(), content == own, "{option}");
                if let Err(error) = read {
                    let said = error.to_string();
                    assert!(said.contains(option) && said.contains(&path.display().to_string()), "{said}");
                }
            }
            let absent = roots(&config(folder.path().join("absent"))).unwrap_err();
            assert!(format!("{absent:#}").contains("cannot be read"), "{absent:#}");
        }
    }
}
