//! Ciphertext envelopes, HPKE, key derivation input, attestation binding.
