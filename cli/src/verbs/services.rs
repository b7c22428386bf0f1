//! `bourse services`: the service framework's process.

use std::process::ExitCode;

use bourse_service_framework::{EXIT_STATE_FAILED, ServicesArgs, exit_code};

use crate::print::say;
use crate::{inherited, logging, shutdown};

/// Run the service framework
///
/// It keeps services running that `bourse service deploy` defines. Services outlive it: one that is started again on
/// the same state directory goes on with them.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    services: ServicesArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    logging::start();
    let listener = inherited::listener(args.services.listen)?;
    match bourse_service_framework::run(args.services, listener, shutdown::requested()?).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if exit_code(&error) == EXIT_STATE_FAILED => {
            say(format_args!("bourse: {:#}", anyhow::Error::from(error)));
            Ok(ExitCode::from(EXIT_STATE_FAILED))
        }
        // It may have a code that all verbs share.
        Err(error) => Err(error.into()),
    }
}
