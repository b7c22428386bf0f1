//! `bourse agent`: the process that runs tasks on one machine.

use std::process::ExitCode;

use bourse_agent::{AgentArgs, exit_code};

use super::check::check;
use crate::print::say;
use crate::{inherited, logging, shutdown};

/// Run an agent
///
/// It offers this machine through the master, and runs what frameworks launch on it. Its tasks outlive it: an agent
/// that is started again on the same work directory goes on with them. Every setting is a flag, a variable of the
/// environment, or a key of the file that --config names; --check prints each with its origin.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.agent.check {
        return check(&args.agent.resolve());
    }
    logging::start();
    let config = args.agent.to_config()?;
    let listener = inherited::listener(config.listen)?;
    let stop = shutdown::requested()?;
    match bourse_agent::run(config, listener, stop).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let code = exit_code(&error);
            say(format_args!("bourse: {error:#}"));
            Ok(ExitCode::from(code))
        }
    }
}
