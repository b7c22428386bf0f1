//! `bourse drain`: empty an agent.

use std::time::Duration;

use bourse_proto::operator::{DrainAgentRequest, ListAgentsRequest};
use bourse_types::units;
use tokio::time::sleep;
use tonic::Code;

use super::patience::Patience;
use crate::exit::{Exit, failed, refused};
use crate::print::{done, say};
use crate::render::{Output, count, left};
use crate::session::Session;

/// How often a waiting drain looks.
const LOOK: Duration = Duration::from_millis(500);

/// Drain an agent: no more offers, frameworks hear the deadline, what still runs then is killed
///
/// Undone by: bourse reactivate AGENT
#[derive(clap::Args)]
pub struct Args {
    /// The agent: id, unique prefix or hostname; with --mark-gone its whole id or hostname
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
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
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
    let sentence = format!("draining {agent}: {tasks}, {} left{undo}", left(draining.deadline_ms));
    done(args.output, &draining, &draining.agent_id, sentence)?;
    match args.follow {
        true => until_empty(&mut session, draining.agent_id, args.mark_gone).await,
        false => Ok(()),
    }
}

/// Waits until the agent is drained, over restarts of the master, and says what still runs whenever that changes.
async fn until_empty(session: &mut Session, agent: String, mark_gone: bool) -> anyhow::Result<()> {
    let mut told = None;
    let mut patience = Patience::default();
    loop {
        let request = ListAgentsRequest { agent: agent.clone(), ..ListAgentsRequest::default() };
        let agents = match session.operator.list_agents(request).await {
            // Empty, and gone as it was asked for: then nothing is listed under its id.
            Err(status) if mark_gone && status.code() == Code::NotFound => return Ok(()),
            answer => patience.with(answer).await?,
        };
        let Some(agents) = agents else { continue };
        let found = agents.into_inner().agents.into_iter().next();
        let Some(agent) = found.filter(|it| it.drain_deadline_ms.is_some() || it.state == "drained") else {
            let message = format!(
                "the drain of {agent} was ended, by `bourse reactivate` or with the master's registry, and what runs \
                 there goes on; see: bourse agents {agent}"
            );
            return Err(failed(Exit::Conflict, message));
        };
        if agent.state == "drained" {
            return Ok(());
        }
        // Only one that is linked says that it drains; the others may come back, and still have a deadline.
        let away = match agent.state.as_str() {
            "draining" => String::new(),
            state => format!("; the agent is {state}"),
        };
        let left = format!("{} left to end{away}", count(agent.tasks, "task"));
        if told.as_ref() != Some(&left) {
            say(&left);
            told = Some(left);
        }
        sleep(LOOK).await;
    }
}
