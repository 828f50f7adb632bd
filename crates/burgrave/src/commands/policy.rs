//! `burgrave policy`: who may do what.

use std::path::PathBuf;

use burgrave_client::Client;
use burgrave_types::api::{NewPolicy, NewRule, PolicyView, RuleEffect};
use burgrave_types::{PolicyId, Problem, Segment};
use clap::{Args, Subcommand};

use super::{Outcome, confirm, pages, read_text};
use crate::output::{Facts, Output, Table, age};

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Show one with its Cedar text
    Show {
        /// Its id
        id: PolicyId,
    },
    /// Allow something in one line: `WHO OPERATIONS ON [CONDITIONS]`
    ///
    /// burgrave policy allow payments/api encrypt,decrypt key/payments/pii max-age=1h
    /// burgrave policy allow payments/api send payments/ledger
    #[command(verbatim_doc_comment)]
    Allow(Rule),
    /// Forbid something in one line, whatever allows it: `WHO OPERATIONS ON [CONDITIONS]`
    ///
    /// burgrave policy forbid hr/* decrypt key/hr/salaries tee=tpm
    #[command(verbatim_doc_comment)]
    Forbid(Rule),
    /// Store a policy written in Cedar
    Create(Text),
    /// Replace a policy's text
    Update {
        /// Its id
        id: PolicyId,
        #[command(flatten)]
        text: Text,
    },
    /// Delete one: what it alone allowed is denied from then on
    Delete {
        /// Its id
        id: PolicyId,
        /// Do it unasked
        #[arg(long)]
        yes: bool,
    },
    /// Look for faults in a policy written in Cedar, without storing it
    Validate(Text),
}

/// A rule in one line.
#[derive(Debug, Args)]
pub(crate) struct Rule {
    /// `payments/api`, a release of it (`payments/api@v1`), or a whole namespace (`payments/*`)
    who: String,
    /// encrypt, decrypt, derive, send, receive or attest; several with commas between
    operations: String,
    /// `key/payments/pii`, `keyspace/payments/*`, or an enclave for send, receive and attest
    on: String,
    /// `tee=snp,tdx`, `max-age=1h`, `min-svn=4`, `peer=payments/ledger`
    conditions: Vec<String>,
    /// What it is for, in a line
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

/// A policy in a file.
#[derive(Debug, Args)]
pub(crate) struct Text {
    /// The file with one Cedar policy, `-` for stdin
    file: PathBuf,
    /// The namespace whose policy it is; the domain's where it is not given
    #[arg(long)]
    namespace: Option<Segment>,
    /// Its name, for people
    #[arg(long, default_value = "")]
    name: String,
    /// What it is for, in a line
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    match command {
        Command::List => policies(client, output).await,
        Command::Show { id } => show(&client.policy(id).await?, output),
        Command::Allow(rule) => show(&client.create_rule(&rule.rule(RuleEffect::Allow)).await?, output),
        Command::Forbid(rule) => show(&client.create_rule(&rule.rule(RuleEffect::Forbid)).await?, output),
        Command::Create(text) => show(&client.create_policy(&text.policy()?).await?, output),
        Command::Update { id, text } => {
            let at = client.policy(id).await?.revision;
            show(&client.put_policy(id, at, &text.policy()?).await?, output)
        }
        Command::Delete { id, yes } => {
            let policy = client.policy(id).await?;
            confirm(yes, &id.to_string(), &format!("This is what will no longer hold:\n{}", policy.text), output)?;
            client.delete_policy(id, policy.revision).await?;
            output.say(&format!("`{id}` is deleted; what it alone allowed is denied from now on"));
            Ok(())
        }
        Command::Validate(text) => {
            client.validate_policy(&text.policy()?).await?;
            output.say("no fault was found");
            Ok(())
        }
    }
}

impl Rule {
    fn rule(self, effect: RuleEffect) -> NewRule {
        let words = [self.who, self.operations, self.on].into_iter().chain(self.conditions);
        NewRule { effect, rule: words.collect::<Vec<_>>().join(" "), description: self.description }
    }
}

impl Text {
    fn policy(self) -> Result<NewPolicy, Problem> {
        Ok(NewPolicy {
            namespace: self.namespace,
            name: self.name,
            text: read_text(&self.file)?,
            description: self.description,
        })
    }
}

async fn policies(client: &Client, output: &Output) -> Outcome {
    let all = pages::all(async |page| client.policies(&page).await).await?;
    output.show(&all, |all| {
        let mut table = Table::new(output, ["POLICY", "NAME", "OF", "SAYS", "CHANGED"]);
        for policy in all {
            table.row([policy.id.to_string(), policy.name.clone(), of(policy), in_a_line(policy), age(output.now(), policy.changed)]);
        }
        if all.iter().all(|policy| policy.guard) {
            output.say(
                "Nothing is allowed yet. The first rule:\n  burgrave policy allow payments/api encrypt,decrypt key/payments/pii",
            );
        }
        Ok(table.finish())
    })
}

fn show(policy: &PolicyView, output: &Output) -> Outcome {
    output.show(policy, |policy| {
        let facts = Facts::new(output)
            .fact("policy", policy.id)
            .fact("of", of(policy))
            .maybe("name", Some(&policy.name).filter(|name| !name.is_empty()))
            .maybe("says", policy.rule.as_ref())
            .maybe("for", Some(&policy.description).filter(|text| !text.is_empty()))
            .fact("changed", format!("{} by {}", age(output.now(), policy.changed), policy.changed_by))
            .fact("revision", policy.revision)
            .finish();
        Ok(format!("{facts}\n{}\n", policy.text))
    })
}

fn of(policy: &PolicyView) -> String {
    match &policy.namespace {
        Some(namespace) => namespace.to_string(),
        None if policy.guard => "the domain (guard)".to_owned(),
        None => "the domain".to_owned(),
    }
}

fn in_a_line(policy: &PolicyView) -> String {
    let text = || policy.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let described = || Some(policy.description.clone()).filter(|text| !text.is_empty());
    let line = policy.rule.clone().or_else(described).unwrap_or_else(text);
    match line.char_indices().nth(70) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
