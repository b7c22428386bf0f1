//! Reading a task's log, also while it grows and over the files that it is in.
//!
//! A follower looks every [`LOOK_AGAIN`] whether there is more: cheap, true on every file system, and nothing is lost
//! between a look and a watch. That the task has ended is asked before the last look, so the last line is never missed.

mod parts;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_agent_core::TaskKey;
use bourse_proto::agent_link::LogChunk;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::Status;

use self::parts::{Aside, Current, Parts};
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
    sandbox: Option<PathBuf>,
    work_dir: PathBuf,
    name: &'static str,
    views: Views,
}

impl Log {
    /// NOT_FOUND when neither the agent knows the task nor a sandbox of it is left.
    // The size is tonic's choice.
    #[allow(clippy::result_large_err)]
    pub fn find(work_dir: &Path, task: TaskKey, name: &'static str, views: Views) -> Result<Log, Status> {
        let log = Log { sandbox: None, work_dir: work_dir.to_owned(), name, views, task };
        let sandbox = log.look();
        if sandbox.is_none() && log.is_over() {
            return Err(Status::not_found(format!(
                "this agent has no task {} of framework {} and no sandbox of it; see whether it ran here",
                log.task.task, log.task.framework
            )));
        }
        Ok(Log { sandbox, ..log })
    }

    fn look(&self) -> Option<PathBuf> {
        let agent = self.views.borrow().agent.clone()?;
        sandbox::latest(&self.work_dir, &agent, &self.task)
    }

    /// No process of the task is left to write to it.
    fn is_over(&self) -> bool {
        self.views.borrow().tasks.get(&self.task).is_none_or(|task| task.ended)
    }

    /// Sends the log from an offset; a negative one counts from the end, and what is gone is left out. With `follow` until
    /// the task has ended and all was sent, else until the present end.
    pub async fn send(mut self, offset: i64, follow: bool, chunks: &Chunks) -> Result<(), Status> {
        let mut reader = Reader::from(offset);
        loop {
            let over = self.is_over();
            self.sandbox = self.sandbox.take().or_else(|| self.look());
            if let Some(sandbox) = self.sandbox.clone() {
                loop {
                    let (name, sandbox) = (self.name, sandbox.clone());
                    // Files have no other way of waiting than a thread that does. Readers wait without one.
                    let read = spawn_blocking(move || {
                        let chunk = reader.next(&sandbox, name);
                        (reader, chunk)
                    });
                    let (now, chunk) = read.await.map_err(|panic| Status::internal(panic.to_string()))?;
                    reader = now;
                    let Some(chunk) = chunk.map_err(|error| self.unreadable(&error))? else { break };
                    if chunks.send(Ok(chunk)).await.is_err() {
                        return Ok(());
                    }
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

    fn unreadable(&self, error: &io::Error) -> Status {
        let path = self.sandbox.as_deref().unwrap_or(Path::new("")).join(self.name);
        Status::failed_precondition(format!("the log {} cannot be read: {error}", path.display()))
    }
}

/// How far a log was read.
struct Reader {
    /// Where to begin, as it was asked for.
    offset: i64,
    /// What comes next; `None` before the beginning was found.
    at: Option<u64>,
    /// Parts that were put aside and are yet to be read.
    aside: VecDeque<Aside>,
    /// The one of them that is being read, with the offset of its first byte.
    open: Option<(File, u64)>,
    /// The part that was written at the last look; it is read after all others.
    current: Option<Current>,
}

impl Reader {
    fn from(offset: i64) -> Reader {
        Reader { offset, at: None, aside: VecDeque::new(), open: None, current: None }
    }

    /// The next piece; `None` when there is no more now.
    fn next(&mut self, sandbox: &Path, name: &str) -> io::Result<Option<LogChunk>> {
        loop {
            if let Some((file, start)) = &mut self.open {
                match piece(file, *start, &mut self.at)? {
                    Some(piece) => return Ok(Some(piece)),
                    None => self.open = None,
                }
            } else if let Some(part) = self.aside.pop_front() {
                self.open = match parts::open(&part.path) {
                    // It has gone meanwhile, as others have before it.
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    file => Some((file?, part.start)),
                };
            } else if let Some(current) = &mut self.current {
                // Asked first: what is put aside was written to its end by then.
                let put_aside = current.was_put_aside()?;
                match piece(&mut current.file, current.start, &mut self.at)? {
                    Some(piece) => return Ok(Some(piece)),
                    None if put_aside => self.current = None,
                    None => return Ok(None),
                }
            } else if !self.find(sandbox, name)? {
                return Ok(None);
            }
        }
    }

    /// Takes up the parts that are not read yet; tells whether there is one.
    fn find(&mut self, sandbox: &Path, name: &str) -> io::Result<bool> {
        let parts = Parts::find(sandbox, name)?;
        if parts.aside.is_empty() && parts.current.is_none() {
            return Ok(false);
        }
        let end = parts.end()?;
        let at = self.at.unwrap_or_else(|| begin(self.offset, end));
        self.at = Some(at);
        self.aside = parts.aside.into_iter().filter(|part| part.end > at).collect();
        self.current = parts.current;
        Ok(!self.aside.is_empty() || self.current.is_some())
    }
}

fn begin(offset: i64, end: u64) -> u64 {
    match u64::try_from(offset) {
        Ok(offset) => offset.min(end),
        Err(_) => end.saturating_sub(offset.unsigned_abs()),
    }
}

/// Reads on in a part whose first byte has this offset in the log, and moves `at` along; `None` at its end.
fn piece(file: &mut File, start: u64, at: &mut Option<u64>) -> io::Result<Option<LogChunk>> {
    let skip = at.unwrap_or(0).saturating_sub(start);
    // A task that has cut its own log goes on from the beginning.
    let skip = if skip > file.metadata()?.len() { 0 } else { skip };
    file.seek(SeekFrom::Start(skip))?;
    let mut data = Vec::with_capacity(CHUNK_MAX);
    file.by_ref().take(CHUNK_MAX as u64).read_to_end(&mut data)?;
    let offset = start.saturating_add(skip);
    *at = Some(offset.saturating_add(data.len() as u64));
    Ok((!data.is_empty()).then(|| LogChunk { offset, data: Bytes::from(data) }))
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    /// What one more look brings: the offset of its first byte, and its text.
    fn look(reader: &mut Reader, sandbox: &Path) -> (u64, String) {
        let (mut first, mut text) = (None, String::new());
        while let Some(chunk) = reader.next(sandbox, "stdout").expect("readable") {
            assert_eq!(*first.get_or_insert(chunk.offset) + text.len() as u64, chunk.offset);
            text += std::str::from_utf8(&chunk.data).expect("text");
        }
        (first.unwrap_or(0), text)
    }

    #[test]
    fn a_log_is_read_over_the_files_that_it_is_in_and_what_is_gone_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
        write("stdout.4", "456");
        write("stdout.7", "789");
        write("stdout", "ABC");
        assert_eq!(look(&mut Reader::from(0), folder.path()), (4, "456789ABC".into()));
        assert_eq!(look(&mut Reader::from(8), folder.path()), (8, "89ABC".into()));
        assert_eq!(look(&mut Reader::from(-5), folder.path()), (8, "89ABC".into()));
        assert_eq!(look(&mut Reader::from(99), folder.path()), (0, String::new()));
    }

    #[test]
    fn a_follower_sees_each_byte_once_while_the_log_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let append = |text: &str| {
            let mut file =
                fs::OpenOptions::new().append(true).create(true).open(path("stdout")).expect("opened");
            io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        };
        let mut follower = Reader::from(0);
        assert_eq!(look(&mut follower, folder.path()), (0, String::new()));
        append("01");
        assert_eq!(look(&mut follower, folder.path()), (0, "01".into()));
        append("23");
        fs::rename(path("stdout"), path("stdout.0")).expect("moved");
        append("45");
        assert_eq!(look(&mut follower, folder.path()), (2, "2345".into()));
        // Two at once, of which the first is gone before anybody looks.
        append("6");
        fs::remove_file(path("stdout.0")).expect("removed");
        fs::rename(path("stdout"), path("stdout.4")).expect("moved");
        append("789");
        fs::rename(path("stdout"), path("stdout.7")).expect("moved");
        append("A");
        assert_eq!(look(&mut follower, folder.path()), (6, "6789A".into()));
        append("B");
        assert_eq!(look(&mut follower, folder.path()), (11, "B".into()));
    }

    #[test]
    fn a_log_that_the_task_cut_goes_on_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("stdout"), "a long line").expect("writable");
        let mut follower = Reader::from(0);
        look(&mut follower, folder.path());
        fs::write(folder.path().join("stdout"), "new").expect("writable");
        assert_eq!(look(&mut follower, folder.path()), (0, "new".into()));
    }
}
