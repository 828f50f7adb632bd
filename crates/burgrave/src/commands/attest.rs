//! This process as an instance of an enclave, for as long as a command lasts.

use std::sync::Arc;

use burgrave_agent::{Agent, AgentConfig, NodeAddress};
use burgrave_attester::{AttesterError, AttesterSpec, PartSpec, WithParts};
use burgrave_seal::SystemRandom;
use burgrave_types::{EnclaveName, Problem, ProblemCode, SystemClock};
use clap::Args;

use super::Outcome;
use crate::args::ServerArgs;
use crate::output::Output;

/// As whom, and where.
#[derive(Debug, Args)]
pub(crate) struct Instance {
    /// The enclave to attest as
    #[arg(long = "as", value_name = "ENCLAVE")]
    enclave: EnclaveName,
    /// The TEE: `auto` (the best that this machine has), `configfs-tsm`, `sev-guest`, `nsm`, `gramine`, `az-vtpm`, `tpm:<device>`,
    /// `tpm:unix:<socket>`, `tpm:<ip>:<port>`, or `simulated:<code name>` (dev domains only)
    #[arg(long, value_name = "TEE")]
    attester: AttesterSpec,
    /// A command that gives the evidence of devices beside it, with `{nonce}` among its words, e.g.
    /// `nvidia-gpu:/usr/bin/nvattest collect-evidence --device gpu --nonce {nonce} --format json`
    #[arg(long = "part", value_name = "KIND:COMMAND")]
    parts: Vec<PartSpec>,
    /// The node's agent link, `tcp://<host>:<port>` or `unix:<path>`
    #[arg(long, value_name = "ADDRESS")]
    node: NodeAddress,
}

impl Instance {
    /// Attests, and keeps the link until the agent is dropped.
    pub(crate) async fn attest(&self, server: &ServerArgs) -> Result<Agent, Problem> {
        let genesis = match server.genesis {
            Some(genesis) => genesis,
            None => server.wanted()?.genesis,
        };
        let unusable = |error: AttesterError| {
            Problem::new(ProblemCode::Unavailable, format!("the TEE cannot be used: {error}"))
                .with_fix("choose another with `--attester` or `--part`")
        };
        let attester = self.attester.open().map_err(unusable)?;
        let config = AgentConfig {
            nodes: vec![self.node.clone()],
            genesis,
            enclave: self.enclave.clone(),
            attester: Box::new(WithParts::new(attester, self.parts.clone()).map_err(unusable)?),
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
}

/// Attests, and prints the node's signed result.
pub(crate) async fn run(instance: &Instance, server: &ServerArgs, output: &Output) -> Outcome {
    let agent = instance.attest(server).await?;
    let result = agent.status().attestation_result.ok_or_else(|| {
        Problem::new(ProblemCode::Internal, "the node attested this process and sent no result")
            .with_fix("see the node's log")
    })?;
    output.data(format!("{result}\n").as_bytes())
}
