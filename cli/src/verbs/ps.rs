//! `bourse ps`: the tasks.

use bourse_proto::operator::{ListTasksRequest, ListTasksResponse, Task};

use tonic::Status;

use super::list::{List, ListArgs, all_pages, show};
use crate::render::{Table, ago, amounts, cell, count, exit, mib};
use crate::session::Session;

/// List tasks
///
/// Examples:
///   bourse ps                        what runs or is about to
///   bourse ps -a                     also what has ended
///   bourse ps --agent node-2 -f      one agent's tasks, drawn again when something changes
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Only tasks with this id, prefix of one, or name
    task: Option<String>,
    /// Also tasks that have ended
    #[arg(short, long)]
    all: bool,
    /// Only this framework's: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    /// Only this agent's: id, unique prefix or hostname
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only in this state, for instance TASK_RUNNING; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
}

struct Tasks(ListTasksRequest);

impl List for Tasks {
    type Answer = ListTasksResponse;
    const KINDS: &'static [&'static str] = &["task", "agent"];

    async fn fetch(&self, session: &mut Session) -> Result<ListTasksResponse, Status> {
        let mut agents_awaited = 0;
        let tasks = all_pages(async |page| {
            let request = ListTasksRequest { page, ..self.0.clone() };
            let answer = session.operator.list_tasks(request).await?.into_inner();
            agents_awaited = answer.agents_awaited;
            Ok((answer.tasks, answer.next_page))
        });
        let tasks = tasks.await?;
        Ok(ListTasksResponse { tasks, agents_awaited, ..ListTasksResponse::default() })
    }

    fn table(&self, answer: &ListTasksResponse) -> Table {
        let columns = ["task", "framework", "agent", "state", "allocated", "cpu", "memory", "exit", "since"];
        let empty = match answer.agents_awaited {
            0 => "no tasks; try: bourse run -- echo hello",
            _ => "no tasks yet",
        };
        let mut table = Table::new(&columns, empty);
        for task in &answer.tasks {
            table.row(row(task));
        }
        table
    }

    fn note(&self, answer: &ListTasksResponse) -> Option<String> {
        let awaited = (answer.agents_awaited > 0).then(|| count(answer.agents_awaited, "agent"))?;
        Some(format!(
            "the master was restarted, and {awaited} and what runs there have not come back to it; see: bourse agents"
        ))
    }

    fn names(&self, answer: &ListTasksResponse) -> Vec<String> {
        answer.tasks.iter().map(|task| task.id.clone()).collect()
    }
}

fn row(task: &Task) -> [String; 9] {
    let state = match task.healthy {
        Some(false) => format!("{} (unhealthy)", cell(&task.state)),
        _ => cell(&task.state),
    };
    let used = task.used.as_ref();
    [
        task.id.clone(),
        task.framework_name.clone(),
        task.hostname.clone(),
        state,
        amounts(task.allocated.as_ref()),
        used.map_or("-".into(), |used| format!("{:.2}", used.cpus)),
        used.map_or("-".into(), |used| mib(used.mem_mib)),
        exit(task),
        ago(task.changed_ms),
    ]
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let request = ListTasksRequest {
        task: args.task.unwrap_or_default(),
        framework: args.framework.unwrap_or_default(),
        agent: args.agent.unwrap_or_default(),
        states: args.state,
        completed: args.all,
        ..Default::default()
    };
    show(Tasks(request), args.list).await
}
