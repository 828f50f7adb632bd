//! Key hierarchy, derivation, versions and cache.
