//! What one connection may have, by either version of HTTP.
//!
//! **What is this room for?** Each bound of the protocols themselves, with its reason. Most have a default in the libraries;
//! they are said here all the same, as a default may become another one without anybody noticing.
//!
//! **What does it promise?** No client makes a connection cost more than these bounds let it, whatever it sends, in
//! whatever order, and whether or not it reads what it is told.
//!
//! **What does it leave to others?** How many connections there are ([`Bounds`](crate::Bounds)), and what is in a call.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;

/// Makes a connection of a stream of bytes.
pub(crate) type Server = auto::Builder<TokioExecutor>;

/// Calls of one HTTP/2 connection at a time; one more is refused by itself, and may be tried again. A scheduler has one
/// subscription and few calls, an agent one link, and the clients of ours wait rather than ask for more.
pub(crate) const STREAMS_MAX: u32 = 256;

/// The headers of one call, as HTTP/2 counts them: with 32 bytes more for each. The largest of ours is a token. Of more
/// than that the call is refused with 431; of more than four times as much the connection ends.
pub(crate) const HEADERS_MAX: u32 = 16 << 10;

/// One HTTP/2 frame: the least that the protocol lets a server say. A larger one ends the connection.
pub(crate) const FRAME_MAX: u32 = 16 << 10;

/// What a client may send of all its calls together before somebody reads it: enough for 80 Mbit/s over 100 ms of way.
pub(crate) const WINDOW: u32 = 1 << 20;

/// What waits in one call for the client to read it, beside what the kernel holds.
pub(crate) const SEND_MAX: usize = 128 << 10;

/// Calls that a client may give up before we have so much as looked at them (rapid reset, CVE-2023-44487). One that gives
/// up more of them than that in one go gets no further. A client of ours gives up a call when its time is over, and has
/// not so many under way.
pub(crate) const RESETS_MAX: usize = 64;

/// Calls of one connection, in all its life, that are no HTTP or that were more than [`STREAMS_MAX`], so that we had to
/// reset them (CVE-2025-8671): a client of ours makes none.
pub(crate) const FAULTS_MAX: usize = 128;

/// The head of an HTTP/1 request, and what waits there of a body or an answer. Of more headers than 100, hyper's default,
/// or more than that the request is refused with 431.
pub(crate) const HEAD_MAX: usize = 64 << 10;

/// How long an idle or slow connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// An HTTP/2 connection that was silent for so long is asked whether it is still there.
    pub(crate) ping: Duration,
    /// One that has not answered that in this time is over.
    pub(crate) pong: Duration,
    /// From one HTTP/1 answer to the end of the next request's head.
    pub(crate) head: Duration,
}

/// Pings are how a link to a machine that lost its power ends, and a connection whose client reads nothing. Prometheus
/// asks by HTTP/1, every 15 s, and by the same connection. They are rarer than the 15 s between heartbeats, so that links
/// and subscriptions that are well cost no more packets than those.
pub(crate) const WAITS: Waits =
    Waits { ping: Duration::from_secs(20), pong: Duration::from_secs(10), head: Duration::from_secs(30) };

/// A server with all these bounds.
pub(crate) fn server(waits: Waits) -> Server {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(waits.ping)
        .keep_alive_timeout(waits.pong)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .max_frame_size(FRAME_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX);
    server.http1().timer(TokioTimer::new()).max_buf_size(HEAD_MAX).header_read_timeout(waits.head);
    server
}

#[cfg(test)]
mod tests;
