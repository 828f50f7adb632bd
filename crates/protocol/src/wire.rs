//! The protobuf messages, and how the vocabulary stands in them.

use burgrave_types as types;
use burgrave_types::{ProblemCode, Timestamp};

use crate::message::MessageError;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from proto/link.proto, where every message is described"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/burgrave.link.v1.rs"));
}

pub use generated::*;

/// The longest detail or fix of a reason that ends a channel or a connection, in bytes.
const MAX_REASON_TEXT: usize = 4096;

/// `Debug` for messages that carry plaintext or secrets: their name alone.
macro_rules! silent {
    ($($message:path),+ $(,)?) => {
        $(impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " { .. }"))
            }
        })+
    };
}

silent!(Request, Response, Activate, Encrypt, Decrypted, request::Operation, response::Outcome);

/// `From` into the oneof and its message, so that a request or answer is made by `.into()`.
macro_rules! variants {
    ($outer:ident . $field:ident = $oneof:path { $($variant:ident($inner:ident)),+ $(,)? }) => {
        $(impl From<$inner> for $outer {
            fn from(inner: $inner) -> Self {
                use $oneof as Oneof;
                Self { $field: Some(Oneof::$variant(inner)) }
            }
        })+
    };
}

variants!(Request.operation = request::Operation {
    Challenge(AskChallenge),
    Attest(Attest),
    Activate(Activate),
    Encrypt(Encrypt),
    Decrypt(Decrypt),
    Derive(Derive),
    Evaluate(Evaluate),
    OpenChannel(OpenChannel),
});

variants!(Response.outcome = response::Outcome {
    Problem(Problem),
    Challenge(Challenge),
    Activation(Activation),
    Attested(Attested),
    Encrypted(Encrypted),
    Decrypted(Decrypted),
    Released(Released),
    Verdict(Verdict),
    Channel(ChannelOffer),
});

impl From<types::Problem> for Response {
    fn from(problem: types::Problem) -> Self {
        Problem::from(problem).into()
    }
}

impl From<types::Problem> for Problem {
    fn from(problem: types::Problem) -> Self {
        Self {
            code: problem.code.as_str().to_owned(),
            detail: problem.detail,
            fix: problem.fix.unwrap_or_default(),
            cause: problem.cause.unwrap_or_default(),
            decision_id: problem.decision_id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

impl From<Problem> for types::Problem {
    /// A code that this side does not know (a newer peer's) becomes `internal`, with the code in the detail.
    fn from(problem: Problem) -> Self {
        let known = problem.code.parse::<ProblemCode>();
        let detail = match known {
            Ok(_) => problem.detail,
            Err(_) => format!("{} (code `{}`)", problem.detail, problem.code.chars().take(64).collect::<String>()),
        };
        Self {
            code: known.unwrap_or(ProblemCode::Internal),
            detail,
            fix: some(problem.fix),
            cause: some(problem.cause),
            decision_id: problem.decision_id.parse().ok(),
            errors: Vec::new(),
        }
    }
}

impl Problem {
    /// The problem as the payload of CUT or GOAWAY: texts too long for the frame are cut.
    pub fn reason(problem: &types::Problem) -> Vec<u8> {
        let mut reason = Self::from(problem.clone());
        for text in [&mut reason.detail, &mut reason.fix, &mut reason.cause] {
            text.truncate(text.floor_char_boundary(MAX_REASON_TEXT));
        }
        prost::Message::encode_to_vec(&reason)
    }
}

/// An id, key or digest of fixed length out of a bytes field.
///
/// # Errors
/// [`MessageError::Malformed`] for another length.
pub fn fixed<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], MessageError> {
    bytes.try_into().map_err(|_| MessageError::malformed(what, format_args!("{} bytes, expected {N}", bytes.len())))
}

/// A name, operation or resource out of a text field.
///
/// # Errors
/// [`MessageError::Malformed`] where it is none.
pub fn text<T: std::str::FromStr<Err = types::ParseError>>(what: &'static str, text: &str) -> Result<T, MessageError> {
    text.parse().map_err(|error| MessageError::malformed(what, error))
}

/// A time out of a field of milliseconds.
pub const fn time(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::FrameType;

    #[test]
    fn a_problem_reads_back_whole() {
        let problem = types::Problem::new(ProblemCode::AttestationRejected, "register `pcr7` differs")
            .with_fix("approve the release")
            .with_cause("pcr.digest")
            .with_decision(types::DecisionId::from_bytes([7; 16]));
        assert_eq!(types::Problem::from(Problem::from(problem.clone())), problem);
    }

    #[test]
    fn a_code_of_a_newer_peer_is_shown_and_counts_as_internal() {
        let problem = Problem { code: "quota.reached".into(), detail: "too much".into(), ..Problem::default() };
        let read = types::Problem::from(problem);
        assert_eq!((read.code, read.detail.as_str()), (ProblemCode::Internal, "too much (code `quota.reached`)"));
    }

    #[test]
    fn messages_with_plaintext_do_not_show_it() {
        let request = Request::from(Encrypt { plaintext: b"hunter2".to_vec(), ..Encrypt::default() });
        assert_eq!(format!("{request:?}"), "Request { .. }");
        let shown = format!("{:?}", Decrypted { plaintext: b"hunter2".to_vec() });
        assert_eq!(shown, "Decrypted { .. }");
    }

    proptest! {
        #[test]
        fn a_reason_always_fits_its_frame(detail in "\\PC{0,6000}", fix in "\\PC{0,6000}") {
            let problem = types::Problem::new(ProblemCode::Internal, detail).with_fix(fix);
            prop_assert!(FrameType::Cut.payload().contains(&Problem::reason(&problem).len()));
        }
    }
}
