//! Reading a task's log, also while it grows.
//!
//! A follower looks every [`LOOK_AGAIN`] whether there is more: cheap, true on every file system, and nothing is lost
//! between a look and a watch. That the task has ended is asked before the last look, so the last line is never missed.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_agent_core::TaskKey;
use bourse_proto::agent_link::LogChunk;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

use crate::sandbox;
use crate::view::Views;

/// How often a follower looks for more.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The most bytes in one piece.
const CHUNK_MAX: usize = 64 * 1024;

type Chunks = mpsc::Sender<Result<LogChunk, Status>>;

/// One log of one task.
pub struct Log {
    task: TaskKey,
    /// `None`: the task is known and its sandbox is not made yet.
    path: Option<PathBuf>,
    work_dir: PathBuf,
    name: &'static str,
    views: Views,
}

impl Log {
    /// NOT_FOUND when neither the agent knows the task nor a sandbox of it is left.
    // The size is tonic's choice.
    #[allow(clippy::result_large_err)]
    pub fn find(work_dir: &Path, task: TaskKey, name: &'static str, views: Views) -> Result<Log, Status> {
        let log = Log { path: None, work_dir: work_dir.to_owned(), name, views, task };
        let path = log.look();
        if path.is_none() && log.is_over() {
            return Err(Status::not_found(format!(
                "this agent has no task {} of framework {} and no sandbox of it; see whether it ran here",
                log.task.task, log.task.framework
            )));
        }
        Ok(Log { path, ..log })
    }

    fn look(&self) -> Option<PathBuf> {
        let agent = self.views.borrow().agent.clone()?;
        let file = sandbox::latest(&self.work_dir, &agent, &self.task)?.join(self.name);
        file.symlink_metadata().is_ok().then_some(file)
    }

    /// No process of the task is left to write to it.
    fn is_over(&self) -> bool {
        self.views.borrow().tasks.get(&self.task).is_none_or(|task| task.ended)
    }

    /// Sends the log from an offset; a negative one counts from the end. With `follow` until the task has ended and all
    /// was sent, else until the present end.
    pub async fn send(mut self, offset: i64, follow: bool, chunks: &Chunks) -> Result<(), Status> {
        let mut open = None;
        let mut at = None;
        loop {
            let over = self.is_over();
            if open.is_none() {
                self.path = self.path.take().or_else(|| self.look());
                open = match &self.path {
                    Some(path) => Some(open_log(path).await?),
                    None => None,
                };
            }
            if let Some(file) = &mut open {
                let from = match at {
                    None => begin(offset, size(file).await?),
                    // The task has cut its own log: it goes on from the beginning.
                    Some(at) if size(file).await? < at => 0,
                    Some(at) => at,
                };
                match send_rest(file, from, chunks).await? {
                    Some(reached) => at = Some(reached),
                    None => return Ok(()),
                }
            }
            if over || !follow {
                return Ok(());
            }
            // Woken early by any change of any task, among them the end of this one.
            tokio::select! {
                () = chunks.closed() => return Ok(()),
                changed = timeout(LOOK_AGAIN, self.views.changed()) => {
                    if let Ok(Err(_)) = changed {
                        return Err(Status::unavailable("the agent is stopping; read on from where this ended"));
                    }
                }
            }
        }
    }
}

fn begin(offset: i64, size: u64) -> u64 {
    match u64::try_from(offset) {
        Ok(offset) => offset.min(size),
        Err(_) => size.saturating_sub(offset.unsigned_abs()),
    }
}

/// The task owns its sandbox and may have put anything in the place of its log, so links are not followed and nothing
/// but a plain file is read: the agent may read files that the task may not.
async fn open_log(path: &Path) -> Result<File, Status> {
    let refused = |why: String| Status::failed_precondition(format!("the log {} {why}", path.display()));
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path)
        .await
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    let about = file.metadata().await.map_err(|error| refused(format!("cannot be read: {error}")))?;
    if !about.is_file() {
        return Err(refused("is not a plain file; the task has replaced it".into()));
    }
    if about.nlink() > 1 {
        return Err(refused("has a second name; the task has replaced it".into()));
    }
    Ok(file)
}

async fn size(file: &File) -> Result<u64, Status> {
    file.metadata().await.map(|about| about.len()).map_err(unreadable)
}

/// Sends from the offset to the present end; comes back with where that was, or `None` when nobody listens any more.
async fn send_rest(file: &mut File, from: u64, chunks: &Chunks) -> Result<Option<u64>, Status> {
    file.seek(SeekFrom::Start(from)).await.map_err(unreadable)?;
    let mut at = from;
    loop {
        let mut data = bytes::BytesMut::with_capacity(CHUNK_MAX);
        let read = file.read_buf(&mut data).await.map_err(unreadable)?;
        if read == 0 {
            return Ok(Some(at));
        }
        if chunks.send(Ok(LogChunk { offset: at, data: data.freeze() })).await.is_err() {
            return Ok(None);
        }
        at += read as u64;
    }
}

fn unreadable(error: std::io::Error) -> Status {
    Status::internal(format!("the log cannot be read any more: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_offset_counts_from_the_end_and_none_goes_beyond_it() {
        assert_eq!(begin(0, 10), 0);
        assert_eq!(begin(4, 10), 4);
        assert_eq!(begin(11, 10), 10);
        assert_eq!(begin(-4, 10), 6);
        assert_eq!(begin(-11, 10), 0);
        assert_eq!(begin(i64::MIN, 10), 0);
    }

    #[tokio::test]
    async fn a_log_that_the_task_replaced_by_something_else_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "secret").expect("written");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&secret, &link).expect("linked");
        let hard = folder.path().join("hard");
        std::fs::hard_link(&secret, &hard).expect("linked");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        for path in [link, hard, pipe, folder.path().to_owned()] {
            open_log(&path).await.expect_err("refused");
        }
    }
}
