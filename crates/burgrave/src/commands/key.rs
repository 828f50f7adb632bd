//! `burgrave key`: named keys and keyspaces.

use burgrave_client::Client;
use burgrave_types::api::{KeyVersionView, KeyView, NewKey};
use burgrave_types::{EnclaveName, ResourceId, ResourceKind};
use clap::Subcommand;

use super::{Outcome, confirm, pages};
use crate::output::{Facts, Output, Table, age, list, or_dash};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Show one with its versions; of a keyspace, each enclave's own
    Show {
        /// `key/<namespace>/<name>` or `keyspace/<namespace>/<name>`
        name: ResourceId,
    },
    /// Make a named key (shared by whom policy lets use it) or a keyspace (each enclave has its own key there)
    Create {
        /// `key/<namespace>/<name>` or `keyspace/<namespace>/<name>`
        name: ResourceId,
    },
    /// Begin a new version: what is written from now on is under it, older versions stay readable
    Rotate {
        /// The key or keyspace
        name: ResourceId,
        /// In a keyspace: whose key
        #[arg(long)]
        enclave: Option<EnclaveName>,
    },
    /// Delete one: what is encrypted under it can never be read again
    Delete {
        /// The key or keyspace
        name: ResourceId,
        /// Do it unasked
        #[arg(long)]
        yes: bool,
    },
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    match command {
        Command::List => keys(client, output).await,
        Command::Show { name } => {
            let mut key = client.key(&name).await?;
            if name.kind == ResourceKind::Keyspace {
                key.versions = client.key_versions(&name).await?;
            }
            show(&key, output)
        }
        Command::Create { name } => show(&client.create_key(&NewKey { resource: name }).await?, output),
        Command::Rotate { name, enclave } => {
            output.show(&client.rotate_key(&name, enclave.as_ref()).await?, |version| Ok(versions([version], output)))
        }
        Command::Delete { name, yes } => {
            let at = client.key(&name).await?.revision;
            let loss = format!("What is encrypted under `{name}` can never be read again.");
            confirm(yes, &name.to_string(), &loss, output)?;
            client.delete_key(&name, at).await?;
            output.say(&format!("`{name}` is deleted"));
            Ok(())
        }
    }
}

async fn keys(client: &Client, output: &Output) -> Outcome {
    let all = pages::all(async |page| client.keys(&page).await).await?;
    output.show(&all, |all| {
        if all.is_empty() {
            output.say("There is no key yet. The first one:\n  burgrave key create keyspace/payments/storage");
            return Ok(String::new());
        }
        let mut table = Table::new(output, ["KEY", "ACTIVE VERSION", "CREATED"]);
        for key in all {
            let active = key.versions.iter().rev().find(|version| version.state == "active");
            let active = match key.resource.kind {
                ResourceKind::Keyspace => "each enclave's own".to_owned(),
                _ => or_dash(active.map(|version| version.version)),
            };
            table.row([key.resource.to_string(), active, age(output.now(), key.created)]);
        }
        Ok(table.finish())
    })
}

fn show(key: &KeyView, output: &Output) -> Outcome {
    output.show(key, |key| {
        let facts = Facts::new(output)
            .fact("key", &key.resource)
            .fact("uid", key.uid)
            .fact("created", format!("{} by {}", age(output.now(), key.created), key.created_by))
            .fact("revision", key.revision)
            .finish();
        if key.versions.is_empty() {
            return Ok(facts);
        }
        Ok(format!("{facts}\n{}", versions(&key.versions, output)))
    })
}

fn versions<'a>(versions: impl IntoIterator<Item = &'a KeyVersionView>, output: &Output) -> String {
    let mut table = Table::new(output, ["ENCLAVE", "VERSION", "STATE", "SINCE", "RELEASED TO"]);
    for version in versions {
        table.row([
            or_dash(version.enclave.as_ref()),
            version.version.to_string(),
            version.state.clone(),
            age(output.now(), version.since),
            list(&version.released_to),
        ]);
    }
    table.finish()
}
