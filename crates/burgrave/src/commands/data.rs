//! `burgrave data`: encrypting and decrypting as an instance of an enclave, which this process becomes for that.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_types::{Problem, ProblemCode, ResourceId};
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

/// What to work on, and as whom.
#[derive(Debug, Args)]
pub(crate) struct Work {
    #[command(flatten)]
    instance: super::attest::Instance,
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
            let agent = work.instance.attest(server).await?;
            let ciphertext = agent.encrypt(&resource, work.aad.as_bytes(), &plaintext).await?;
            output.data(format!("{}\n", STANDARD.encode(ciphertext)).as_bytes())
        }
        Command::Decrypt { work } => {
            let ciphertext = work.ciphertext()?;
            let agent = work.instance.attest(server).await?;
            let plaintext = agent.decrypt(&ciphertext, work.aad.as_bytes()).await?;
            output.data(plaintext.expose())
        }
    }
}

impl Work {
    fn ciphertext(&self) -> Result<Vec<u8>, Problem> {
        let text: Vec<u8> = read(&self.file)?.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(text).map_err(|_| {
            Problem::new(ProblemCode::CiphertextInvalid, "what is to be decrypted is not base64")
                .with_fix("give it as `burgrave data encrypt` printed it")
        })
    }
}
