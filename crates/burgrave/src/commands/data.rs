//! `burgrave data`: encrypting and decrypting as an instance of an enclave, which this process becomes for that.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_agent::local::AttesterChoice;
use burgrave_agent::{Agent, AgentConfig, NodeAddress};
use burgrave_seal::SystemRandom;
use burgrave_types::{EnclaveName, Problem, ProblemCode, ResourceId, SystemClock};
use clap::{Args, Subcommand};

use super::{Outcome, read};
use crate::args::ServerArgs;
use crate::output::Output;

/// What can be done with data.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Encrypt a file or stdin; what comes out is one line of base64
    Encrypt {
        /// `keyspace/<namespace>/<name>` for the enclave's own key, or `key/<namespace>/<name>`
        resource: ResourceId,
        #[command(flatten)]
        work: Work,
    },
    /// Decrypt what `encrypt` made
    Decrypt {
        #[command(flatten)]
        work: Work,
    },
}

/// As whom, where, and what.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// The enclave to attest as
    #[arg(long = "as", value_name = "ENCLAVE")]
    enclave: EnclaveName,
    /// The TEE: `tpm:<device>`, `tpm:unix:<socket>`, `tpm:<ip>:<port>`, or `simulated:<code name>` (dev domains only)
    #[arg(long, value_name = "TEE", value_parser = attester)]
    attester: AttesterChoice,
    /// The node's agent link, `tcp://<host>:<port>` or `unix:<path>`
    #[arg(long, value_name = "ADDRESS")]
    node: NodeAddress,
    /// Data that is bound to the ciphertext and must be given again to decrypt
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// The file to read; stdin where it is not given
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, server: &ServerArgs, output: &Output) -> Outcome {
    match command {
        Command::Encrypt { resource, work } => {
            let plaintext = read(&work.file)?;
            let agent = work.attest(server).await?;
            let ciphertext = agent.encrypt(&resource, work.aad.as_bytes(), &plaintext).await?;
            output.data(format!("{}\n", STANDARD.encode(ciphertext)).as_bytes())
        }
        Command::Decrypt { work } => {
            let ciphertext = work.ciphertext()?;
            let agent = work.attest(server).await?;
            let plaintext = agent.decrypt(&ciphertext, work.aad.as_bytes()).await?;
            output.data(plaintext.expose())
        }
    }
}

impl Work {
    async fn attest(&self, server: &ServerArgs) -> Result<Agent, Problem> {
        let genesis = match server.genesis {
            Some(genesis) => genesis,
            None => server.wanted()?.genesis,
        };
        let config = AgentConfig {
            nodes: vec![self.node.clone()],
            genesis,
            enclave: self.enclave.clone(),
            attester: self.attester.attester(),
        };
        let agent = Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom))
            .map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))?;
        match tokio::time::timeout(server.timeout(), agent.wait_attested()).await {
            Ok(attested) => attested.map(|_| agent),
            Err(_) => Err(agent.status().problem.unwrap_or_else(|| {
                Problem::new(ProblemCode::Unavailable, format!("the node at `{}` did not answer in time", self.node))
            })),
        }
    }

    fn ciphertext(&self) -> Result<Vec<u8>, Problem> {
        let text: Vec<u8> = read(&self.file)?.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(text).map_err(|_| {
            Problem::new(ProblemCode::CiphertextInvalid, "what is to be decrypted is not base64")
                .with_fix("give it as `burgrave data encrypt` printed it")
        })
    }
}

fn attester(text: &str) -> Result<AttesterChoice, String> {
    text.parse()
}
