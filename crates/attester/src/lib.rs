//! Evidence from inside a TEE.
