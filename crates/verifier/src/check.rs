//! What was checked and how it came out, so that a refusal can be explained in one line.

use serde::Serialize;

use crate::{Cause, Text};

/// One rule and its outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// The rule's stable name, e.g. `snp.report.signature`.
    pub name: &'static str,
    /// Whether it held.
    pub passed: bool,
    /// Whether its failure refuses the evidence; where not, it is told and goes no further.
    pub fatal: bool,
    /// What its failure is called.
    pub cause: Cause,
    /// What had to be found, in words or hexadecimal.
    pub expected: Text,
    /// What was found.
    pub found: Text,
    /// Document and section that the rule comes from.
    pub reference: &'static str,
}

/// The mark of evidence about which nothing more can be said: a fatal check failed, and stands recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stop;

/// Collects the outcome of checks, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Checks(Vec<Check>);

/// As many checks as most evidence has: growing step by step would cost more than a check does.
const USUAL: usize = 24;

impl Default for Checks {
    fn default() -> Self {
        Self(Vec::with_capacity(USUAL))
    }
}

impl Checks {
    /// Records a rule whose failure refuses the evidence. Verification goes on, to learn whether it is authentic.
    pub(crate) fn fatal(
        &mut self,
        (name, cause, reference): Rule,
        passed: bool,
        expected: impl Into<Text>,
        found: impl Into<Text>,
    ) -> bool {
        self.record((name, cause, reference), passed, true, expected, found)
    }

    /// As [`Checks::fatal`], and nothing more is looked at when it fails.
    pub(crate) fn need(
        &mut self,
        rule: Rule,
        passed: bool,
        expected: impl Into<Text>,
        found: impl Into<Text>,
    ) -> Result<(), Stop> {
        if self.record(rule, passed, true, expected, found) { Ok(()) } else { Err(Stop) }
    }

    /// As [`Checks::need`], for a rule that holds or does not: what was found is then said in words, `otherwise` when not.
    pub(crate) fn need_that(
        &mut self,
        rule: Rule,
        holds: bool,
        expected: impl Into<Text>,
        otherwise: &'static str,
    ) -> Result<(), Stop> {
        self.need(rule, holds, expected, if holds { "as expected" } else { otherwise })
    }

    /// Records a failure after which nothing more can be looked at.
    pub(crate) fn stop(&mut self, rule: Rule, expected: impl Into<Text>, found: impl Into<Text>) -> Stop {
        self.record(rule, false, true, expected, found);
        Stop
    }

    /// Records a rule; `fatal` says what its failure does.
    pub(crate) fn record(
        &mut self,
        (name, cause, reference): Rule,
        passed: bool,
        fatal: bool,
        expected: impl Into<Text>,
        found: impl Into<Text>,
    ) -> bool {
        let (expected, found) = (expected.into(), found.into());
        self.0.push(Check { name, passed, fatal, cause, expected, found, reference });
        passed
    }

    /// The cause of the first fatal failure.
    pub(crate) fn first_cause(&self) -> Option<Cause> {
        self.0.iter().find(|check| check.fatal && !check.passed).map(|check| check.cause)
    }

    /// Whether no rule of authenticity was broken, whatever a policy says.
    pub(crate) fn unbroken(&self) -> bool {
        !self.0.iter().any(|check| check.fatal && !check.passed && !check.cause.is_policy())
    }

    /// What the evidence rests on and nobody proved, told without refusing it.
    pub(crate) fn unproven(&self) -> Vec<Cause> {
        let open = self.0.iter().filter(|check| !check.passed && !check.fatal && check.cause == Cause::AkUnbound);
        open.map(|check| check.cause).collect()
    }

    /// Adds the outcome of checks that were made before.
    pub(crate) fn append(&mut self, checks: &[Check]) {
        self.0.extend_from_slice(checks);
    }

    /// The first fatal failure; one of `otherwise` where none stands recorded.
    pub(crate) fn into_failure(mut self, otherwise: Rule) -> Check {
        let failed = self.0.iter().position(|check| check.fatal && !check.passed);
        let failed = failed.unwrap_or_else(|| {
            let _ = self.stop(otherwise, "evidence that can be read", "something else");
            self.0.len() - 1
        });
        self.0.swap_remove(failed)
    }

    pub(crate) fn into_vec(self) -> Vec<Check> {
        self.0
    }

    /// The checks, to be told again and again.
    pub(crate) fn into_shared(self) -> Vec<Check> {
        let shared = |check: Check| Check { expected: check.expected.shared(), found: check.found.shared(), ..check };
        self.0.into_iter().map(shared).collect()
    }
}

/// A rule: its name, what its failure is called, and where it is written.
pub(crate) type Rule = (&'static str, Cause, &'static str);
