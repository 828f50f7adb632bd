//! X.509-SVID profile, certificate issue and verification, domain trust chain.
