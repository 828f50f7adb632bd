//! What handlers give back.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use burgrave_types::Revision;
use burgrave_types::api::{EnclaveView, InstanceView, KeyView, Paged, PolicyView};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// A value, 200.
pub(super) struct Shown<T>(pub(super) T);

/// A record with the revision it stands at as `ETag`, 200.
pub(super) struct Versioned<T>(pub(super) T);

/// A record that was made, with its `ETag`, 201.
pub(super) struct Created<T>(pub(super) T);

/// Part of a list, 200.
pub(super) struct Listed<T>(pub(super) Paged<T>);

/// A whole list, 200.
pub(super) struct All<T>(pub(super) Vec<T>);

/// It is done, and there is nothing to say of it, 204.
pub(super) struct Done;

/// Text of this media type, 200.
pub(super) struct Text(pub(super) &'static str, pub(super) String);

/// The OpenAPI document, 200.
pub(super) struct OpenApi(pub(super) String);

/// Records that say at which revision they stand.
pub(super) trait Record: Serialize {
    fn revision(&self) -> Revision;
}

macro_rules! records {
    ($($name:ident)+) => {$(
        impl Record for $name {
            fn revision(&self) -> Revision {
                self.revision
            }
        }
    )+};
}

records! { EnclaveView InstanceView PolicyView KeyView }

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl<T: Record> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::OK, &self.0)
    }
}

impl<T: Record> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        tagged(StatusCode::CREATED, &self.0)
    }
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl<T: Serialize> IntoResponse for All<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, self.0)], self.1).into_response()
    }
}

impl IntoResponse for OpenApi {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

fn tagged(status: StatusCode, record: &impl Record) -> Response {
    let mut response = json(status, record);
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", record.revision())) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            let problem = burgrave_types::Problem::new(
                burgrave_types::ProblemCode::Internal,
                "the answer could not be written; what was asked for may have been done",
            );
            super::problem::Refusal::from(problem).into_response()
        }
    }
}
