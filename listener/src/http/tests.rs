//! Each bound, by a client that writes its own frames: one of a library would not go so far.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::{Bounds, serve_as};

// Kinds of frames, flags and codes, as RFC 9113 has them.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Longer than any of these tests.
const LONG: Duration = Duration::from_secs(600);

/// A server that is there as long as this is.
struct Door {
    address: SocketAddr,
    /// Calls of `/wait`, which never answers.
    waiting: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Door {
    async fn open(waits: Waits) -> Door {
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = waiting.clone();
        // Holds its body without reading it.
        let wait = move |request: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                std::future::pending::<()>().await;
                drop(request);
            }
        };
        let router = Router::new().route("/", get(|| async { "hello" })).route("/wait", any(wait));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        // Nobody here shows a token.
        let bounds = Bounds { strangers: 64, patience: LONG };
        tokio::spawn(serve_as(server(waits), bounds, listener, None, router, async { drop(stopped.await) }));
        Door { address, waiting, _stop: stop }
    }

    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Waits until so many calls are at `/wait`.
    async fn waited_for(&self, calls: usize) {
        within(async {
            while self.waiting.load(Ordering::Relaxed) < calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// One that is patient with everything.
const PATIENT: Waits = Waits { ping: LONG, pong: LONG, head: LONG };

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The number at this place of the payload.
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A client of HTTP/2.
struct Client {
    stream: TcpStream,
    settings: BTreeMap<u16, u32>,
}

impl Client {
    /// Connects, and waits until both ends know the settings and the window of the connection is open.
    async fn connect(door: &Door) -> Client {
        let mut client = Client { stream: door.plain().await, settings: BTreeMap::new() };
        client.send(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])]).await;
        let (mut opened, mut agreed) = (false, false);
        while !opened || !agreed || client.settings.is_empty() {
            let frame = client.next().await.expect("it goes on");
            match frame.kind {
                SETTINGS if frame.flags & ACK != 0 => agreed = true,
                SETTINGS => {
                    for setting in frame.payload.chunks(6) {
                        let key = u16::from_be_bytes([setting[0], setting[1]]);
                        let value = [setting[2], setting[3], setting[4], setting[5]];
                        client.settings.insert(key, u32::from_be_bytes(value));
                    }
                    client.send(&[self::frame(SETTINGS, ACK, 0, &[])]).await;
                }
                WINDOW_UPDATE => opened = true,
                _ => {}
            }
        }
        client
    }

    /// Writes all of this at once. The other end may have had enough of it before its end.
    async fn send(&mut self, frames: &[Vec<u8>]) {
        let _ = self.stream.write_all(&frames.concat()).await;
    }

    /// `None`: the connection is over.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind.
    async fn wait_for(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Why the connection ends.
    async fn goaway(&mut self) -> u32 {
        self.wait_for(GOAWAY).await.number(4)
    }

    /// Whether a call is answered with 200.
    async fn is_answered(&mut self, stream: u32) -> bool {
        self.send(&[call(stream, &get_of("/"))]).await;
        loop {
            let Some(frame) = self.next().await else { return false };
            if frame.kind == HEADERS && frame.stream == stream {
                // The eighth of the static table of HPACK.
                return frame.payload.first() == Some(&0x88);
            }
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("this takes too long")
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's own").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A call without a body.
fn call(stream: u32, headers: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, headers)
}

fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// A GET in HPACK, with nothing that is in the table but names.
fn get_of(path: &str) -> Vec<u8> {
    let mut headers = vec![0x82, 0x86, 0x04];
    text(path, &mut headers);
    headers.push(0x01);
    text("test", &mut headers);
    headers
}

/// A GET with one more header.
fn get_with(name: &str, value: &str) -> Vec<u8> {
    let mut headers = get_of("/");
    headers.push(0x00);
    text(name, &mut headers);
    text(value, &mut headers);
    headers
}

/// A text in HPACK: its length, of which seven bits are in the first byte, and itself.
fn text(text: &str, headers: &mut Vec<u8>) {
    match text.len().checked_sub(127) {
        None => headers.push(text.len() as u8),
        Some(mut rest) => {
            headers.push(127);
            while rest >= 128 {
                headers.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            headers.push(rest as u8);
        }
    }
    headers.extend(text.as_bytes());
}

/// The headers of a call in as many frames as they need.
fn long_call(stream: u32, headers: &[u8]) -> Vec<Vec<u8>> {
    let pieces = headers.chunks(FRAME_MAX as usize);
    let last = pieces.len() - 1;
    let frames = pieces.enumerate().map(|(at, piece)| {
        let (kind, begins) = if at == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        frame(kind, begins | if at == last { END_HEADERS } else { 0 }, stream, piece)
    });
    frames.collect()
}

/// The streams that a client opens, in their order.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn a_client_is_told_what_its_connection_may_have() {
    let door = Door::open(PATIENT).await;
    let client = Client::connect(&door).await;
    let told = |key| client.settings.get(&key).copied();
    assert_eq!(told(3), Some(STREAMS_MAX));
    assert_eq!(told(4), Some(WINDOW));
    assert_eq!(told(5).unwrap_or(16_384), FRAME_MAX);
    assert_eq!(told(6), Some(HEADERS_MAX));
}

#[tokio::test]
async fn a_call_too_many_is_refused_by_itself_and_who_goes_on_with_that_is_thrown_out() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    let mut streams = streams();
    let wait = get_of("/wait");
    let most: Vec<_> =
        streams.by_ref().take(STREAMS_MAX as usize).map(|stream| call(stream, &wait)).collect();
    client.send(&most).await;
    door.waited_for(STREAMS_MAX as usize).await;

    let beyond = streams.next().expect("there are more");
    client.send(&[call(beyond, &wait)]).await;
    let refused = client.wait_for(RST_STREAM).await;
    assert_eq!((refused.stream, refused.number(0)), (beyond, REFUSED_STREAM));
    client.send(&[cancel(1)]).await;
    assert!(client.is_answered(streams.next().expect("there are more")).await, "one was given up");

    // One of these has the place of that.
    let flood = streams.take(FAULTS_MAX + 2).map(|stream| call(stream, &wait));
    client.send(&flood.collect::<Vec<_>>()).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    assert!(door.waiting.load(Ordering::Relaxed) <= STREAMS_MAX as usize + 1);
}

#[tokio::test]
async fn who_gives_up_calls_faster_than_they_are_looked_at_is_thrown_out() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    let mut streams = streams();
    let wait = get_of("/wait");
    let mut given_up = |count| {
        let pairs = streams.by_ref().take(count).map(|stream| [call(stream, &wait), cancel(stream)].concat());
        pairs.collect::<Vec<_>>()
    };
    // As many at once as one may have under way are no attack.
    let (few, many) = (given_up(RESETS_MAX), given_up(4 * RESETS_MAX));
    client.send(&few).await;
    client.send(&[frame(PING, 0, 0, &[0; 8])]).await;
    // All before it has been read.
    client.wait_for(PING).await;
    client.send(&many).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    // And nobody else notices.
    assert!(Client::connect(&door).await.is_answered(1).await);
}

#[tokio::test]
async fn who_sends_what_is_no_call_again_and_again_is_thrown_out() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    // It has no body, and says that there is one.
    let headers = get_with("content-length", "5");
    let mut streams = streams().map(|stream| call(stream, &headers));
    client.send(&[streams.next().expect("there are more")]).await;
    assert_eq!(client.wait_for(RST_STREAM).await.stream, 1);
    assert!(client.is_answered(3).await, "once is no attack");
    client.send(&streams.skip(1).take(FAULTS_MAX + 8).collect::<Vec<_>>()).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn long_headers_are_refused_and_endless_ones_end_the_connection() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    client.send(&long_call(1, &get_with("x-long", &"x".repeat(HEADERS_MAX as usize + 1)))).await;
    let refused = client.wait_for(HEADERS).await;
    // "431" in HPACK, by its table of Huffman.
    let wanted = [0x83, 0x69, 0x90, 0xff];
    assert!(refused.payload.windows(4).any(|bytes| bytes == wanted), "{:x?}", refused.payload);
    assert!(client.is_answered(3).await);
    client.send(&long_call(5, &get_with("x-long", &"x".repeat(4 * HEADERS_MAX as usize + 1)))).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);

    // Frames without anything in them, of which no header becomes (CVE-2024-27316).
    let mut client = Client::connect(&door).await;
    client.send(&[frame(HEADERS, END_STREAM, 1, &get_of("/"))]).await;
    client.send(&vec![frame(CONTINUATION, 0, 1, &[]); 1_000]).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    assert!(Client::connect(&door).await.is_answered(1).await);
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_connection_unread() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    let mut large = frame(DATA, 0, 1, &[0]);
    large[..3].copy_from_slice(&(FRAME_MAX + 1).to_be_bytes()[1..]);
    client.send(&[large]).await;
    assert_eq!(client.goaway().await, FRAME_SIZE_ERROR);
}

#[tokio::test]
async fn a_connection_holds_no_more_of_what_nobody_reads_than_its_window() {
    let door = Door::open(PATIENT).await;
    let mut client = Client::connect(&door).await;
    // The whole window, by several calls.
    let (calls, piece) = (4, vec![0; FRAME_MAX as usize]);
    let pieces = (WINDOW / FRAME_MAX / calls) as usize;
    for stream in streams().take(calls as usize) {
        client.send(&[frame(HEADERS, END_HEADERS, stream, &get_of("/wait"))]).await;
        client.send(&vec![frame(DATA, 0, stream, &piece); pieces]).await;
    }
    door.waited_for(calls as usize).await;
    assert!(client.is_answered(2 * calls + 1).await, "what has no body goes on");
    client.send(&[frame(DATA, 0, 1, &[0])]).await;
    assert_eq!(client.goaway().await, FLOW_CONTROL_ERROR);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_gone_and_one_that_does_stays() {
    const OFTEN: Duration = Duration::from_millis(300);
    // Nobody waits so long for the one that answers, however busy the machine is: only the other is timed by it.
    let silent = Door::open(Waits { ping: OFTEN, pong: 2 * OFTEN, ..PATIENT }).await;
    let mut client = Client::connect(&silent).await;
    let mut asked = 0;
    while let Some(frame) = client.next().await {
        asked += usize::from(frame.kind == PING);
    }
    assert!(asked > 0);

    let answering = Door::open(Waits { ping: OFTEN, pong: Duration::from_secs(20), ..PATIENT }).await;
    let mut client = Client::connect(&answering).await;
    for _ in 0..5 {
        let ping = client.wait_for(PING).await;
        client.send(&[frame(PING, ACK, 0, &ping.payload)]).await;
    }
    assert!(client.is_answered(1).await);
}

/// The status of what HTTP/1 answers to this, and whether the connection is over then.
async fn answer(door: &Door, request: &str) -> (String, bool) {
    let mut stream = door.plain().await;
    // It may have had enough before the end.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let ended = within(async {
        while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
        false
    })
    .await;
    (String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned(), ended)
}

#[tokio::test]
async fn heads_of_http_1_that_are_too_long_or_never_end_are_refused() {
    let door = Door::open(PATIENT).await;
    let with = |headers: String| format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    assert_eq!(answer(&door, &with("X: y\r\n".repeat(50))).await.0, "200");
    assert_eq!(answer(&door, &with("X: y\r\n".repeat(200))).await.0, "431");
    let endless = format!("X: {}", "y".repeat(HEAD_MAX));
    assert_eq!(answer(&door, &with(endless)).await.0, "431");

    let hasty = Door::open(Waits { head: Duration::from_millis(200), ..PATIENT }).await;
    let (_, ended) = answer(&hasty, "GET / HTTP/1.1\r\nHost: te").await;
    assert!(ended, "half a head is not waited for");
}
