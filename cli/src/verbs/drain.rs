//! `bourse drain`: empty an agent.

use std::time::Duration;

use bourse_proto::operator::{DrainAgentRequest, ListAgentsRequest};
use bourse_types::units;

use crate::exit::{Exit, failed, refused};
use crate::render::{count, left};
use crate::session::Session;

/// How often a waiting drain looks.
const LOOK: Duration = Duration::from_millis(500);

/// Drain an agent: no more offers, frameworks hear the deadline, what still runs then is killed
///
/// Undone by: bourse reactivate AGENT
#[derive(clap::Args)]
pub struct Args {
    /// The agent: id, unique prefix or hostname
    agent: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// How long tasks may go on, for instance 10m
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    deadline: String,
    /// Mark the agent gone once it is empty; this cannot be undone
    #[arg(long)]
    mark_gone: bool,
    /// Wait until the agent is empty
    #[arg(short, long)]
    follow: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let deadline = units::parse_duration(&args.deadline)
        .map_err(|error| failed(Exit::Usage, format!("--deadline: {error}")))?;
    let mut session = Session::open(&args.master).await?;
    let request = DrainAgentRequest {
        agent: args.agent.clone(),
        deadline_seconds: deadline.as_secs_f64(),
        mark_gone: args.mark_gone,
    };
    let draining = session.operator.drain_agent(request).await.map_err(refused)?.into_inner();
    let (agent, tasks) = (&args.agent, count(draining.tasks, "task"));
    let undo = match args.mark_gone {
        true => String::new(),
        false => format!("; undo with: bourse reactivate {agent}"),
    };
    eprintln!("draining {agent}: {tasks}, {} left{undo}", left(draining.deadline_ms));
    if args.follow { until_empty(&mut session, draining.agent_id).await } else { Ok(()) }
}

/// Waits until the agent drains no more, and says what still runs whenever that changes.
async fn until_empty(session: &mut Session, agent: String) -> anyhow::Result<()> {
    let mut told = None;
    loop {
        let request = ListAgentsRequest { agent: agent.clone() };
        let agents = session.operator.list_agents(request).await.map_err(refused)?.into_inner().agents;
        let Some(agent) = agents.first().filter(|agent| agent.state == "draining") else { return Ok(()) };
        if told.replace(agent.tasks) != Some(agent.tasks) {
            eprintln!("{} left to end", count(agent.tasks, "task"));
        }
        tokio::time::sleep(LOOK).await;
    }
}
