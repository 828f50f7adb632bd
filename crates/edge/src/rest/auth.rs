//! Who speaks: an administrator's client certificate, or a bearer token.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use burgrave_control::Control;
use burgrave_identity::VerifiedIdentity;
use burgrave_types::api::AdminIdentity;
use burgrave_types::{ParseError, Problem, ProblemCode, Secret, Segment, Timestamp};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::Shared;
use super::problem::Refusal;

/// The role of whoever holds an administrator's certificate of the domain.
const CERTIFICATE_ROLE: &str = "admin";

/// A token that is a credential: who holds it is this administrator.
#[derive(Clone, Debug)]
pub struct AdminToken {
    /// The administrator's name.
    pub name: Segment,
    /// The roles that come with the token.
    pub roles: Vec<String>,
    /// By what it is recognised.
    pub hash: TokenHash,
}

/// SHA-256 of a token; its text is 64 hexadecimal digits. A token has 128 random bits at least, so a plain hash hides it.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &Secret<String>) -> Self {
        Self::of_bytes(token.expose().as_bytes())
    }

    fn of_bytes(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        // INVARIANT: SHA-256 gives 32 bytes.
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(hash)
    }

    fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        burgrave_types::claims::HexBytes(self.0.to_vec()).fmt(f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenHash {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bytes: burgrave_types::claims::HexBytes = text.parse()?;
        let expected = "expected 64 hexadecimal digits, the SHA-256 of the token";
        bytes.0.try_into().map(Self).map_err(|_| ParseError::new("token hash", text, expected))
    }
}

/// The administrator that a connection's client certificate names.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    name: Segment,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Peer {
    /// The administrator of a verified certificate.
    pub(super) fn of(identity: &VerifiedIdentity) -> Option<Self> {
        let name = identity.spiffe_id.administrator()?;
        Some(Self { name, not_before: identity.not_before, not_after: identity.not_after })
    }
}

/// An authenticated caller. Handlers that have none have nobody to call the services as.
pub(super) struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) identity: AdminIdentity,
    /// The end of the certificate that says so.
    until: Option<Timestamp>,
}

/// Who asks what everybody may ask, and may say who they are to ask more.
pub(super) struct MaybeAdmin(pub(super) Result<Admin, Refusal>);

impl Admin {
    /// The services.
    pub(super) fn control(&self) -> &Control {
        &self.shared.control
    }

    /// Whether the credential holds still.
    pub(super) fn holds(&self) -> bool {
        self.until.is_none_or(|until| self.shared.clock.now() < until)
    }
}

impl FromRequestParts<Arc<Shared>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let shared = Arc::clone(shared);
        same_site(parts)?;
        // A token that was sent must be right, whatever the certificate says: the caller meant it.
        if let Some(header) = parts.headers.get(AUTHORIZATION) {
            let identity = by_token(&shared.tokens, header.as_bytes())?;
            return Ok(Self { shared, identity, until: None });
        }
        let peer = parts.extensions.get::<Peer>().ok_or_else(|| refused("the request came without a credential"))?;
        if !(peer.not_before..peer.not_after).contains(&shared.clock.now()) {
            return Err(refused(&format!("the certificate of `{}` ran out at {}", peer.name, peer.not_after)));
        }
        let identity = AdminIdentity { name: peer.name.clone(), roles: vec![CERTIFICATE_ROLE.to_owned()] };
        Ok(Self { shared, identity, until: Some(peer.not_after) })
    }
}

impl FromRequestParts<Arc<Shared>> for MaybeAdmin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Self::Rejection> {
        Ok(Self(Admin::from_request_parts(parts, shared).await))
    }
}

/// A browser sends a client certificate along with whatever a page of another site makes it ask. It also says so (Fetch
/// Metadata, `Sec-Fetch-Site`), and then nothing is done.
fn same_site(parts: &Parts) -> Result<(), Refusal> {
    let site = parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_none_or(|site| matches!(site, b"same-origin" | b"none")) {
        return Ok(());
    }
    Err(Refusal::invalid("Sec-Fetch-Site", "the request was made by a page of another site")
        .with_status(StatusCode::FORBIDDEN))
}

fn by_token(tokens: &[AdminToken], header: &[u8]) -> Result<AdminIdentity, Refusal> {
    let (scheme, token) = header.split_at_checked(7).unwrap_or((header, &[]));
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err(refused("the `Authorization` header is not `Bearer <token>`"));
    }
    let hash = TokenHash::of_bytes(token);
    // All are compared, so that the time tells nothing of which came near.
    let found = tokens.iter().fold(None, |found, known| if known.hash.is(&hash) { Some(known) } else { found });
    let token = found.ok_or_else(|| refused("the token is nobody's"))?;
    Ok(AdminIdentity { name: token.name.clone(), roles: token.roles.clone() })
}

fn refused(why: &str) -> Refusal {
    Problem::new(ProblemCode::Unauthenticated, why)
        .with_fix(
            "choose a context with `burgrave context use`, or send an administrator's client certificate or bearer token",
        )
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<AdminToken> {
        let token = |name: &str| AdminToken {
            name: name.parse().unwrap(),
            roles: vec![name.to_owned()],
            hash: TokenHash::of(&Secret::new(format!("bgt_{name}"))),
        };
        vec![token("ops"), token("audit")]
    }

    #[test]
    fn a_token_names_its_administrator_and_no_other_text_names_one() {
        assert_eq!(by_token(&tokens(), b"Bearer bgt_audit").unwrap().name.as_str(), "audit");
        assert_eq!(by_token(&tokens(), b"bearer bgt_ops").unwrap().roles, ["ops"]);
        for bad in ["", "Bearer", "Bearer ", "Bearer bgt_op", "Bearer bgt_ops ", "Basic bgt_ops", "bgt_ops"] {
            assert!(by_token(&tokens(), bad.as_bytes()).is_err(), "`{bad}`");
        }
        assert!(by_token(&[], b"Bearer bgt_ops").is_err());
    }

    #[test]
    fn a_token_hash_reads_back_and_another_length_is_refused() {
        let hash = TokenHash::of(&Secret::new("bgt_x".to_owned()));
        assert!(hash.to_string().parse::<TokenHash>().unwrap().is(&hash));
        assert!("00ff".parse::<TokenHash>().unwrap_err().to_string().contains("expected 64 hexadecimal digits"));
    }
}
