//! `burgrave context`: the nodes that a person works with.

use std::path::PathBuf;

use burgrave_client::{Context, Contexts, Url};
use burgrave_types::{Problem, ProblemCode};
use clap::Subcommand;
use serde::Serialize;

use super::Outcome;
use crate::args::ServerArgs;
use crate::output::{Facts, Output, Table};

/// What can be done with contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Show one: the current one where none is named
    Show {
        /// Its name
        name: Option<String>,
    },
    /// Make one the current one
    Use {
        /// Its name
        name: String,
    },
    /// Keep the node given with `--server`, `--genesis` and a credential under a name, and make it the current one
    Create {
        /// Its name
        name: String,
    },
    /// Forget one; its credential's files stay
    Delete {
        /// Its name
        name: String,
    },
}

/// A context with its name, as it is shown.
#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    current: bool,
    #[serde(flatten)]
    context: &'a Context,
}

/// Does what was asked.
pub(crate) fn run(command: Command, server: &ServerArgs, output: &Output) -> Outcome {
    let path = Contexts::default_path()?;
    let mut contexts = Contexts::load(&path)?;
    match command {
        Command::List => {
            let all: Vec<Named<'_>> =
                contexts.contexts.iter().map(|(name, context)| named(&contexts, name, context)).collect();
            output.show(&all, |all| {
                if all.is_empty() {
                    output.say("No context yet. `burgrave dev` makes one with a node for trying things out.");
                    return Ok(String::new());
                }
                let mut table = Table::new(output, ["", "NAME", "SERVER", "GENESIS", "LOGIN"]);
                for named in all {
                    let mark = if named.current { "*" } else { "" };
                    let genesis = named.context.genesis.short();
                    table.row(
                        [mark, named.name, &named.context.server, &genesis, login(named.context)].map(str::to_owned),
                    );
                }
                Ok(table.finish())
            })
        }
        Command::Show { name } => {
            let (name, context) = contexts.select(name.as_deref())?;
            output.show(&named(&contexts, name, context), |named| Ok(facts(named, output)))
        }
        Command::Use { name } => {
            let name = contexts.select(Some(&name))?.0.to_owned();
            output.say(&format!("`{name}` is the current context now"));
            contexts.current = Some(name);
            Ok(contexts.save(&path)?)
        }
        Command::Create { name } => {
            if contexts.contexts.contains_key(&name) {
                return Err(Problem::new(ProblemCode::AlreadyExists, format!("there is a context `{name}` already"))
                    .with_fix(format!("take another name, or `burgrave context delete {name}`"))
                    .into());
            }
            let context = server.explicit()?;
            context.server.parse::<Url>()?;
            // What could not log in is not kept.
            context.client()?;
            contexts.contexts.insert(name.clone(), absolute(context)?);
            output.say(&format!("`{name}` is the current context now"));
            contexts.current = Some(name);
            Ok(contexts.save(&path)?)
        }
        Command::Delete { name } => {
            let name = contexts.select(Some(&name))?.0.to_owned();
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            Ok(contexts.save(&path)?)
        }
    }
}

fn named<'a>(contexts: &Contexts, name: &'a str, context: &'a Context) -> Named<'a> {
    Named { name, current: contexts.current.as_deref() == Some(name), context }
}

fn login(context: &Context) -> &'static str {
    match (&context.token_file, &context.certificate) {
        (Some(_), _) => "token",
        (None, Some(_)) => "certificate",
        (None, None) => "none",
    }
}

fn facts(named: &Named<'_>, output: &Output) -> String {
    let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    Facts::new(output)
        .fact("name", named.name)
        .fact("current", if named.current { "yes" } else { "no" })
        .fact("server", &named.context.server)
        .fact("genesis", named.context.genesis)
        .fact("login", login(named.context))
        .maybe("token file", shown(&named.context.token_file))
        .maybe("certificate", shown(&named.context.certificate))
        .maybe("key", shown(&named.context.key))
        .finish()
}

/// The same with paths that hold in every folder.
fn absolute(context: Context) -> Result<Context, Problem> {
    let absolute = |path: Option<PathBuf>| {
        path.map(std::path::absolute).transpose().map_err(|error| {
            Problem::new(ProblemCode::RequestInvalid, format!("a credential's path cannot be made absolute: {error}"))
        })
    };
    Ok(Context {
        token_file: absolute(context.token_file)?,
        certificate: absolute(context.certificate)?,
        key: absolute(context.key)?,
        ..context
    })
}
