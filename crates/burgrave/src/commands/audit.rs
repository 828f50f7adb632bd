//! `burgrave audit`: what was decided and what happened.

use burgrave_client::Client;
use burgrave_types::api::{DecisionFilter, DecisionView, Event};
use burgrave_types::{EnclaveName, Operation};
use clap::{Args, Subcommand};

use super::Outcome;
use crate::output::{Output, Tone};

/// Decisions that a node gives at once, at most.
const MOST: usize = 1000;

/// What can be done with the record.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The latest decisions, the last one at the bottom
    Tail(Tail),
}

/// Which part of the record.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Go on with all that happens, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Of this enclave alone
    #[arg(long)]
    enclave: Option<EnclaveName>,
    /// Of this operation alone
    #[arg(long)]
    operation: Option<Operation>,
    /// Denials alone
    #[arg(long)]
    denied: bool,
    /// Administrators' own questions and changes as well
    #[arg(long)]
    all: bool,
    /// How many, at most
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    lines: usize,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    let Command::Tail(tail) = command;
    let events = if tail.follow { Some(client.events(None).await?) } else { None };
    let all = tail.all || tail.operation == Some(Operation::Administer);
    let filter = DecisionFilter {
        enclave: tail.enclave,
        subject: None,
        allowed: tail.denied.then_some(false),
        operation: tail.operation,
        // What is left out is known here alone.
        limit: if all { tail.lines.max(1) } else { MOST },
    };
    let mut decisions = client.decisions(&filter).await?;
    decisions.retain(|decision| all || decision.operation != Operation::Administer);
    decisions.truncate(tail.lines);
    if decisions.is_empty() && !tail.follow {
        output.say("Nothing was decided yet. What would be: burgrave can payments/api encrypt key/payments/pii");
    }
    for decision in decisions.iter().rev() {
        output.line(decision, |decision| decision_line(decision, output))?;
    }
    let Some(mut events) = events else { return Ok(()) };
    while let Some((_, event)) = events.next().await? {
        output.line(&event, |event| event_line(event, output))?;
    }
    output.say("the node has ended the stream");
    Ok(())
}

/// A decision in a line.
pub(crate) fn decision_line(decision: &DecisionView, output: &Output) -> String {
    let outcome = match decision.allowed {
        true => output.tone(Tone::Good, "allowed"),
        false => output.tone(Tone::Bad, "denied "),
    };
    let DecisionView { at, id, operation, resource, reason, .. } = decision;
    let who = decision.enclave.as_ref().map_or_else(|| decision.principal.clone(), ToString::to_string);
    format!("{at}  {outcome}  {who} {operation} {resource}  {reason}  {}", output.tone(Tone::Quiet, &id.to_string()))
}

fn event_line(event: &Event, output: &Output) -> String {
    let Event { at, kind, subject, detail, .. } = event;
    format!("{at}  {}  {subject}  {detail}", output.tone(Tone::Heading, kind))
}
