//! `bourse kill`: end a task.

use bourse_proto::operator::KillTaskRequest;
use bourse_types::units;

use crate::exit::{Exit, failed, refused};
use crate::print::done;
use crate::render::Output;
use crate::session::Session;

/// Kill a task: SIGTERM, its grace, SIGKILL
///
/// Its framework hears of it as of any end, and may start another. Repeating it with a shorter grace shortens the wait.
#[derive(clap::Args)]
pub struct Args {
    /// The task: id, unique prefix or name
    task: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// Only this framework's task: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    /// Instead of the task's own grace, for instance 30s or 0s
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let grace = args.grace.as_deref().map(units::parse_duration).transpose();
    let grace = grace.map_err(|error| failed(Exit::Usage, format!("--grace: {error}")))?;
    let mut session = Session::open(&args.master).await?;
    let request = KillTaskRequest {
        task: args.task,
        framework: args.framework.unwrap_or_default(),
        grace_seconds: grace.map(|grace| grace.as_secs_f64()),
    };
    let killing = session.operator.kill_task(request).await.map_err(refused)?.into_inner();
    let sentence = format!("killing {0}; see: bourse task {0}", killing.task_id);
    done(args.output, &killing, &killing.task_id, sentence)
}
