//! How the demo tells what it does: steps, what each shows, what was expected, and how long it took.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use burgrave_types::Problem;

use crate::output::{Output, Table, Tone};

/// The story as it is told.
pub(super) struct Story<'a> {
    output: &'a Output,
    steps: Vec<Step>,
}

struct Step {
    title: String,
    begun: Instant,
    took: Duration,
    checks: usize,
    found: String,
}

impl<'a> Story<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output, steps: Vec::new() }
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &str) -> Result<()> {
        self.end_step();
        let (number, begun) = (self.steps.len() + 1, Instant::now());
        self.steps.push(Step { title: title.to_owned(), begun, took: Duration::ZERO, checks: 0, found: String::new() });
        self.line(&format!("\n{}", self.output.tone(Tone::Heading, &format!("{number}. {title}"))))
    }

    /// Says something beside the checks.
    pub(super) fn note(&self, words: impl Display) -> Result<()> {
        let words = words.to_string().replace('\n', "\n     ");
        self.line(&format!("     {}", self.output.tone(Tone::Quiet, &words)))
    }

    /// Says how somebody was refused, in the words that they were given.
    pub(super) fn refusal(&self, problem: &Problem) -> Result<()> {
        let mut words = format!("\"{}\"", problem.detail);
        if let Some(fix) = &problem.fix {
            words.push_str(&format!("\nfix: {fix}"));
        }
        self.note(words)
    }

    /// An expectation: where it does not hold, the demo fails here.
    pub(super) fn expect(&mut self, holds: bool, what: impl Display, found: impl Display) -> Result<()> {
        if !holds {
            bail!("expected that {what}; found {found}");
        }
        self.held(what)
    }

    /// An expectation that was found to hold already.
    pub(super) fn held(&mut self, what: impl Display) -> Result<()> {
        if let Some(step) = self.steps.last_mut() {
            step.checks += 1;
        }
        self.line(&format!("   {} {what}", self.output.tone(Tone::Good, "✓")))
    }

    /// What must have been granted, else the demo fails here.
    pub(super) fn granted<T>(&self, answer: Result<T, Problem>, what: impl Display) -> Result<T> {
        answer.map_err(|problem| anyhow!("expected that {what}; found a refusal: {problem}"))
    }

    /// What must have been refused, else the demo fails here.
    pub(super) fn refused<T>(&self, answer: Result<T, Problem>, what: impl Display) -> Result<Problem> {
        match answer {
            Err(problem) => Ok(problem),
            Ok(_) => bail!("expected that {what}; found that it was granted"),
        }
    }

    /// What the summary says of this step.
    pub(super) fn found(&mut self, words: impl Display) {
        if let Some(step) = self.steps.last_mut() {
            step.found = words.to_string();
        }
    }

    /// Ends the story with a table of its steps.
    pub(super) fn finish(&mut self, whole: Duration) -> Result<()> {
        self.end_step();
        let mut table = Table::new(self.output, ["", "STEP", "CHECKS", "TOOK", "FOUND"]);
        for (number, step) in self.steps.iter().enumerate() {
            let mark = format!("{}", number + 1);
            let took = format!("{} ms", step.took.as_millis());
            table.row([mark, step.title.clone(), step.checks.to_string(), took, step.found.clone()]);
        }
        let checks: usize = self.steps.iter().map(|step| step.checks).sum();
        let line = format!("All {checks} expectations held, in {:.1} s.", whole.as_secs_f64());
        self.line(&format!("\n{}\n{}", table.finish(), self.output.tone(Tone::Good, &line)))
    }

    /// The failure with the step that it ended.
    pub(super) fn failed(&self, why: anyhow::Error) -> anyhow::Error {
        match self.steps.last() {
            Some(step) => {
                why.context(format!("step {} (\"{}\") did not come out as it must", self.steps.len(), step.title))
            }
            None => why,
        }
    }

    fn end_step(&mut self) {
        if let Some(step) = self.steps.last_mut().filter(|step| step.took.is_zero()) {
            step.took = step.begun.elapsed();
        }
    }

    fn line(&self, words: &str) -> Result<()> {
        self.output.data(format!("{words}\n").as_bytes()).map_err(|_| anyhow!("stdout is closed"))
    }
}
