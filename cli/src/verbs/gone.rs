//! `bourse gone`: the machine will never come back.

use bourse_proto::operator::MarkAgentGoneRequest;

use crate::exit::refused;
use crate::session::Session;

/// Mark an agent gone: its machine will never come back, its tasks are told as gone; this cannot be undone
#[derive(clap::Args)]
pub struct Args {
    /// The agent: its whole id or hostname
    agent: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = MarkAgentGoneRequest { agent: args.agent.clone() };
    let done = session.operator.mark_agent_gone(request).await.map_err(refused)?.into_inner();
    eprintln!(
        "{} ({}) is gone; should it ever come back, it is told to shut down",
        args.agent, done.agent_id
    );
    Ok(())
}
