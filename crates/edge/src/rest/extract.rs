//! The parts of a request: path, query, revision, body. What is unknown or missing is refused, and where it stands is said.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use burgrave_types::Revision;
use http::request::Parts;
use http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::Shared;
use super::problem::Refusal;

/// A request's body, at most: 1 MiB.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// What the path names.
pub(super) struct At<T>(pub(super) T);

/// What the query asks.
pub(super) struct Asked<T>(pub(super) T);

/// The revision that a change is based on (`If-Match` with the `ETag` that was read). Whether there must be one, the
/// services say, after they know that the caller may ask at all.
pub(super) struct IfMatch(pub(super) Option<Revision>);

/// What the body says.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, shared).await;
        path.map(|Path(path)| Self(path)).map_err(|rejection| match rejection {
            PathRejection::FailedToDeserializePathParams(error) => {
                Refusal::invalid("path", error.into_kind().to_string())
            }
            other => Refusal::invalid("path", other.body_text()),
        })
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|rejection| {
            let why = std::error::Error::source(&rejection).map_or_else(|| rejection.body_text(), ToString::to_string);
            Refusal::invalid("query", why)
        })
    }
}

impl FromRequestParts<Arc<Shared>> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Refusal> {
        let mut values = parts.headers.get_all(header::IF_MATCH).iter();
        let (first, second) = (values.next(), values.next());
        let read = match (first, second) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().ok().and_then(revision),
            _ => None,
        };
        read.map(|revision| Self(Some(revision)))
            .ok_or_else(|| Refusal::invalid("If-Match", "expected one entity tag as it was read, e.g. `\"17\"`"))
    }
}

/// An entity tag: the revision in quotes; or without them, as people type it.
fn revision(tag: &str) -> Option<Revision> {
    let number = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| digits).map(Revision)
}

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = media.and_then(|media| media.split(';').next()).map(str::trim);
        if !is_json.is_some_and(|media| media.eq_ignore_ascii_case("application/json")) {
            return Err(Refusal::invalid("Content-Type", "expected `application/json`")
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = tokio::time::timeout(shared.limits.patience, body).await.map_err(|_| {
            Refusal::invalid("body", "it did not come in time").with_status(StatusCode::REQUEST_TIMEOUT)
        })?;
        let body = body.map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                Refusal::invalid("body", format!("it is longer than {MAX_BODY} bytes"))
                    .with_status(StatusCode::PAYLOAD_TOO_LARGE)
            } else {
                Refusal::invalid("body", "it broke off")
            }
        })?;
        parse(&body.to_bytes()).map(Self)
    }
}

/// Reads a body as JSON; where it is wrong stands in the refusal as a JSON pointer (RFC 6901).
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer: String = error.path().iter().filter_map(pointer_part).collect();
        Refusal::invalid(if pointer.is_empty() { "/".to_owned() } else { pointer }, error.into_inner().to_string())
    })?;
    json.end().map_err(|error| Refusal::invalid("/", error.to_string()))?;
    Ok(value)
}

fn pointer_part(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
        Segment::Enum { variant } => Some(format!("/{variant}")),
        Segment::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burgrave_types::api::NewEnclave;
    use proptest::prelude::*;

    #[test]
    fn a_tag_is_a_revision_and_nothing_else_is() {
        assert_eq!(revision("\"17\""), Some(Revision(17)));
        assert_eq!(revision("17"), Some(Revision(17)));
        for bad in ["", "\"", "\"\"", "*", "W/\"17\"", "\"17", "17\"", "\"-1\"", "+1", "\"17\", \"18\""] {
            assert_eq!(revision(bad), None, "`{bad}`");
        }
    }

    #[test]
    fn a_fault_in_a_body_is_pointed_at() {
        let body = br#"{"name":"p/a","tee":"snp","key_identity":"name","reattest_every_secs":60,
            "releases":[{"name":"v1","reference":{"tee":"snp","mesurement":"00"},"state":"active"}]}"#;
        let refusal = format!("{:?}", parse::<NewEnclave>(body).unwrap_err());
        assert!(refusal.contains("/releases/0/reference") && refusal.contains("mesurement"), "{refusal}");
        assert!(parse::<u64>(b"1 2").is_err(), "what follows the document is refused");
    }

    const ENCLAVE: &str = r#"{"name":"p/a","tee":"snp","key_identity":"name","reattest_every_secs":60,
        "releases":[{"name":"v1","reference":{"tee":"snp","measurement":"00"},"state":"active"}]}"#;

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0..ENCLAVE.len(),
            byte: u8,
        ) {
            crate::rest::fuzz::body(&noise);
            let mut mutated = ENCLAVE.as_bytes().to_vec();
            mutated[at] = byte;
            crate::rest::fuzz::body(&mutated);
        }

        #[test]
        fn a_body_that_is_cut_off_is_refused(at in 0..ENCLAVE.len()) {
            prop_assert!(parse::<NewEnclave>(&ENCLAVE.as_bytes()[..at]).is_err());
            prop_assert!(parse::<NewEnclave>(ENCLAVE.as_bytes()).is_ok());
        }
    }
}
