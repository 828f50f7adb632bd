//! Problems: what failed, why, and what to do, under a stable code (RFC 9457).

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{DecisionId, ParseError};

/// Defines the closed set of codes with title, HTTP status and the CLI's exit code.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $exit:literal, $title:literal;)+) => {
        /// The stable name of a kind of failure. Each has a section in `docs/errors.md`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum ProblemCode { $($(#[$doc])* $variant),+ }

        impl ProblemCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in documents, e.g. `policy.denied`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// What it means, in a line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// The exit code of the command line.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit),+ }
            }
        }

        impl FromStr for ProblemCode {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                match text {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(ParseError::new("problem code", text, "expected a code of docs/errors.md")),
                }
            }
        }
    };
}

codes! {
    /// A request that does not say what it must.
    RequestInvalid = "request.invalid", 400, 2, "The request is not well formed";
    /// No or bad credentials.
    Unauthenticated = "auth.required", 401, 4, "The caller is not known";
    /// The policy did not allow it.
    PolicyDenied = "policy.denied", 403, 3, "No policy permits this";
    /// A policy that does not parse or does not fit the schema.
    PolicyInvalid = "policy.invalid", 422, 2, "The policy is not valid";
    /// A named thing is not there.
    NotFound = "not-found", 404, 5, "There is no such thing";
    /// A named thing is there already.
    AlreadyExists = "already-exists", 409, 6, "The name is taken";
    /// It changed since it was read.
    Conflict = "conflict", 412, 6, "It changed in the meantime";
    /// An update came without saying what it was based on.
    PreconditionRequired = "precondition.required", 428, 2, "The update does not say what it is based on";
    /// The evidence was refused; `cause` says which check failed.
    AttestationRejected = "attestation.rejected", 403, 7, "The evidence was refused";
    /// The challenge is unknown, expired or used.
    ChallengeInvalid = "attestation.challenge", 403, 7, "The challenge is not valid";
    /// The instance is not attested, or no longer.
    NotAttested = "attestation.required", 403, 7, "The instance is not attested";
    /// The instance missed its deadline.
    Stale = "attestation.stale", 403, 7, "The attestation has run out";
    /// The instance, release or enclave was revoked.
    Revoked = "revoked", 403, 7, "The access was revoked";
    /// The peer has no fresh instance that is connected.
    PeerUnavailable = "peer.unavailable", 503, 8, "The peer is not there";
    /// A channel was cut.
    ChannelCut = "channel.cut", 403, 3, "The channel was cut";
    /// The ciphertext is not one of ours, was altered, or belongs to another key.
    CiphertextInvalid = "ciphertext.invalid", 422, 1, "The ciphertext cannot be read";
    /// The key's state does not allow the use.
    KeyState = "key.state", 409, 6, "The key's state does not allow this";
    /// Another control plane than the one that was named.
    WrongDomain = "domain.mismatch", 421, 7, "This is another trust domain";
    /// The peer broke the protocol.
    Protocol = "protocol.violation", 400, 1, "The protocol was broken";
    /// A limit was reached.
    Limit = "limit.reached", 429, 8, "A limit was reached";
    /// The HSM, the store or the audit log cannot serve.
    Unavailable = "unavailable", 503, 8, "The node cannot serve this now";
    /// Something failed inside; the operator's log says what.
    Internal = "internal", 500, 1, "Something failed inside the node";
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ProblemCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProblemCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A failure as its caller sees it: what failed, why, and what to do.
///
/// ```
/// use burgrave_types::{Problem, ProblemCode};
/// let problem = Problem::new(ProblemCode::NotFound, "there is no enclave `payments/api`")
///     .with_fix("list them with `burgrave enclave list`");
/// assert_eq!(problem.to_string(), "there is no enclave `payments/api`; list them with `burgrave enclave list`");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind of failure.
    pub code: ProblemCode,
    /// What failed and why: domain words, offending values in backticks, expected and found. Fit for the caller.
    pub detail: String,
    /// What to do next: a command, a setting, a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// For refused evidence, the stable code of the first check that failed (e.g. `pcr.digest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The decision behind it, for `burgrave why`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
    /// Faults in the input, each with where it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<InputError>,
}

/// One fault in an input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputError {
    /// Where: `line 3, column 14`, or a JSON pointer.
    pub at: String,
    /// What is wrong there.
    pub reason: String,
}

impl Problem {
    /// A problem of this kind with what failed and why.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), fix: None, cause: None, decision_id: None, errors: Vec::new() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Adds the stable code of the check that failed.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the decision behind it.
    #[must_use]
    pub fn with_decision(mut self, decision: DecisionId) -> Self {
        self.decision_id = Some(decision);
        self
    }

    /// Adds the faults in the input.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<InputError>) -> Self {
        self.errors = errors;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_text_and_has_an_error_status() {
        for code in ProblemCode::ALL {
            assert_eq!(code.as_str().parse::<ProblemCode>().unwrap(), *code);
            assert!((400..600).contains(&code.status()), "{code}");
            assert_ne!(code.exit_code(), 0, "{code}");
        }
    }
}
