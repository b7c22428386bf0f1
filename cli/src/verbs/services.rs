//! `bourse services`: the service framework's process.

use bourse_service_framework::ServicesArgs;

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

pub async fn run(args: Args) -> anyhow::Result<()> {
    logging::start();
    let listener = inherited::listener(args.services.listen)?;
    Ok(bourse_service_framework::run(args.services, listener, shutdown::requested()?).await?)
}
