//! `bourse agent`: the process that runs tasks on one machine.

use bourse_agent::AgentArgs;

use crate::{logging, shutdown};

/// Run an agent
///
/// It offers this machine through the master, and runs what frameworks launch on it. Its tasks outlive it: an agent
/// that is started again on the same work directory goes on with them.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    logging::start();
    bourse_agent::run(args.agent, shutdown::requested()?).await
}
