//! `bourse logs`: what a task wrote.

use std::io::Write;

use bourse_proto::agent_link::{LogChunk, LogStream};
use bourse_proto::operator::ReadTaskLogRequest;
use tonic::Streaming;

use crate::exit::refused;
use crate::session::Session;

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
    /// Only the last so many bytes
    #[arg(long, value_name = "BYTES")]
    tail: Option<u32>,
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
    let stdout = async {
        match args.stderr {
            true => Ok(()),
            false => copy(LogStream::Stdout, open(&session, &request, LogStream::Stdout).await?).await,
        }
    };
    let stderr = async {
        match args.stdout {
            true => Ok(()),
            false => copy(LogStream::Stderr, open(&session, &request, LogStream::Stderr).await?).await,
        }
    };
    tokio::try_join!(stdout, stderr)?;
    Ok(())
}

/// Asks for one stream of a log.
pub async fn open(
    session: &Session,
    request: &ReadTaskLogRequest,
    stream: LogStream,
) -> anyhow::Result<Streaming<LogChunk>> {
    let request = ReadTaskLogRequest { stream: stream as i32, ..request.clone() };
    Ok(session.operator.clone().read_log(request).await.map_err(refused)?.into_inner())
}

/// Copies one stream of a log to the same stream of ours, to its end.
pub async fn copy(stream: LogStream, mut chunks: Streaming<LogChunk>) -> anyhow::Result<()> {
    while let Some(chunk) = chunks.message().await.map_err(refused)? {
        match stream {
            LogStream::Stderr => std::io::stderr().write_all(&chunk.data)?,
            _ => {
                let mut out = std::io::stdout().lock();
                out.write_all(&chunk.data)?;
                out.flush()?;
            }
        }
    }
    Ok(())
}
