//! `burgrave channel`: who talks to whom now.

use burgrave_client::Client;
use burgrave_types::ChannelId;
use clap::Subcommand;

use super::{Outcome, pages};
use crate::output::{Output, Table, age, deadline};

/// What can be done with channels.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List those that are open
    List,
    /// Cut one on both sides at once. Unless a policy changes, they may open another
    Cut {
        /// Its id
        id: ChannelId,
        /// Why, for both sides
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    match command {
        Command::List => channels(client, output).await,
        Command::Cut { id, reason } => {
            client.cut_channel(id, &reason).await?;
            output.say(&format!("`{id}` is cut on both sides"));
            Ok(())
        }
    }
}

async fn channels(client: &Client, output: &Output) -> Outcome {
    let all = pages::all(async |page| client.channels(&page).await).await?;
    output.show(&all, |all| {
        if all.is_empty() {
            output.say(
                "No channel is open. Two enclaves talk where policy lets one send and the other receive:\n  \
                 burgrave policy allow payments/api send payments/ledger\n  \
                 burgrave policy allow payments/ledger receive payments/ledger peer=payments/api",
            );
            return Ok(String::new());
        }
        let now = output.now();
        let mut table = Table::new(output, ["CHANNEL", "FROM", "TO", "OPENED", "ENDS"]);
        for channel in all {
            table.row([
                channel.id.to_string(),
                channel.initiator.enclave.to_string(),
                channel.acceptor.enclave.to_string(),
                age(now, channel.opened),
                deadline(now, channel.not_after),
            ]);
        }
        Ok(table.finish())
    })
}
