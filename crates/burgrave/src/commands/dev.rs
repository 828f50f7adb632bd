//! `burgrave dev`: a node for trying things out.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use burgrave_client::Contexts;
use burgrave_node::{Address, Node};
use clap::Args;

use super::Outcome;
use super::node::{log_to_stderr, stop_signal};
use crate::domain::DevDomain;
use crate::output::{Facts, Output, Tone};

/// How to try things out.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The folder that holds the domain, made where it is not there; a temporary one, removed at the end, where none is given
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The context that is made and chosen, so that other commands are logged in
    #[arg(long, value_name = "NAME", default_value = "dev")]
    name: String,
}

/// Serves a `dev` domain until told to stop.
pub(crate) async fn run(dev: Dev, output: &Output) -> Outcome {
    log_to_stderr("warn");
    let begun = Instant::now();
    let stop = stop_signal()?;
    let temporary = match &dev.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("burgrave-dev-").tempdir().context("no temporary folder")?),
    };
    let folder = match (&dev.data, &temporary) {
        (Some(folder), _) => std::path::absolute(folder).context("the data folder's path cannot be made absolute")?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Ok(()),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let mut domain = DevDomain::open(&folder).await?;
    let node = domain.serve(None).await?;
    let before = choose(&dev.name, domain.context(&node))?;
    output.data(welcome(&dev, &folder, &node, begun, output)?.as_bytes())?;
    stop.await;
    output.say("stopping");
    node.shutdown().await;
    if temporary.is_some() {
        forget(&dev.name, before)?;
    }
    Ok(())
}

/// Keeps the context and makes it the current one; says which was before.
fn choose(name: &str, context: burgrave_client::Context) -> Result<Option<String>> {
    let path = Contexts::default_path()?;
    let mut contexts = Contexts::load(&path)?;
    contexts.contexts.insert(name.to_owned(), context);
    let before = contexts.current.replace(name.to_owned());
    contexts.save(&path)?;
    Ok(before.filter(|before| before != name))
}

/// Takes the context away again, with the domain that it was for.
fn forget(name: &str, before: Option<String>) -> Result<()> {
    let path = Contexts::default_path()?;
    let mut contexts = Contexts::load(&path)?;
    contexts.contexts.remove(name);
    if contexts.current.as_deref() == Some(name) {
        contexts.current = before.filter(|before| contexts.contexts.contains_key(before));
    }
    Ok(contexts.save(&path)?)
}

fn welcome(dev: &Dev, folder: &Path, node: &Node, begun: Instant, output: &Output) -> Result<String> {
    let link = node.addresses().link.first().context("the node listens nowhere")?;
    let kept = if dev.data.is_some() { "" } else { " (removed at the end)" };
    let warning =
        "a DEV node: it takes simulated evidence, which proves nothing, and its keys lie beside it on the disk";
    let facts = Facts::new(output)
        .fact("This is", output.tone(Tone::Warning, warning))
        .fact("REST", format!("https://{}", node.addresses().rest))
        .fact("agents", link)
        .fact("genesis", node.genesis())
        .fact("data", format!("{}{kept}", folder.display()))
        .fact("context", format!("{} (chosen: the commands below are logged in)", dev.name))
        .finish();
    let ready = format!("Ready after {} ms. Stop it with Ctrl-C.", begun.elapsed().as_millis());
    let commands: String = next_commands(&invocation(), link)
        .iter()
        .map(|(what, command)| format!("{}\n  {command}\n", output.tone(Tone::Quiet, &format!("# {what}"))))
        .collect();
    Ok(format!("{facts}\n{ready}\n\nGo on in another terminal:\n\n{commands}"))
}

/// Five commands that lead from nothing to an explained decision, each with what it does.
fn next_commands(burgrave: &str, link: &Address) -> [(&'static str, String); 5] {
    let keyspace = "keyspace/payments/storage";
    [
        (
            "register an enclave: which code may bear the name payments/api",
            format!("{burgrave} enclave create payments/api --simulate payments-api-1.0"),
        ),
        ("make a keyspace, in which each enclave has a key of its own", format!("{burgrave} key create {keyspace}")),
        ("allow the enclave to use it", format!("{burgrave} policy allow payments/api encrypt,decrypt {keyspace}")),
        (
            "attest as that enclave, and encrypt",
            format!(
                "echo '4111 1111 1111 1111' | {burgrave} data encrypt {keyspace} --as payments/api \
                 --attester simulated:payments-api-1.0 --node {link}"
            ),
        ),
        ("why that was allowed", format!("{burgrave} why")),
    ]
}

/// How this command is called from here: by its name where that finds it, else by its whole path, which holds in any folder.
fn invocation() -> String {
    let Ok(own) = std::env::current_exe() else { return "burgrave".to_owned() };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        let found = std::env::split_paths(&path).map(|folder| folder.join("burgrave")).find(|file| file.is_file());
        found.and_then(|file| file.canonicalize().ok()) == own.canonicalize().ok()
    });
    if on_path { "burgrave".to_owned() } else { own.display().to_string() }
}
