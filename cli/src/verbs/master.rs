//! `bourse master`: the process that offers.

use std::process::ExitCode;

use anyhow::Context;
use bourse_master::{EXIT_SYNC_FAILED, MasterArgs, exit_code};
use bourse_store_rocksdb::OpenError;

use super::check::check;
use crate::print::say;
use crate::{inherited, logging, shutdown};

/// Run a master
///
/// It offers what its agents have to its frameworks. Every setting is a flag, a variable of the environment, or a key of
/// the file that --config names; --check prints each with its origin.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    master: MasterArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.master.check {
        return check(&args.master.resolve());
    }
    logging::start();
    let config = args.master.to_config()?;
    let listener = inherited::listener(config.listen)?;
    let work_dir = config.work_dir.clone();
    let stores = tokio::task::spawn_blocking(move || bourse_store_rocksdb::open(&work_dir))
        .await
        .context("opening the registry and the history")?;
    let stores = match stores {
        Ok(stores) => stores,
        // Whoever starts masters again tells by the status that this one only waits for its disk.
        Err(error @ (OpenError::NoRoom { .. } | OpenError::ReadOnly { .. })) => {
            say(format_args!("bourse: {:#}", anyhow::Error::from(error)));
            return Ok(ExitCode::from(EXIT_SYNC_FAILED));
        }
        Err(error) => return Err(error.into()),
    };
    let stop = shutdown::requested()?;
    match bourse_master::run(config, stores, listener, stop).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let code = exit_code(&error);
            say(format_args!("bourse: {:#}", anyhow::Error::from(error)));
            Ok(ExitCode::from(code))
        }
    }
}
