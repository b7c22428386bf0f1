//! `bourse reactivate`: end a drain.

use bourse_proto::operator::ReactivateAgentRequest;

use crate::exit::refused;
use crate::print::done;
use crate::render::Output;
use crate::session::Session;

/// End a drain: the agent is offered again
#[derive(clap::Args)]
pub struct Args {
    /// The agent: id, unique prefix or hostname
    agent: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let request = ReactivateAgentRequest { agent: args.agent.clone() };
    let active = session.operator.reactivate_agent(request).await.map_err(refused)?.into_inner();
    done(args.output, &active, &active.agent_id, format_args!("{} is offered again", args.agent))
}
