//! `bourse agents`: the machines.

use bourse_proto::operator::{Amounts, ListAgentsRequest, ListAgentsResponse, ResourceReport};

use tonic::Status;

use super::list::{List, ListArgs, all_pages, show};
use crate::render::{Shorts, Table, ago, amounts, cell, left, used};
use crate::session::Session;

/// List agents: total, offered, allocated, used and available resources of each
#[derive(clap::Args)]
pub struct Args {
    /// Only this one: id, unique prefix or hostname
    agent: Option<String>,
    #[command(flatten)]
    list: ListArgs,
}

struct Agents(ListAgentsRequest);

impl List for Agents {
    type Answer = ListAgentsResponse;
    const KINDS: &'static [&'static str] = &["agent"];

    async fn fetch(&self, session: &mut Session) -> Result<ListAgentsResponse, Status> {
        let agents = all_pages(async |page| {
            let request = ListAgentsRequest { page, ..self.0.clone() };
            let answer = session.operator.list_agents(request).await?.into_inner();
            Ok((answer.agents, answer.next_page))
        });
        let agents = agents.await?;
        Ok(ListAgentsResponse { total: agents.len() as u32, agents, ..ListAgentsResponse::default() })
    }

    fn table(&self, answer: &ListAgentsResponse) -> Table {
        let columns = [
            "agent",
            "id",
            "state",
            "tasks",
            "total",
            "reserved",
            "offered",
            "allocated",
            "used",
            "available",
            "heard",
        ];
        let mut table = Table::new(&columns, "no agents; start one with: bourse agent");
        let shorts = Shorts::of(answer.agents.iter().map(|agent| agent.id.as_str()));
        for agent in &answer.agents {
            let resources = agent.resources.as_ref();
            let part = |pick: fn(&ResourceReport) -> &Option<Amounts>| {
                amounts(resources.and_then(|report| pick(report).as_ref()))
            };
            let state = match agent.drain_deadline_ms.filter(|_| agent.state == "draining") {
                Some(deadline) => format!("{} {} left", cell(&agent.state), left(deadline)),
                None => cell(&agent.state),
            };
            table.row([
                // Of one that is gone only the id is known.
                if agent.hostname.is_empty() { agent.id.clone() } else { agent.hostname.clone() },
                shorts.show(&agent.id).to_string(),
                state,
                agent.tasks.to_string(),
                part(|report| &report.total),
                part(|report| &report.reserved),
                part(|report| &report.offered),
                part(|report| &report.allocated),
                used(resources.and_then(|report| report.used.as_ref())),
                part(|report| &report.available),
                ago(agent.heard_ms),
            ]);
        }
        table
    }

    fn names(&self, answer: &ListAgentsResponse) -> Vec<String> {
        answer.agents.iter().map(|agent| agent.id.clone()).collect()
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let request = ListAgentsRequest { agent: args.agent.unwrap_or_default(), ..ListAgentsRequest::default() };
    show(Agents(request), args.list).await
}
