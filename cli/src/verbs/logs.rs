//! `bourse logs`: what a task wrote.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bourse_proto::agent_link::{LogChunk, LogStream};
use bourse_proto::operator::ReadTaskLogRequest;
use clap::ValueEnum;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::exit::refused;
use crate::print::{out, say};
use crate::render::json;
use crate::session::Session;

/// How long a log that is followed may be out of reach. An agent is back within seconds of its restart.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon it is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Print a task's output, from whichever machine it is on
///
/// Examples:
///   bourse logs web.0 -f             go on as it writes, until it ends
///   bourse logs web.0 --stderr       only its standard error
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The task: id, unique prefix or name
    task: String,
    #[command(flatten)]
    master: bourse_client::ClientArgs,
    /// Only this framework's task: id, unique prefix or name
    #[arg(long, value_name = "FRAMEWORK")]
    framework: Option<String>,
    /// Only standard error; without it both, each to its own stream here
    #[arg(long, conflicts_with = "stdout")]
    stderr: bool,
    /// Only standard output
    #[arg(long)]
    stdout: bool,
    /// Go on until the task has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last BYTES bytes of each stream
    #[arg(long, value_name = "BYTES")]
    tail: Option<u32>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

/// How a log is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// As it was written, each stream to its own.
    #[default]
    Text,
    /// A line for each piece: its stream, its offset, and its bytes in Base64.
    Json,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let session = Session::open(&args.master).await?;
    let request = ReadTaskLogRequest {
        task: args.task,
        framework: args.framework.unwrap_or_default(),
        stream: LogStream::Unspecified as i32,
        offset: args.tail.map_or(0, |bytes| -i64::from(bytes)),
        follow: args.follow,
    };
    let progress = Progress::default();
    let some = |wanted: bool, stream| {
        let (session, request, progress) = (&session, &request, &progress);
        async move { if wanted { copy(session, request, stream, args.output, progress).await } else { Ok(()) } }
    };
    tokio::try_join!(some(!args.stderr, LogStream::Stdout), some(!args.stdout, LogStream::Stderr))?;
    Ok(())
}

/// How far copying has come, for whoever waits for its end: pieces that came, and pieces that were written.
#[derive(Debug, Default)]
pub struct Progress {
    came: AtomicU64,
    written: AtomicU64,
}

impl Progress {
    /// Grows with every piece.
    pub fn count(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// A piece has come that our own reader has not taken yet.
    pub fn is_writing(&self) -> bool {
        self.came.load(Ordering::Relaxed) != self.count()
    }
}

/// Copies one stream of a log to the same stream of ours, to its end. When the way to it breaks while it is followed
/// (the agent or the master is started anew, say), it goes on where it was.
pub async fn copy(
    session: &Session,
    request: &ReadTaskLogRequest,
    stream: LogStream,
    form: Form,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut request = ReadTaskLogRequest { stream: stream as i32, ..request.clone() };
    let mut broken_since = None;
    let mut was_there = false;
    loop {
        let offset = request.offset;
        let copied = copy_until_broken(session, &mut request, &mut was_there, form, progress).await;
        let Err(error) = copied.context("writing the task's output")? else {
            return Ok(());
        };
        if request.offset != offset {
            broken_since = None;
        }
        let since = *broken_since.get_or_insert_with(Instant::now);
        if !request.follow || !may_pass(&error, was_there) || since.elapsed() > PATIENCE {
            return Err(refused(error));
        }
        sleep(RETRY).await;
    }
}

/// Copies as far as it goes, moves the request's offset along, and notes that there is such a log. The outer failure is
/// of our own output.
async fn copy_until_broken(
    session: &Session,
    request: &mut ReadTaskLogRequest,
    was_there: &mut bool,
    form: Form,
    progress: &Progress,
) -> anyhow::Result<Result<(), tonic::Status>> {
    let mut chunks = match session.operator.clone().read_log(request.clone()).await {
        Ok(answer) => answer.into_inner(),
        Err(error) => return Ok(Err(error)),
    };
    *was_there = true;
    loop {
        let chunk = match chunks.message().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        // Whoever reads our output may take his time, and must not hold a thread that others wait for.
        progress.came.fetch_add(1, Ordering::Relaxed);
        if let Ok(wanted) = u64::try_from(request.offset)
            && let gone @ 1.. = chunk.offset.saturating_sub(wanted)
        {
            let stream = name(request.stream());
            say(format!(
                "{gone} bytes of {stream} from {wanted} on are gone: the agent keeps the newest files of a log"
            ));
        }
        match request.stream() {
            stream if form == Form::Json => tokio::task::block_in_place(|| out(line(stream, &chunk)?))?,
            LogStream::Stderr => {
                let mut out = tokio::io::stderr();
                out.write_all(&chunk.data).await?;
                out.flush().await?;
            }
            LogStream::Stdout | LogStream::Unspecified => {
                let mut out = tokio::io::stdout();
                out.write_all(&chunk.data).await?;
                out.flush().await?;
            }
        }
        progress.written.fetch_add(1, Ordering::Relaxed);
        request.offset = (chunk.offset + chunk.data.len() as u64) as i64;
    }
}

fn name(stream: LogStream) -> &'static str {
    if stream == LogStream::Stderr { "stderr" } else { "stdout" }
}

/// A piece of a log as JSON, with the stream that it is of.
fn line(stream: LogStream, chunk: &LogChunk) -> anyhow::Result<serde_json::Value> {
    let mut line = json(chunk)?;
    line["stream"] = stream.as_str_name().into();
    Ok(line)
}

/// Whether trying again may help. A master that was started anew knows no task until its agent has told it: one that was
/// there is there again in a moment.
fn may_pass(error: &tonic::Status, was_there: bool) -> bool {
    match error.code() {
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::Unknown | Code::Internal => true,
        Code::NotFound => was_there,
        _ => false,
    }
}
