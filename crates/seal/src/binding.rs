//! What ties evidence to a domain, an enclave, a challenge, a link and two keys.
//!
//! `"burgrave-attest-v1" ‖ field(genesis hash) ‖ field(enclave) ‖ field(nonce) ‖ field(exporter) ‖ field(identity SPKI)
//! ‖ field(sealing key) ‖ list(digests of other parts)`, with fields and lists as in [`burgrave_types::encoding`]. Its
//! SHA-512 is the report data of TEEs that take 64 bytes, its SHA-256 the qualifying data of a TPM quote. Written down,
//! with vectors, in `docs/attestation-binding.md`.

use burgrave_types::encoding::Encoder;
use burgrave_types::{EnclaveName, GenesisHash, Tee};

use crate::{sha256, sha512};

/// Label of the TLS exporter (RFC 8446 section 7.5) that binds evidence to its link; no context, [`EXPORTER_LEN`] bytes.
pub const EXPORTER_ATTEST: &[u8] = b"EXPORTER-burgrave-attest-v1";
/// Label of the TLS exporter that binds a channel's confirmation to its inner session; the context is the grant.
pub const EXPORTER_CHANNEL: &[u8] = b"EXPORTER-burgrave-channel-v1";
/// Bytes of an exporter.
pub const EXPORTER_LEN: usize = 32;

const TAG: &[u8] = b"burgrave-attest-v1";
const PART_TAG: &[u8] = b"burgrave-part-v1";

/// What evidence must be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttestationBinding<'a> {
    /// The domain.
    pub genesis: GenesisHash,
    /// The enclave that the instance wants to be.
    pub enclave: &'a EnclaveName,
    /// The node's challenge.
    pub nonce: &'a [u8],
    /// The exporter of the link's TLS session under [`EXPORTER_ATTEST`].
    pub exporter: &'a [u8; EXPORTER_LEN],
    /// The instance's identity key (SPKI in DER).
    pub identity_spki: &'a [u8],
    /// The instance's sealing key (X25519).
    pub sealing_key: &'a [u8; 32],
    /// SHA-256 of the evidence of each further part, in order.
    pub other_parts: &'a [[u8; 32]],
}

impl AttestationBinding<'_> {
    /// 64 bytes for TEEs with report data of that size: SHA-512.
    pub fn report_data(&self) -> [u8; 64] {
        sha512(&self.input())
    }

    /// 32 bytes for TPM quotes: SHA-256 of the same input.
    pub fn qualifying_data(&self) -> [u8; 32] {
        sha256(&self.input())
    }

    fn input(&self) -> Vec<u8> {
        let fields = Encoder::new()
            .bytes(self.genesis.as_bytes())
            .text(&self.enclave.to_string())
            .bytes(self.nonce)
            .bytes(self.exporter)
            .bytes(self.identity_spki)
            .bytes(self.sealing_key)
            .list(self.other_parts)
            .finish();
        [TAG, &fields].concat()
    }
}

/// The nonce that parts of this kind beside the lead answer: SHA-256 over a tag of its own, the node's nonce and the kind. So
/// a part is fresh by itself, and is taken for none of another kind; that one device does not stand for two is the
/// verifier's to see, by what names it.
pub fn part_nonce(nonce: &[u8], tee: Tee) -> [u8; 32] {
    let fields = Encoder::new().bytes(nonce).text(tee.as_str()).finish();
    sha256(&[PART_TAG, &fields].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../testdata/binding.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert!(vectors.len() >= 2);
        for vector in vectors {
            let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
            let parts: Vec<[u8; 32]> = vector["other_parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| hex::decode(part.as_str().unwrap()).unwrap().try_into().unwrap())
                .collect();
            let binding = AttestationBinding {
                genesis: vector["genesis"].as_str().unwrap().parse().unwrap(),
                enclave: &vector["enclave"].as_str().unwrap().parse().unwrap(),
                nonce: &bytes("nonce"),
                exporter: &bytes("exporter").try_into().unwrap(),
                identity_spki: &bytes("identity_spki"),
                sealing_key: &bytes("sealing_key").try_into().unwrap(),
                other_parts: &parts,
            };
            assert_eq!(binding.report_data().as_slice(), bytes("report_data"), "{vector}");
            assert_eq!(binding.qualifying_data().as_slice(), bytes("qualifying_data"), "{vector}");
        }
    }

    #[test]
    fn the_published_nonces_of_parts_hold_and_all_differ() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../testdata/binding.json")).unwrap();
        let vectors = vectors["parts"].as_array().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for vector in vectors {
            let text = |name: &str| vector[name].as_str().unwrap();
            let nonce = part_nonce(&hex::decode(text("nonce")).unwrap(), text("tee").parse().unwrap());
            assert_eq!(hex::encode(nonce), text("part_nonce"));
            seen.insert(nonce);
        }
        assert_eq!((seen.len(), vectors.len()), (3, 3));
    }

    #[test]
    fn every_field_changes_the_hash() {
        let (enclave, other_enclave) = ("payments/api".parse().unwrap(), "payments/apj".parse().unwrap());
        let base = AttestationBinding {
            genesis: GenesisHash::from_bytes([1; 32]),
            enclave: &enclave,
            nonce: &[2; 32],
            exporter: &[3; 32],
            identity_spki: &[4; 91],
            sealing_key: &[5; 32],
            other_parts: &[],
        };
        let changed = [
            AttestationBinding { genesis: GenesisHash::from_bytes([9; 32]), ..base },
            AttestationBinding { enclave: &other_enclave, ..base },
            AttestationBinding { nonce: &[2; 31], ..base },
            AttestationBinding { exporter: &[9; 32], ..base },
            AttestationBinding { identity_spki: &[4; 90], ..base },
            AttestationBinding { sealing_key: &[9; 32], ..base },
            AttestationBinding { other_parts: &[[0; 32]], ..base },
        ];
        for other in changed {
            assert_ne!(other.report_data(), base.report_data(), "{other:?}");
            assert_ne!(other.qualifying_data(), base.qualifying_data(), "{other:?}");
        }
    }
}
