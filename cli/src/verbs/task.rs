//! `bourse task`: one task's story.

use bourse_proto::operator::{ListTasksRequest, Task};
use bourse_proto::v1::TaskStatus;

use crate::exit::{Exit, failed, refused};
use crate::print::{document, lines, out};
use crate::render::{Output, ago, amounts, cell, exit, memory_bounds, mib, prose, short, throttled, usage};
use crate::session::Session;

/// At most this many candidates are listed in an error.
const LISTED: usize = 8;

/// Tell one task's story: state, why, since when, on which agent, what it uses
#[derive(clap::Args)]
pub struct Args {
    /// The task: id, unique prefix or name
    task: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// Only this framework's task: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut session = Session::open(&args.master).await?;
    let task = find(args.task, args.framework.unwrap_or_default(), &mut session).await?;
    match args.output {
        Output::Json => document(&task),
        Output::Name => out(task.id),
        Output::Table => lines(story(&task)),
    }
}

/// The one task that a text names, by the rule of every other verb: the one that is alive, or else the last that was.
async fn find(text: String, framework: String, session: &mut Session) -> anyhow::Result<Task> {
    let mut request = ListTasksRequest { task: text, framework, ..Default::default() };
    let alive = list(request.clone(), session).await?;
    if !alive.is_empty() {
        return one(&request.task, alive);
    }
    request.completed = true;
    let mut ended = list(request.clone(), session).await?;
    // The same task again and again is the usual case of several: the last time counts.
    if ended.windows(2).all(|pair| pair[0].name == pair[1].name) {
        ended.sort_by_key(|task| task.changed_ms);
        ended.drain(..ended.len().saturating_sub(1));
    }
    one(&request.task, ended)
}

async fn list(request: ListTasksRequest, session: &mut Session) -> anyhow::Result<Vec<Task>> {
    Ok(session.operator.list_tasks(request).await.map_err(refused)?.into_inner().tasks)
}

fn one(text: &str, mut found: Vec<Task>) -> anyhow::Result<Task> {
    match found.len() {
        0 => {
            let message = format!("no task is called {text:?} or begins so; see: bourse ps -a");
            Err(failed(Exit::NotFound, message))
        }
        1 => Ok(found.remove(0)),
        several => {
            let listed: Vec<&str> = found.iter().take(LISTED).map(|task| task.id.as_str()).collect();
            let more = match several.saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "{text:?} could be any of these tasks: {}{more}; give more of it, or its --framework",
                listed.join(", ")
            );
            Err(failed(Exit::Usage, message))
        }
    }
}

fn story(task: &Task) -> Vec<String> {
    let mut story = Vec::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            story.push(format!("{name:<11} {value}"));
        }
    };
    line("task", &task.id);
    line("name", &task.name);
    line("state", &format!("{}, for {}", cell(&task.state), ago(task.changed_ms)));
    line("reason", &task.reason);
    line("message", &prose(&task.message));
    if task.exit.is_some() {
        line("exit", &exit(task));
    }
    if let Some(healthy) = task.healthy {
        line("healthy", if healthy { "yes" } else { "no" });
    }
    line("framework", &format!("{} ({})", task.framework_name, short(&task.framework_id)));
    line("agent", &format!("{} ({})", task.hostname, short(&task.agent_id)));
    line("role", &task.role);
    line("command", &task.command);
    line("allocated", &amounts(task.allocated.as_ref()));
    if let Some(used) = &task.used {
        let throttled = throttled(used).map_or_else(String::new, |said| format!(", {said}"));
        let bounds = memory_bounds(used).map_or_else(String::new, |said| format!(" ({said})"));
        let memory = format!("{}{bounds}", mib(used.mem_mib));
        let disk = match (used.disk_mib, used.disk_limit_mib) {
            (None, _) => String::new(),
            (Some(held), None) => format!(", {} on disk", mib(held)),
            (Some(held), Some(most)) => format!(", {} on disk (at most {})", mib(held), mib(most)),
        };
        line("used", &format!("{:.2} cpus, {memory}{disk}{throttled}", used.cpus));
        usage(used).iter().for_each(|(name, said)| line(name, said));
    }
    line("container", &task.container_id);
    if task.pid != 0 {
        line("pid", &format!("{} on {}", task.pid, task.hostname));
    }
    if !task.statuses.is_empty() {
        story.push("\nstates, oldest first:".into());
        story.extend(task.statuses.iter().map(|status| format!("  {}", told(status))));
    }
    story.push(format!("\nits output: bourse logs {}", task.id));
    story
}

fn told(status: &TaskStatus) -> String {
    let at = status.timestamp.map_or(0, |seconds| (seconds * 1000.0) as u64);
    let mut text = format!("{:>5} ago  {}", ago(at), cell(status.state().as_str_name()));
    if status.reason.is_some() {
        text += &format!("  {}", status.reason().as_str_name());
    }
    if let Some(message) = status.message.as_ref().filter(|message| !message.is_empty()) {
        text += &format!("  {message}");
    }
    text
}
