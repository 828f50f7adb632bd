//! Why a policy was not taken.

use burgrave_types::problem::InputError;
use burgrave_types::{Problem, ProblemCode};

/// A policy text or rule that was refused: every fault that was found, each with where it stands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.message())]
pub struct PolicyError {
    policy: Option<String>,
    faults: Vec<InputError>,
}

impl PolicyError {
    pub(crate) fn new(faults: Vec<InputError>) -> Self {
        Self { policy: None, faults }
    }

    pub(crate) fn one(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(vec![InputError { at: at.into(), reason: reason.into() }])
    }

    pub(crate) fn of_policy(mut self, name: &str) -> Self {
        self.policy = Some(name.to_owned());
        self
    }

    /// The faults, in the order of the text.
    pub fn faults(&self) -> &[InputError] {
        &self.faults
    }

    fn message(&self) -> String {
        let mut message = match &self.policy {
            Some(name) => format!("the policy `{name}` is not valid"),
            None => "the policy is not valid".to_owned(),
        };
        for (index, fault) in self.faults.iter().enumerate() {
            message.push_str(if index == 0 { ": " } else { "; " });
            message.push_str(&format!("{}: {}", fault.at, fault.reason));
        }
        message
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        Self::new(ProblemCode::PolicyInvalid, error.message())
            .with_fix("see `docs/policy.md` for the words that policies know")
            .with_errors(error.faults)
    }
}
