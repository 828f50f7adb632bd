//! `burgrave node`: making a domain, and running its node.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burgrave_identity::IdentityKey;
use burgrave_node::{Address, InitOptions, Initialized, Node, NodeConfig, NodeOptions, TokenConfig, init, issue_admin};
use burgrave_seal::SystemRandom;
use burgrave_types::{DomainClass, Problem, ProblemCode, Secret, Segment, SystemClock, TrustDomain};
use clap::{Args, Subcommand};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use super::{Outcome, read};
use crate::output::{Facts, Output};

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a trust domain: token, keys, genesis record, and the first administrator's certificate
    Init(Init),
    /// Serve a domain until told to stop (SIGTERM, Ctrl-C)
    Run {
        /// The configuration file; `docs/node.toml` explains every option
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Issue a client certificate for an administrator, while the node does not run
    Admin {
        /// The administrator's name
        name: Segment,
        /// The node's configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The folder for the certificate and its key
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        into: PathBuf,
    },
}

/// A domain to make.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The domain's name, e.g. `example.org`
    #[arg(long, value_name = "NAME")]
    trust_domain: TrustDomain,
    /// The folder that will hold it: empty, or not there yet
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// dev or production, for good
    #[arg(long, default_value = "production")]
    class: DomainClass,
    /// A file, for its owner alone, with the passphrase that opens the token
    #[arg(long, value_name = "FILE", group = "unlock", required_unless_present_any = ["passphrase_fd", "key_file"])]
    passphrase_file: Option<PathBuf>,
    /// The number of an open descriptor with the passphrase
    #[arg(long, value_name = "NUMBER", group = "unlock")]
    passphrase_fd: Option<u32>,
    /// Open the token by a key file beside it; `dev` domains only
    #[arg(long, group = "unlock")]
    key_file: bool,
    /// An operator's key (P-256, PKCS#8, PEM), which signs genesis; one is made where none is given. May be given several times
    #[arg(long = "operator-key", value_name = "FILE")]
    operator_keys: Vec<PathBuf>,
    /// How many operators must sign a change of the domain's foundations; a production domain must say it
    #[arg(long, value_name = "NUMBER")]
    quorum: Option<u32>,
    /// The first administrator's name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    admin: Segment,
    /// Where agents will connect, `tcp://<ip>:<port>` or `unix:<path>`; may be given several times
    #[arg(long, value_name = "ADDRESS", default_value = "tcp://127.0.0.1:8444")]
    link: Vec<Address>,
    /// Where administrators will connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8443")]
    rest: SocketAddr,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, output: &Output) -> Outcome {
    match command {
        Command::Init(arguments) => make(arguments, output).await,
        Command::Run { config } => {
            log_to_stderr("info");
            let config = NodeConfig::load(&config).map_err(invalid)?;
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
            let stop = stop_signal()?;
            let node = Node::start(NodeOptions { config, clock, random, tap: None }).await?;
            let addresses = node.addresses();
            let links = addresses.link.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            output.say(&format!("serving REST at https://{}, agents at {links}", addresses.rest));
            stop.await;
            node.shutdown().await;
            Ok(())
        }
        Command::Admin { name, config, into } => {
            let config = NodeConfig::load(&config).map_err(invalid)?;
            let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
            let (certificate, key) = issue_admin(&config, &name, &into, clock, random).await?;
            output.say(&format!("certificate {}, key {}", certificate.display(), key.display()));
            Ok(())
        }
    }
}

/// Logs to stderr: what `BURGRAVE_LOG` asks for, or this.
pub(crate) fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("BURGRAVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Done when the process is told to stop; from the call on, the signals do not end it by themselves.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn make(arguments: Init, output: &Output) -> Outcome {
    let token = match (&arguments.passphrase_file, arguments.passphrase_fd) {
        (Some(path), _) => TokenConfig::PassphraseFile { path: absolute(path)? },
        (None, Some(number)) => TokenConfig::Descriptor { number },
        (None, None) => TokenConfig::KeyFile,
    };
    let operators = arguments.operator_keys.iter().map(|path| operator_key(path)).collect::<Result<_, _>>()?;
    let data_dir = absolute(&arguments.data)?;
    let options = InitOptions {
        trust_domain: arguments.trust_domain,
        class: arguments.class,
        operators,
        quorum: arguments.quorum,
        data_dir: data_dir.clone(),
        token: token.clone(),
        admin: arguments.admin,
    };
    let made = init(options, Arc::new(SystemClock), Arc::new(SystemRandom)).await.map_err(invalid)?;
    let config = data_dir.join("node.toml");
    let text = configuration(&data_dir, &made, &token, &arguments.link, arguments.rest);
    std::fs::write(&config, text).with_context(|| format!("`{}` cannot be written", config.display()))?;
    output.data(describe(&made, &config, arguments.rest, output).as_bytes())
}

fn describe(made: &Initialized, config: &Path, rest: SocketAddr, output: &Output) -> String {
    let (certificate, key) = (made.admin_certificate.display(), made.admin_key.display());
    let operator = made.operator_key.as_ref().map(|path| {
        format!("{}\nkeep it somewhere else: whoever has it can change the domain's foundations", path.display())
    });
    let facts = Facts::new(output)
        .fact("genesis hash", made.genesis)
        .fact("node", made.node)
        .fact("configuration", config.display())
        .fact("administrator", &certificate)
        .maybe("operator's key", operator)
        .finish();
    format!(
        "{facts}\nThe genesis hash names the domain: agents and clients are started with it.\n\n\
         Serve it:   burgrave node run --config {}\n\
         Log in:     burgrave context create main --server https://{rest} --genesis {} \\\n            \
         --certificate {certificate} --key {key}\n",
        config.display(),
        made.genesis,
    )
}

/// The configuration of the domain that was made; `docs/node.toml` explains it.
fn configuration(
    data_dir: &Path,
    made: &Initialized,
    token: &TokenConfig,
    link: &[Address],
    rest: SocketAddr,
) -> String {
    let text = |text: String| toml::Value::String(text).to_string();
    let unlock = match token {
        TokenConfig::PassphraseFile { path } => {
            format!("unlock = \"passphrase-file\"\npath = {}", text(path.display().to_string()))
        }
        TokenConfig::Descriptor { number } => format!("unlock = \"descriptor\"\nnumber = {number}"),
        TokenConfig::KeyFile => "unlock = \"key-file\"".to_owned(),
    };
    let link: Vec<String> = link.iter().map(|address| text(address.to_string())).collect();
    format!(
        "# Made by `burgrave node init`; `docs/node.toml` explains every option.\n\
         data_dir = {}\ngenesis = \"{}\"\n\n[token]\n{unlock}\n\n[link]\nlisten = [{}]\n\n[rest]\nlisten = \"{rest}\"\n",
        text(data_dir.display().to_string()),
        made.genesis,
        link.join(", "),
    )
}

fn operator_key(path: &Path) -> Result<IdentityKey, Problem> {
    let bad = |why: &str| {
        Problem::new(
            ProblemCode::RequestInvalid,
            format!("the operator's key `{}` cannot be used: {why}", path.display()),
        )
        .with_fix("give a P-256 key in PKCS#8, PEM")
    };
    let pem = Secret::new(read(path)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.expose()).map_err(|_| bad("it holds no PKCS#8 key in PEM"))?;
    IdentityKey::from_pkcs8(&Secret::new(key.secret_pkcs8_der().to_vec())).map_err(|_| bad("it is not on P-256"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}` cannot be made absolute", path.display()))
}

/// What was asked for does not go together, or cannot be read: a usage error.
fn invalid(error: anyhow::Error) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_init_writes_is_one_that_run_reads() {
        let made = Initialized {
            genesis: "ab".repeat(32).parse().unwrap(),
            node: "node_00000000000000000000000000"
                .parse()
                .unwrap_or_else(|_| burgrave_types::NodeId::random(&SystemRandom)),
            admin_certificate: "a".into(),
            admin_key: "k".into(),
            operator_key: None,
        };
        for token in [
            TokenConfig::KeyFile,
            TokenConfig::Descriptor { number: 3 },
            TokenConfig::PassphraseFile { path: "/run/a \"quoted\" one".into() },
        ] {
            let link = ["tcp://127.0.0.1:1".parse().unwrap(), "unix:/run/l".parse().unwrap()];
            let rest = "127.0.0.1:2".parse().unwrap();
            let text = configuration(Path::new("/data \\ dir"), &made, &token, &link, rest);
            let config = NodeConfig::parse(&text).unwrap();
            assert_eq!((config.token, config.genesis), (token, Some(made.genesis)));
            assert_eq!((config.link.listen.as_slice(), config.rest.listen), (&link[..], rest));
            assert_eq!(config.data_dir, Path::new("/data \\ dir"));
        }
    }
}
