//! Which words the command understands: the nouns, and what is said to all of them alike.

use std::path::PathBuf;
use std::time::Duration;

use burgrave_client::{Client, Context, Contexts};
use burgrave_types::{GenesisHash, Problem, ProblemCode};
use clap::{Args, Parser, Subcommand};

use crate::commands::{
    audit, channel, context, data, decision, dev, domain, enclave, evidence, instance, key, node, policy,
};
use crate::demo;
use crate::output::Format;

/// The control plane of confidential computing, with an HSM as its root of trust.
#[derive(Debug, Parser)]
#[command(name = "burgrave", version, after_help = AFTER, max_term_width = 120, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How answers are printed
    #[arg(short, long, global = true, value_enum, default_value_t, env = "BURGRAVE_OUTPUT", help_heading = GLOBAL)]
    pub(crate) output: Format,
}

const GLOBAL: &str = "Options of every command";

const AFTER: &str = "\
Exit codes: 0 done, 1 failure, 2 usage, 3 denied by policy, 4 log in first, 5 not found,
6 conflict, 7 attestation rejected, 8 unavailable. `docs/errors.md` explains every error code.

New here? `burgrave dev` starts a node for trying things out and shows five commands to go on with.";

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play the whole story on this machine, with real parts and simulated enclaves; a few seconds
    Demo(demo::Demo),
    /// Run a node for trying things out, logged in already
    Dev(dev::Dev),
    /// Make a domain, and run its node
    #[command(subcommand)]
    Node(node::Command),
    /// The trust domain: what names it, and whether a node belongs to it
    #[command(subcommand)]
    Domain(domain::Command),
    /// How the node is
    Status,
    /// Registrations: what code may bear a name
    #[command(subcommand)]
    Enclave(enclave::Command),
    /// Running copies of enclaves, and how they stand
    #[command(subcommand)]
    Instance(instance::Command),
    /// Who may do what
    #[command(subcommand)]
    Policy(policy::Command),
    /// Would this be allowed now? Exit code 0 if so in every case, else 3
    Can(decision::Can),
    /// Why a decision fell as it did
    Why(decision::Why),
    /// Named keys and keyspaces
    #[command(subcommand)]
    Key(key::Command),
    /// Encrypt and decrypt as an instance of an enclave
    #[command(subcommand)]
    Data(data::Command),
    /// Channels between enclaves
    #[command(subcommand)]
    Channel(channel::Command),
    /// What was decided and what happened
    #[command(subcommand)]
    Audit(audit::Command),
    /// Evidence of any TEE, verified offline: needs no node
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// The nodes that you work with
    #[command(subcommand)]
    Context(context::Command),
    /// Print a script that completes commands in a shell
    Completion {
        /// The shell: bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// An enclave of the demo: started by it, never by hand
    #[command(hide = true)]
    DemoAgent(demo::AgentArgs),
}

/// Which node to ask, and how to log in.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The context to use instead of the current one
    #[arg(long, global = true, env = "BURGRAVE_CONTEXT", value_name = "NAME", help_heading = GLOBAL)]
    context: Option<String>,
    /// The node's address, `https://<host>:<port>`, instead of a context's
    #[arg(long, global = true, hide_short_help = true, value_name = "URL", requires = "genesis", conflicts_with = "context", help_heading = GLOBAL)]
    server: Option<String>,
    /// The genesis hash of the domain that the node must belong to
    #[arg(long, global = true, hide_short_help = true, value_name = "HASH", help_heading = GLOBAL)]
    pub(crate) genesis: Option<GenesisHash>,
    /// A file with a bearer token, to log in at `--server`
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", help_heading = GLOBAL, conflicts_with = "certificate")]
    token_file: Option<PathBuf>,
    /// A client certificate chain (PEM), to log in at `--server`
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", requires = "key", help_heading = GLOBAL)]
    certificate: Option<PathBuf>,
    /// The certificate's key (PKCS#8, PEM)
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", requires = "certificate", help_heading = GLOBAL)]
    key: Option<PathBuf>,
    /// How long to wait for an answer, in seconds
    #[arg(long, global = true, hide_short_help = true, value_name = "SECONDS", default_value_t = 30, help_heading = GLOBAL)]
    timeout: u64,
}

impl ServerArgs {
    /// A client of the node that is meant: the one named here, or the current context's.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        Ok(self.wanted()?.client()?.with_timeout(self.timeout()))
    }

    /// How long an answer is waited for.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The context that is meant.
    pub(crate) fn wanted(&self) -> Result<Context, Problem> {
        if self.server.is_some() {
            return self.explicit();
        }
        if self.token_file.is_some() || self.certificate.is_some() {
            let detail = "a credential is given, but not the node that it is for";
            return Err(Problem::new(ProblemCode::RequestInvalid, detail)
                .with_fix("add `--server URL --genesis HASH`, or use a context that holds the credential"));
        }
        let contexts = Contexts::load(&Contexts::default_path()?)?;
        contexts.select(self.context.as_deref()).map(|(_, context)| context.clone())
    }

    /// The node that is named here.
    pub(crate) fn explicit(&self) -> Result<Context, Problem> {
        let (Some(server), Some(genesis)) = (&self.server, self.genesis) else {
            return Err(Problem::new(ProblemCode::RequestInvalid, "it is not said which node is meant")
                .with_fix("add `--server URL --genesis HASH` and a credential"));
        };
        Ok(Context {
            server: server.clone(),
            genesis,
            token_file: self.token_file.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        })
    }
}

#[cfg(test)]
mod advice;
