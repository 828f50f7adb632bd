//! `burgrave instance`: running copies of enclaves.

use burgrave_client::Client;
use burgrave_types::api::{InstanceFilter, InstanceView};
use burgrave_types::{EnclaveName, InstanceId};
use clap::Subcommand;

use super::evidence::claim_facts;
use super::{Outcome, pages, requirements, revoked};
use crate::output::{Facts, Output, Table, Tone, age, or_dash, standing};

/// What can be done with instances.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them, with how they stand and until when
    List {
        /// Of this enclave alone
        #[arg(long)]
        enclave: Option<EnclaveName>,
        /// In this standing alone
        #[arg(long, value_parser = ["fresh", "stale", "revoked"])]
        standing: Option<String>,
    },
    /// Show one with the claims of its evidence
    Show {
        /// Its id
        id: InstanceId,
    },
    /// Ask one for new evidence now
    Attest {
        /// Its id
        id: InstanceId,
    },
    /// End its access, and bar its platform from the enclave
    Revoke {
        /// Its id
        id: InstanceId,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    match command {
        Command::List { enclave, standing } => instances(&InstanceFilter { enclave, standing }, client, output).await,
        Command::Show { id } => output.show(&client.instance(id).await?, |instance| Ok(describe(instance, output))),
        Command::Attest { id } => {
            client.reattest(id).await?;
            output.say(&format!("`{id}` is asked for new evidence; `burgrave instance show {id}` shows the outcome"));
            Ok(())
        }
        Command::Revoke { id, reason } => revoked::show(&client.revoke_instance(id, &reason).await?, output),
    }
}

async fn instances(filter: &InstanceFilter, client: &Client, output: &Output) -> Outcome {
    let all = pages::all(async |page| client.instances(filter, &page).await).await?;
    output.show(&all, |all| {
        if all.is_empty() {
            output.say(if *filter == InstanceFilter::default() {
                "No instance has attested yet. An enclave attests through its agent (`burgrave-agent`);\n\
                 `burgrave enclave list` shows which are registered."
            } else {
                "No instance is like that."
            });
            return Ok(String::new());
        }
        let now = output.now();
        let mut table = Table::new(output, ["INSTANCE", "ENCLAVE", "RELEASE", "STANDING", "ATTESTED", "LINK"]);
        for instance in all {
            let (words, tone) = standing(now, instance.standing);
            table.toned([
                (instance.id.to_string(), None),
                (instance.enclave.to_string(), None),
                (instance.release.to_string(), None),
                (words, Some(tone)),
                (age(now, instance.attested_at), None),
                (link(instance).to_owned(), (!instance.linked).then_some(Tone::Quiet)),
            ]);
        }
        Ok(table.finish())
    })
}

fn describe(instance: &InstanceView, output: &Output) -> String {
    let now = output.now();
    let (words, tone) = standing(now, instance.standing);
    let facts = Facts::new(output)
        .fact("instance", instance.id)
        .fact("enclave", format!("{} ({})", instance.enclave, instance.enclave_uid))
        .fact("release", &instance.release)
        .fact("standing", output.tone(tone, &words))
        .maybe("conceded", requirements::conceded(instance.conceded.iter().copied(), output))
        .maybe("shortfall", instance.shortfall.as_ref().map(|coming| requirements::shortfall(coming, output)))
        .fact("attested", age(now, instance.attested_at))
        .fact("first attested", age(now, instance.first_attested_at))
        .fact("link", link(instance))
        .fact("key", instance.spki_hash)
        .fact("result", or_dash(instance.result_digest))
        .fact("TEE", instance.claims.tee);
    let mut text = claim_facts(facts, &instance.claims).finish();
    for part in &instance.parts {
        let facts = claim_facts(Facts::new(output).fact("TEE", part.tee), part).finish();
        text.push_str(&format!("\n{}\n{facts}", output.tone(Tone::Heading, "Part beside it")));
    }
    text
}

fn link(instance: &InstanceView) -> &'static str {
    if instance.linked { "linked" } else { "away" }
}
