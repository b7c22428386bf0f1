//! `bourse teardown`: end a framework.

use bourse_proto::operator::TeardownFrameworkRequest;

use crate::exit::refused;
use crate::session::Session;

/// Tear a framework down: all its tasks are killed, and its id is never accepted again
#[derive(clap::Args)]
pub struct Args {
    /// The framework: id, unique prefix or name
    framework: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = TeardownFrameworkRequest { framework: args.framework.clone() };
    let done = session.operator.teardown_framework(request).await.map_err(refused)?.into_inner();
    eprintln!("{} ({}) is torn down; its tasks are being killed", args.framework, done.framework_id);
    Ok(())
}
