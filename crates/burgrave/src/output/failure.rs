//! How a command fails: in words, as JSON, and by its exit code.

use std::fmt::Write;
use std::process::ExitCode;

use burgrave_types::Problem;

use super::{Output, Tone};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A problem with a code: the node's, or our own.
    Problem(Box<Problem>),
    /// Anything else (exit code 1).
    Other(anyhow::Error),
    /// All is said already; only the exit code is left.
    Quiet(u8),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Problem>() {
            Ok(problem) => problem.into(),
            Err(error) => Self::Other(error),
        }
    }
}

impl Failure {
    /// The exit code (`docs/errors.md`).
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Problem(problem) => problem.code.exit_code(),
            Self::Other(_) => 1,
            Self::Quiet(code) => *code,
        })
    }

    /// What is said on stderr: the problem as JSON where programs read, else what failed, where, and what to do.
    pub(super) fn to_words(&self, output: &Output) -> Option<String> {
        let error = output.tone_err(Tone::Bad, "error:");
        match self {
            Self::Quiet(_) => None,
            Self::Other(other) => Some(format!("{error} {other:#}")),
            Self::Problem(problem) if output.is_json() => serde_json::to_string_pretty(problem).ok(),
            Self::Problem(problem) => Some(words(problem, &error)),
        }
    }
}

fn words(problem: &Problem, error: &str) -> String {
    let mut words = format!("{error} {}", problem.detail);
    // Writing to a String does not fail.
    let untold = problem.errors.iter().filter(|fault| !problem.detail.contains(&fault.reason));
    for fault in untold {
        let _ = write!(words, "\n  at {}: {}", fault.at, fault.reason);
    }
    if let Some(cause) = &problem.cause {
        let _ = write!(words, "\ncause: {cause}");
    }
    if let Some(fix) = &problem.fix {
        let _ = write!(words, "\nfix: {fix}");
    }
    if let Some(decision) = problem.decision_id {
        let _ = write!(words, "\nwhy: burgrave why {decision}");
    }
    words
}

#[cfg(test)]
mod tests {
    use burgrave_types::ProblemCode;
    use burgrave_types::problem::InputError;

    use super::*;
    use crate::output::Format;

    #[test]
    fn a_problem_says_what_where_and_what_to_do() {
        let id = "dec_00000000000000000000000000".parse();
        let mut problem = Problem::new(ProblemCode::PolicyDenied, "no policy permits it")
            .with_fix("ask")
            .with_cause("debug")
            .with_errors(vec![InputError { at: "line 3".into(), reason: "odd".into() }]);
        problem.decision_id = id.ok();
        let words = words(&problem, "error:");
        assert!(words.starts_with("error: no policy permits it\n  at line 3: odd\ncause: debug\nfix: ask"), "{words}");
        assert_eq!(words.contains("\nwhy: burgrave why dec_"), problem.decision_id.is_some());
    }

    #[test]
    fn programs_are_told_the_problem_as_json() {
        let failure = Failure::from(Problem::new(ProblemCode::NotFound, "there is no enclave `a/b`"));
        let json: serde_json::Value =
            serde_json::from_str(&failure.to_words(&Output::new(Format::Json)).unwrap()).unwrap();
        assert_eq!(json["code"], "not-found");
    }

    #[test]
    fn a_problem_within_other_errors_keeps_its_code() {
        let problem = Problem::new(ProblemCode::Unavailable, "gone");
        assert!(matches!(Failure::from(anyhow::Error::new(problem)), Failure::Problem(_)));
    }
}
