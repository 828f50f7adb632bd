//! What each noun can do.

pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod data;
pub(crate) mod decision;
pub(crate) mod dev;
pub(crate) mod domain;
pub(crate) mod enclave;
pub(crate) mod evidence;
pub(crate) mod instance;
pub(crate) mod key;
pub(crate) mod node;
pub(crate) mod pages;
pub(crate) mod policy;
pub(crate) mod reference;
mod requirements;
pub(crate) mod result;
pub(crate) mod revoked;
mod status;

use std::io::{IsTerminal, Read};
use std::path::Path;

use burgrave_types::{Problem, ProblemCode};
use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::demo;
use crate::output::{Failure, Output};

/// What a command comes to.
pub(crate) type Outcome = Result<(), Failure>;

/// Does what was asked.
pub(crate) async fn run(cli: Cli, output: &Output) -> Outcome {
    let server = &cli.server;
    match cli.command {
        Command::Demo(demo) => demo::run(demo, output).await,
        Command::Dev(dev) => dev::run(dev, output).await,
        Command::Node(command) => node::run(command, output).await,
        Command::Domain(command) => domain::run(command, server, output).await,
        Command::Status => status::run(&server.client()?, output).await,
        Command::Enclave(command) => enclave::run(command, &server.client()?, output).await,
        Command::Instance(command) => instance::run(command, &server.client()?, output).await,
        Command::Policy(command) => policy::run(command, &server.client()?, output).await,
        Command::Can(question) => decision::can(question, &server.client()?, output).await,
        Command::Why(question) => decision::why(question, &server.client()?, output).await,
        Command::Key(command) => key::run(command, &server.client()?, output).await,
        Command::Data(command) => data::run(command, server, output).await,
        Command::Channel(command) => channel::run(command, &server.client()?, output).await,
        Command::Audit(command) => audit::run(command, &server.client()?, output).await,
        Command::Evidence(command) => evidence::run(command, server, output).await,
        Command::Context(command) => context::run(command, server, output),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "burgrave", &mut script);
            output.data(&script)
        }
        Command::DemoAgent(arguments) => demo::agent(arguments).await,
    }
}

/// Reads a file, or stdin where the path is `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let read = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| unreadable(path, &error.to_string()))
}

/// As [`read`], for text.
pub(crate) fn read_text(path: &Path) -> Result<String, Problem> {
    String::from_utf8(read(path)?).map_err(|_| unreadable(path, "it is not UTF-8 text"))
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, format!("`{}` cannot be read: {why}", path.display()))
        .with_fix("name a file that is there and that you may read")
}

/// Asks a person to type the name of what is about to be lost; `yes` skips the question.
pub(crate) fn confirm(yes: bool, name: &str, loss: &str, output: &Output) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    let refused = |detail: String| Problem::new(ProblemCode::RequestInvalid, detail);
    if !std::io::stdin().is_terminal() {
        return Err(
            refused(format!("`{name}` is not deleted unasked: {loss}")).with_fix("add `--yes` if that is meant")
        );
    }
    output.say(&format!("{loss}\nType `{name}` to go on:"));
    let mut typed = String::new();
    let read = std::io::stdin().read_line(&mut typed);
    match read {
        Ok(_) if typed.trim() == name => Ok(()),
        _ => Err(refused(format!("nothing was deleted: `{name}` was not typed"))),
    }
}
