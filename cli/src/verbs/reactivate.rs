//! `bourse reactivate`: end a drain.

use bourse_proto::operator::ReactivateAgentRequest;

use crate::exit::refused;
use crate::session::Session;

/// End a drain: the agent is offered again
#[derive(clap::Args)]
pub struct Args {
    /// The agent: id, unique prefix or hostname
    agent: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = ReactivateAgentRequest { agent: args.agent.clone() };
    session.operator.reactivate_agent(request).await.map_err(refused)?;
    eprintln!("{} is offered again", args.agent);
    Ok(())
}
