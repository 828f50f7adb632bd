//! Sealed records under HSM-signed, chained heads.
