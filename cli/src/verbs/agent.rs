//! `bourse agent`: the process that runs tasks on one machine.

use bourse_agent::{AgentArgs, Config};

use crate::{inherited, logging, shutdown};

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
    let config = Config::load(args.agent, &|name| std::env::var(name).ok())?;
    let listener = inherited::listener(config.listen)?;
    bourse_agent::run(config, listener, shutdown::requested()?).await
}
