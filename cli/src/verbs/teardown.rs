//! `bourse teardown`: end a framework.

use bourse_proto::operator::TeardownFrameworkRequest;

use crate::exit::refused;
use crate::print::done;
use crate::render::Output;
use crate::session::Session;

/// Tear a framework down: all its tasks are killed, its id is never accepted again; this cannot be undone
#[derive(clap::Args)]
pub struct Args {
    /// The framework: its whole id or name
    framework: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = TeardownFrameworkRequest { framework: args.framework.clone() };
    let torn_down = session.operator.teardown_framework(request).await.map_err(refused)?.into_inner();
    let id = &torn_down.framework_id;
    let sentence = format!("{} ({id}) is torn down; its tasks are being killed", args.framework);
    done(args.output, &torn_down, id, sentence)
}
