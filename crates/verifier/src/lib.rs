//! Evidence to claims to appraisal, a module per TEE, without I/O or clock.
