//! `bourse gone`: the machine will never come back.

use bourse_proto::operator::MarkAgentGoneRequest;

use crate::exit::refused;
use crate::print::done;
use crate::render::Output;
use crate::session::Session;

/// Mark an agent gone: its machine will never come back, its tasks are told as gone; this cannot be undone
#[derive(clap::Args)]
pub struct Args {
    /// The agent: its whole id or hostname
    agent: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = MarkAgentGoneRequest { agent: args.agent.clone() };
    let gone = session.operator.mark_agent_gone(request).await.map_err(refused)?.into_inner();
    let id = &gone.agent_id;
    let sentence =
        format!("{} ({id}) is gone; should it ever come back, it is told to shut down", args.agent);
    done(args.output, &gone, id, sentence)
}
