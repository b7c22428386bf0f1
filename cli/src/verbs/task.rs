//! `bourse task`: one task's story.

use bourse_proto::operator::{ListTasksRequest, Task};
use bourse_proto::v1::TaskStatus;

use crate::exit::{Exit, failed, refused};
use crate::render::{Output, ago, amounts, cell, exit, json, mib, prose, short};
use crate::session::Session;

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
    let request = ListTasksRequest {
        task: args.task.clone(),
        framework: args.framework.unwrap_or_default(),
        completed: true,
        ..Default::default()
    };
    let tasks = session.operator.list_tasks(request).await.map_err(refused)?.into_inner().tasks;
    if tasks.is_empty() {
        let message = format!("no task is called {:?} or begins so; see: bourse ps -a", args.task);
        return Err(failed(Exit::NotFound, message));
    }
    for task in &tasks {
        match args.output {
            Output::Json => anstream::println!("{:#}", json(task)?),
            Output::Name => anstream::println!("{}", task.id),
            Output::Table => print(task),
        }
    }
    Ok(())
}

fn print(task: &Task) {
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            anstream::println!("{name:<11} {value}");
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
        let throttled = match used.throttled_seconds {
            0.0 => String::new(),
            seconds => format!(", throttled for {seconds:.1}s"),
        };
        let processes = match used.pids {
            1 => "1 process".to_string(),
            pids => format!("{pids} processes"),
        };
        let memory = format!("{} (peak {})", mib(used.mem_mib), mib(used.mem_peak_mib));
        line("used", &format!("{:.2} cpus, {memory}, {processes}{throttled}", used.cpus));
    }
    line("container", &task.container_id);
    if task.pid != 0 {
        line("pid", &format!("{} on {}", task.pid, task.hostname));
    }
    if !task.statuses.is_empty() {
        anstream::println!("\nstates, oldest first:");
        task.statuses.iter().for_each(|status| anstream::println!("  {}", told(status)));
    }
    anstream::println!("\nits output: bourse logs {}", task.id);
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
