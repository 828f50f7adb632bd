//! Public keys as others read them: JSON Web Keys.

use serde::{Deserialize, Serialize};

/// The keys that statements of a domain's nodes verify with: a JWK Set (RFC 7517 section 5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeySet {
    /// One per signing key; those that sign no more stay until the last of what they signed has ended.
    pub keys: Vec<Jwk>,
}

/// A public key on P-256 for ES256: a JWK (RFC 7517 section 4, RFC 7518 section 6.2). Members of other kinds of key are not read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// The x coordinate: 32 bytes, Base64url.
    pub x: String,
    /// The y coordinate: 32 bytes, Base64url.
    pub y: String,
    /// The key's thumbprint (RFC 7638, SHA-256), as in the header of what it signed.
    pub kid: String,
    /// `ES256`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// The key's certificate and the issuing CA's, Base64 of their DER: they lead to the genesis hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x5c: Vec<String>,
}
