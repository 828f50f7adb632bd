//! The handshake's signature: the same for every verifier of ours.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::CertificateDer;

/// Leaf keys are P-256; P-384 stands here because peers look whether the CA's signature on the leaf is acceptable.
pub(super) fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ECDSA_NISTP384_SHA384]
}

pub(super) fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms: WebPkiSupportedAlgorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signed, &algorithms)
}

/// TLS 1.2 is not spoken.
pub(super) fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerIncompatible::Tls12NotOffered.into())
}

/// The methods of a rustls verifier that say how handshake signatures are checked.
macro_rules! handshake_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls_pki_types::CertificateDer<'_>,
            _signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            crate::tls::signature::refuse_tls12()
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            crate::tls::signature::verify(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            crate::tls::signature::schemes()
        }
    };
}
pub(super) use handshake_signatures;

/// The peer's whole chain as one list.
pub(super) fn chain<'a>(leaf: &CertificateDer<'a>, others: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf).chain(others).cloned().collect()
}
