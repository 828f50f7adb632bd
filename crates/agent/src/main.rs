//! `burgrave-agent`: the agent as a program beside an application.

use std::path::PathBuf;
use std::process::ExitCode;

use burgrave_agent::NodeAddress;
use burgrave_agent::local::{self, FileConfig};
use burgrave_attester::{AttesterSpec, PartSpec};
use burgrave_types::{EnclaveName, GenesisHash};
use clap::{Args, Parser, Subcommand};

/// Attests this enclave to its Burgrave node and opens the node's services to the programs in it.
///
/// The agent makes its keys in memory, accepts only the control plane whose genesis hash it was given, and keeps the link:
/// it attests again when asked and reconnects by itself. Programs use it over HTTP on a Unix socket, or through forwarded
/// ports.
#[derive(Parser)]
#[command(name = "burgrave-agent", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent until it is told to stop (SIGTERM, Ctrl-C)
    ///
    /// A configuration file says everything; options here replace what it says. Without a file, --genesis, --enclave, --node
    /// and --attester are needed.
    ///
    ///     burgrave-agent run --config /etc/burgrave/agent.toml
    ///
    ///     burgrave-agent run --genesis "$GENESIS" --enclave payments/api \
    ///         --node tcp://127.0.0.1:8444 --attester simulated:payments-api-1.0 --socket /tmp/agent.sock
    #[command(verbatim_doc_comment)]
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The domain's genesis hash, as `burgrave domain show` prints it: 64 hexadecimal digits
    #[arg(long, value_name = "HASH", env = "BURGRAVE_GENESIS")]
    genesis: Option<GenesisHash>,
    /// The enclave to attest as
    #[arg(long, value_name = "NAMESPACE/NAME")]
    enclave: Option<EnclaveName>,
    /// A node's agent link, `tcp://<host>:<port>` or `unix:<path>`; may be given several times
    #[arg(long = "node", value_name = "ADDRESS")]
    nodes: Vec<NodeAddress>,
    /// The TEE: `auto` (the best that this machine has), `configfs-tsm`, `sev-guest`, `nsm`, `gramine`, `az-vtpm`, `tpm:<device>`,
    /// `tpm:unix:<socket>`, `tpm:<ip>:<port>`, or `simulated:<code name>` (dev domains only)
    #[arg(long, value_name = "TEE")]
    attester: Option<AttesterSpec>,
    /// Devices whose evidence goes with the TEE's, and the command that gives it, `nvidia-gpu:<program> <argument>…` with `{nonce}`
    /// for the nonce; may be given several times
    #[arg(long = "part", value_name = "KIND:COMMAND")]
    parts: Vec<PartSpec>,
    /// Where the local API listens
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("BURGRAVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let Command::Run(options) = cli.command;
    let (message, code) = match options.configuration() {
        Err(message) => (message, 2),
        Ok(config) => match run(config) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(message) => (message, 1),
        },
    };
    tracing::error!("{message}");
    ExitCode::from(code)
}

fn run(config: FileConfig) -> Result<(), String> {
    // One thread is enough for an agent, and keeps it small; what blocks on a TEE has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    runtime.block_on(async {
        let stop = stop().map_err(|error| format!("signals cannot be received: {error}"))?;
        local::run(config, stop).await.map_err(|error| error.to_string())
    })
}

/// Done when the process is told to stop.
fn stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl Run {
    /// The configuration of the file, with what the options say in its place.
    fn configuration(self) -> Result<FileConfig, String> {
        let missing = |option: &str| format!("{option} is missing: give it, or a file with --config");
        let mut config = match &self.config {
            Some(path) => FileConfig::read(path).map_err(|error| error.to_string())?,
            None => FileConfig {
                genesis: self.genesis.ok_or_else(|| missing("--genesis"))?,
                enclave: self.enclave.clone().ok_or_else(|| missing("--enclave"))?,
                nodes: if self.nodes.is_empty() { return Err(missing("--node")) } else { self.nodes.clone() },
                attester: self.attester.clone().ok_or_else(|| missing("--attester"))?,
                part: Vec::new(),
                socket: None,
                allow_uids: Vec::new(),
                forward: Vec::new(),
                accept_to: None,
            },
        };
        config.genesis = self.genesis.unwrap_or(config.genesis);
        config.enclave = self.enclave.unwrap_or(config.enclave);
        config.nodes = if self.nodes.is_empty() { config.nodes } else { self.nodes };
        config.attester = self.attester.unwrap_or(config.attester);
        config.part = if self.parts.is_empty() { config.part } else { self.parts };
        config.socket = self.socket.or(config.socket);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(arguments: &[&str]) -> Result<FileConfig, String> {
        let cli = Cli::try_parse_from([&["burgrave-agent", "run"], arguments].concat()).map_err(|e| e.to_string())?;
        let Command::Run(options) = cli.command;
        options.configuration()
    }

    #[test]
    fn options_alone_are_enough_and_each_missing_one_is_named() {
        let hash = "01".repeat(32);
        let all = [
            ("--genesis", hash.as_str()),
            ("--enclave", "payments/api"),
            ("--node", "unix:/run/link.sock"),
            ("--attester", "simulated:a"),
        ];
        let flat: Vec<_> = all.iter().flat_map(|(option, value)| [*option, *value]).collect();
        assert_eq!(configuration(&flat).unwrap().enclave.to_string(), "payments/api");
        for (left_out, _) in all {
            let some = all.iter().filter(|(option, _)| *option != left_out);
            let flat: Vec<_> = some.flat_map(|(option, value)| [*option, *value]).collect();
            assert!(configuration(&flat).unwrap_err().contains(left_out));
        }
    }

    #[test]
    fn options_replace_what_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let text = format!(
            "genesis = \"{}\"\nenclave = \"a/b\"\nnodes = [\"tcp://h:1\"]\nattester = \"simulated:x\"\n",
            "02".repeat(32)
        );
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let config = configuration(&["--config", path, "--enclave", "c/d"]).unwrap();
        assert_eq!((config.enclave.to_string(), config.nodes.len()), ("c/d".to_owned(), 1));
        let parts = ["nvidia-gpu:/bin/a {nonce}", "nvidia-gpu:/bin/b --nonce {nonce}"];
        let config = configuration(&["--config", path, "--part", parts[0], "--part", parts[1]]).unwrap();
        assert_eq!(config.part.iter().map(PartSpec::to_string).collect::<Vec<_>>(), parts);
        assert!(configuration(&["--config", "/nowhere.toml"]).unwrap_err().contains("/nowhere.toml"));
    }
}
