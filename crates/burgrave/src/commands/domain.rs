//! `burgrave domain`: what names a trust domain, and whether a node belongs to it.

use burgrave_client::{Client, Credential, Server};
use burgrave_types::{DomainClass, GenesisHash, NodeId, Problem, ProblemCode, Timestamp, TrustDomain};
use clap::Subcommand;
use serde::Serialize;

use super::Outcome;
use crate::args::ServerArgs;
use crate::output::{Facts, Output, Tone};

/// What can be done with domains.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what names the domain, as its node tells it
    Show,
    /// Print the keys that attestation results verify with, a JSON Web Key set
    Keys,
    /// Prove that a node belongs to the domain with this genesis hash; needs no login. Exit code 7 where it does not
    Verify {
        /// The node's address, `https://<host>:<port>`
        url: String,
    },
}

/// What a node proved.
#[derive(Serialize)]
struct Verified {
    url: String,
    trust_domain: TrustDomain,
    class: DomainClass,
    genesis: GenesisHash,
    created: Timestamp,
    operators: usize,
    quorum: u32,
    node: Option<NodeId>,
    certificate_until: Timestamp,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, server: &ServerArgs, output: &Output) -> Outcome {
    match command {
        Command::Show => show(&server.client()?, output).await,
        Command::Keys => {
            let keys = server.client()?.domain_keys().await?;
            output.data(serde_json::to_string_pretty(&keys).map_err(anyhow::Error::new)?.as_bytes())?;
            output.data(b"\n")
        }
        Command::Verify { url } => {
            let genesis = server.genesis.ok_or_else(|| {
                Problem::new(ProblemCode::RequestInvalid, "it is not said which domain the node should belong to")
                    .with_fix("add `--genesis HASH`; whoever runs the domain has it from `burgrave domain show`")
            })?;
            verify(url, genesis, output).await
        }
    }
}

async fn show(client: &Client, output: &Output) -> Outcome {
    output.show(&client.domain().await?, |domain| {
        Ok(Facts::new(output)
            .fact("domain", &domain.trust_domain)
            .fact("class", class(domain.class, output))
            .fact("genesis hash", domain.genesis_hash)
            .fact("CA certificate", format!("{} bytes, in the JSON (`-o json`)", domain.ca.as_bytes().len()))
            .finish())
    })
}

async fn verify(url: String, genesis: GenesisHash, output: &Output) -> Outcome {
    let client = Client::new(Server { url: url.parse()?, genesis }, Credential::None)?;
    let (trust, node) = client.verify_domain().await?;
    let body = &trust.genesis().body;
    let verified = Verified {
        url,
        trust_domain: trust.trust_domain().clone(),
        class: trust.class(),
        genesis,
        created: body.created,
        operators: body.operators.len(),
        quorum: body.quorum,
        node: node.spiffe_id.node_id(),
        certificate_until: node.not_after,
    };
    output.show(&verified, |verified| {
        let proven = format!("`{}` belongs to this domain: its certificate leads to the genesis record", verified.url);
        let quorum = format!("{} of {} operators sign changes of its foundations", verified.quorum, verified.operators);
        Ok(Facts::new(output)
            .fact("proven", output.tone(Tone::Good, &proven))
            .fact("domain", &verified.trust_domain)
            .fact("class", class(verified.class, output))
            .fact("genesis hash", verified.genesis)
            .fact("created", verified.created)
            .fact("quorum", quorum)
            .maybe("node", verified.node)
            .fact("certificate", format!("until {}", verified.certificate_until))
            .finish())
    })
}

fn class(class: DomainClass, output: &Output) -> String {
    match class {
        DomainClass::Dev => output.tone(Tone::Warning, "dev: simulated evidence is taken, so it proves nothing"),
        DomainClass::Production => "production".to_owned(),
    }
}
