//! What a task writes: its end on the page, the rest as it comes, the whole as a file.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Extensions, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bourse_proto::agent_link::{LogChunk, LogStream};
use bourse_proto::operator::Task;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::live::{QUEUE, TOO_MANY, end_of_driver, event, refused};
use super::site::{Site, Viewer};
use super::{trouble, view};

/// How much of the end of a log comes with the page, in bytes.
const TAIL: i64 = 64 * 1024;

/// An agent has this long to send it before the page is shown without.
const PATIENCE: Duration = Duration::from_secs(2);

/// A task's logs by their names.
const LOGS: [(&str, LogStream); 2] = [("stdout", LogStream::Stdout), ("stderr", LogStream::Stderr)];

/// The end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// It, from the beginning of a line.
    pub text: String,
    /// Where it ends, in bytes from the beginning of the log.
    pub end: u64,
    /// Whether there is more before it.
    pub cut: bool,
    /// Why it is not here.
    pub trouble: Option<String>,
}

impl Tail {
    fn of(chunks: &[LogChunk]) -> Tail {
        let Some(first) = chunks.first() else { return Tail::default() };
        let bytes = chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect::<Vec<_>>();
        let mut decoder = Decoder::default();
        let mut text = decoder.text(&bytes);
        let cut = first.offset > 0;
        if cut && let Some(line) = text.find('\n') {
            text.drain(..=line);
        }
        let end = first.offset + (bytes.len() - decoder.held()) as u64;
        Tail { text, end, cut, trouble: None }
    }
}

/// Makes text of bytes that come in pieces: a character that was cut in two waits for its second half.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// What can be read now. Bytes that are no UTF-8 become replacement characters.
    pub fn text(&mut self, data: &[u8]) -> String {
        self.held.extend_from_slice(data);
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    let Some(wrong) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[wrong..];
                }
            }
        }
        self.held = rest.to_vec();
        text
    }

    /// What a chunk adds to what was read before.
    fn written(&mut self, chunk: &LogChunk) -> Written {
        let text = self.text(&chunk.data);
        // What is held may have begun in an earlier chunk.
        let end = (chunk.offset + chunk.data.len() as u64).saturating_sub(self.held() as u64);
        Written { text, end, ended: false }
    }

    /// Bytes that wait for the rest of their character.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// The end of one of a task's logs, or why it cannot be read.
pub async fn tail(site: &Site, who: &Viewer, task: &Task, stream: LogStream) -> Tail {
    let read = async {
        let chunks = site.log(who, &task.framework_id, &task.id, stream, -TAIL, false).await?;
        chunks.collect::<Result<Vec<_>, _>>().await
    };
    match timeout(PATIENCE, read).await {
        Ok(Ok(chunks)) => Tail::of(&chunks),
        Ok(Err(status)) => Tail { trouble: Some(status.message().to_owned()), ..Tail::default() },
        Err(_) => {
            let agent = if task.hostname.is_empty() { &task.agent_id } else { &task.hostname };
            let trouble = format!("agent {agent} did not send it within {} s", PATIENCE.as_secs());
            Tail { trouble: Some(trouble), ..Tail::default() }
        }
    }
}

/// One of a task's logs, whole, as a file.
pub async fn file(
    State(site): State<Arc<Site>>,
    Path((framework, task, name)): Path<(String, String, String)>,
    extensions: Extensions,
) -> Response {
    let Some((_, stream)) = LOGS.iter().find(|(known, _)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match site.log(&Viewer(extensions), &framework, &task, *stream, 0, false).await {
        Ok(chunks) => whole(chunks),
        Err(status) => (trouble::code(&status), format!("{}\n", status.message())).into_response(),
    }
}

/// What comes of a log: the event's name is the log's.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Written {
    text: String,
    /// Where to go on from.
    end: u64,
    /// The task has ended, and this was all.
    ended: bool,
}

/// What a task writes from these offsets on, as events: `?stdout=OFFSET&stderr=OFFSET`, one of them or both. In one
/// stream, as a browser has no more than six connections to a host for all of its windows.
pub async fn follow(
    State(site): State<Arc<Site>>,
    Path((framework, task)): Path<(String, String)>,
    uri: Uri,
    extensions: Extensions,
) -> Response {
    let Ok(permit) = site.viewers.clone().try_acquire_owned() else {
        return refused(LOGS.map(|(name, _)| event("trouble", (name, TOO_MANY))));
    };
    let who = Viewer(extensions);
    let (sender, events) = mpsc::channel(QUEUE);
    let stopped = end_of_driver(site.doors.driver.pictures());
    tokio::spawn(async move {
        let _permit = permit;
        let one = async |name: &'static str, stream: LogStream| {
            let Ok(offset) = view::value(uri.query(), name).parse::<u64>() else { return };
            let from = i64::try_from(offset).unwrap_or(i64::MAX);
            let ended = match site.log(&who, &framework, &task, stream, from, true).await {
                Ok(chunks) => tell(name, chunks, offset, &sender).await,
                Err(status) => Err(status),
            };
            if let Err(status) = ended {
                // Whoever has gone away need not hear why it ended.
                let _ = sender.send(Ok(event("trouble", (name, status.message())))).await;
            }
        };
        let both = async {
            let [(stdout, first), (stderr, second)] = LOGS;
            tokio::join!(one(stdout, first), one(stderr, second));
        };
        tokio::select! {
            () = stopped => {}
            () = sender.closed() => {}
            () = both => {}
        }
    });
    Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response()
}

/// Tells what is read until the log or its reader is over. First that it is read at all, as a task may be silent.
async fn tell(
    name: &str,
    chunks: impl Stream<Item = Result<LogChunk, Status>>,
    from: u64,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) -> Result<(), Status> {
    let mut chunks = std::pin::pin!(chunks);
    let mut decoder = Decoder::default();
    let mut end = from;
    if sender.send(Ok(event(name, Written { end, ..Written::default() }))).await.is_err() {
        return Ok(());
    }
    while let Some(chunk) = chunks.next().await {
        let written = decoder.written(&chunk?);
        end = written.end;
        if sender.send(Ok(event(name, written))).await.is_err() {
            return Ok(());
        }
    }
    let _ = sender.send(Ok(event(name, Written { text: String::new(), end, ended: true }))).await;
    Ok(())
}

fn whole(chunks: impl Stream<Item = Result<LogChunk, Status>> + Send + 'static) -> Response {
    let bytes = chunks.map(|chunk| chunk.map(|chunk| chunk.data).map_err(std::io::Error::other));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(bytes)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, data: &'static [u8]) -> LogChunk {
        LogChunk { offset, data: data.into() }
    }

    #[test]
    fn a_character_that_was_cut_in_two_comes_whole() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.text(b"gr\xc3"), "gr");
        assert_eq!(decoder.held(), 1);
        assert_eq!(decoder.text(b"\xbcn\xff!"), "\u{fc}n\u{fffd}!");
        assert_eq!(decoder.held(), 0);
    }

    #[test]
    fn a_character_that_comes_byte_by_byte_is_never_asked_for_from_its_middle() {
        let mut decoder = Decoder::default();
        let mut told = |offset: u64, data: &'static [u8]| {
            let Written { text, end, .. } = decoder.written(&chunk(offset, data));
            (text, end)
        };
        assert_eq!(told(7, b"a\xe2"), ("a".into(), 8));
        assert_eq!(told(9, b"\x82"), (String::new(), 8));
        assert_eq!(told(10, b"\xac"), ("\u{20ac}".into(), 11));
    }

    #[test]
    fn a_tail_begins_with_a_line_and_tells_where_it_ends() {
        let tail = Tail::of(&[chunk(100, b"half\nwhole\nla"), chunk(113, b"st\xc3")]);
        let wanted = Tail { text: "whole\nlast".into(), end: 115, cut: true, trouble: None };
        assert_eq!(tail, wanted);
    }

    #[test]
    fn a_short_log_is_shown_from_its_beginning() {
        let tail = Tail::of(&[chunk(0, b"a\nb\n")]);
        assert_eq!((tail.text.as_str(), tail.end, tail.cut), ("a\nb\n", 4, false));
        assert_eq!(Tail::of(&[]), Tail::default());
    }
}
