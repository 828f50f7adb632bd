//! Problems as documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use burgrave_types::{ParseError, Problem, ProblemCode};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem document.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem on its way to the client.
#[derive(Debug)]
pub(super) struct Refusal {
    problem: Box<Problem>,
    /// HTTP's own word for it, where that is more exact than the problem's.
    status: StatusCode,
}

/// What the client reads.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemDocument {
    /// Where the problem is explained.
    r#type: String,
    /// What its code means, in a line.
    title: String,
    /// The HTTP status.
    status: u16,
    #[serde(flatten)]
    problem: Problem,
}

impl Refusal {
    /// A request that is not what it must be; `at` says where, `reason` why.
    pub(super) fn invalid(at: impl Into<String>, reason: impl Into<String>) -> Self {
        let fault = burgrave_types::problem::InputError { at: at.into(), reason: reason.into() };
        let detail = if fault.at.is_empty() { fault.reason.clone() } else { format!("{}: {}", fault.at, fault.reason) };
        Problem::new(ProblemCode::RequestInvalid, detail)
            .with_fix("correct it; `/v1/openapi.json` describes each request")
            .with_errors(vec![fault])
            .into()
    }

    /// The same with another HTTP status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        // INVARIANT: each code's status is an HTTP error status (tested beside the codes).
        let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { problem: Box::new(problem), status }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::invalid("", error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.problem.code;
        let document = ProblemDocument {
            r#type: format!("/docs/errors#{code}"),
            title: code.title().to_owned(),
            status: self.status.as_u16(),
            problem: *self.problem,
        };
        // INVARIANT: the document is texts and numbers, which always serialize.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
