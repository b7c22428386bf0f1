//! The listener of every server of ours: HTTP/1.1 and HTTP/2, plain or TLS, each connection in its own task.
//!
//! **What is this room for?** Connections: accepting them, and ending those that only cost descriptors.
//!
//! **What does it promise?** Whoever has shown no token yet is a [`Stranger`], who gets little time and shares little room
//! with all others. One who has is known, and stays. Where many come at once, each has at least a second to show its
//! token, and the others wait at the door. Where no descriptor is left, it waits for one and does not spin.
//! What one connection may have of calls, headers and memory, whoever it is of, is bounded: `http` names each bound.
//!
//! **What does it leave to others?** Which tokens are right: whoever checks them says so to the call's [`Stranger`].

#![warn(missing_docs)]

mod http;

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Request;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tonic::codegen::Service;
use tracing::{debug, warn};

/// What those are granted who have not shown a token yet, whoever they are.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Their connections at a time. One more waits until one of them has shown its token or is gone, or ends the oldest
    /// that had a second for that: silent connections keep nobody out, and a crowd that is served more slowly than it
    /// comes loses nobody.
    pub strangers: usize,
    /// From the connection to the first call with a token, the TLS handshake included.
    pub patience: Duration,
}

impl Bounds {
    /// So many at a time, and the usual patience of 10 s.
    pub const fn of(strangers: usize) -> Bounds {
        Bounds { strangers, patience: Duration::from_secs(10) }
    }
}

/// A stranger has at least this long before another one takes its place.
const GRACE: Duration = Duration::from_secs(1);

/// While there is no room for one more stranger, it is looked for this often.
const LOOK: Duration = Duration::from_millis(10);

/// When stopping, calls under way have so long to end.
const DRAIN: Duration = Duration::from_millis(500);

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}; name a PEM file with tls-cert and tls-key", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{} holds no {what} in PEM form; name another file", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// They do not go together.
    #[error("the certificate {} cannot be used with the key {}", cert.display(), key.display())]
    Unusable {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        #[source]
        source: tokio_rustls::rustls::Error,
    },
}

/// Reads certificate and key, for both versions of HTTP.
pub fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let open = |path: &Path| {
        let unreadable = |source| TlsError::Read { path: path.to_owned(), source };
        File::open(path).map(BufReader::new).map_err(unreadable)
    };
    let chain = rustls_pemfile::certs(&mut open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Read { path: cert.to_owned(), source })?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: cert.to_owned(), what: "certificate" });
    }
    let private = rustls_pemfile::private_key(&mut open(key)?)
        .map_err(|source| TlsError::Read { path: key.to_owned(), source })?
        .ok_or_else(|| TlsError::Empty { path: key.to_owned(), what: "private key" })?;
    let unusable = |source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connection, as long as no call with a token has come by it. It goes along with each call, as an `Arc` among the
/// extensions of the request, so that whoever checks tokens can say that one has.
#[derive(Debug, Default)]
pub struct Stranger {
    known: AtomicBool,
    sent_away: Notify,
}

impl Stranger {
    /// A call of the connection has shown a token that we know: it may stay.
    pub fn is_known_now(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether one has.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Resolves when it has to go; never for one that is known by then.
    async fn has_to_go(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.sent_away.notified()).await;
        if self.is_known() {
            std::future::pending().await
        }
    }
}

/// The strangers with the time when each came, the oldest first, and some that are none any more.
struct Strangers {
    max: usize,
    all: VecDeque<(Instant, Weak<Stranger>)>,
}

impl Strangers {
    fn admit(&mut self) -> Arc<Stranger> {
        let stranger = Arc::new(Stranger::default());
        self.all.push_back((Instant::now(), Arc::downgrade(&stranger)));
        stranger
    }

    /// Waits until there is room for one more: one is known or gone, or the oldest had its time, and is sent away. May be
    /// given up and begun again.
    async fn room(&mut self) {
        while self.all.len() >= self.max {
            self.forget();
            let Some((came, _)) = self.all.front() else { return };
            if self.all.len() < self.max {
                return;
            }
            match GRACE.checked_sub(came.elapsed()) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
                Some(_) | None => return self.send_the_oldest_away(),
            }
        }
    }

    /// Makes room at once, as there is none for anybody: forgets those who are known or gone; when that are none, sends
    /// the oldest away.
    fn make_room(&mut self) {
        let before = self.all.len();
        self.forget();
        if self.all.len() == before {
            self.send_the_oldest_away();
        }
    }

    /// Of those who are known or gone.
    fn forget(&mut self) {
        self.all.retain(|(_, one)| one.upgrade().is_some_and(|one| !one.is_known()));
    }

    fn send_the_oldest_away(&mut self) {
        if let Some(oldest) = self.all.pop_front().and_then(|(_, one)| one.upgrade()) {
            oldest.sent_away.notify_one();
        }
    }
}

/// All doors, as one connection comes to them.
#[derive(Clone)]
struct Entrance {
    router: Router,
    stranger: Arc<Stranger>,
}

impl<B> Service<Request<B>> for Entrance
where
    Router: Service<Request<B>>,
{
    type Response = <Router as Service<Request<B>>>::Response;
    type Error = <Router as Service<Request<B>>>::Error;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.stranger.clone());
        self.router.call(request)
    }
}

/// Serves until `stop`, then lets calls under way end for half a second.
pub async fn serve(
    bounds: Bounds,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    serve_as(http::server(http::WAITS), bounds, listener, tls, router, stop).await;
}

/// [`serve`] by a server with bounds of a test's own.
async fn serve_as(
    server: http::Server,
    bounds: Bounds,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let mut strangers = Strangers { max: bounds.strangers, all: VecDeque::new() };
    let graceful = GracefulShutdown::new();
    // Owned here, so that no connection outlives its server.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            strangers.room().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            Some(_ended) = connections.join_next() => continue,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, most likely: trying again at once would only burn the processor.
                warn!(%error, "a connection was not accepted");
                strangers.make_room();
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let entrance = Entrance { router: router.clone(), stranger: strangers.admit() };
        let (stranger, tls, watcher) = (entrance.stranger.clone(), tls.clone(), graceful.watcher());
        let server = server.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection(server, stream, peer, tls, entrance, watcher) => {}
                () = stranger.has_to_go(bounds.patience) => debug!(%peer, "a connection without a token ends"),
            }
        });
    }
    // Streams do not end by themselves: they are cut off when the drain is over.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn connection(
    server: http::Server,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    entrance: Entrance,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small messages both ways: waiting to fill a packet would cost more than it saves.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(entrance);
    let ended = match tls {
        None => {
            let serving = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            watcher.watch(serving).await
        }
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => {
                let serving =
                    server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                watcher.watch(serving).await
            }
            Err(error) => return debug!(%peer, %error, "a TLS handshake failed"),
        },
    };
    if let Err(error) = ended {
        debug!(%peer, error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};
    use axum::middleware::{Next, from_fn};
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    const TOKEN: &str = "a-token-of-this-test";

    async fn guard(request: axum::extract::Request, next: Next) -> Response {
        let shown = request.headers().get(header::AUTHORIZATION);
        if shown.is_none_or(|shown| shown.as_bytes() != format!("Bearer {TOKEN}").as_bytes()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        request.extensions().get::<Arc<Stranger>>().expect("each call has one").is_known_now();
        next.run(request).await
    }

    /// One that takes its time.
    async fn slow_guard(request: axum::extract::Request, next: Next) -> Response {
        tokio::time::sleep(Duration::from_millis(20)).await;
        guard(request, next).await
    }

    fn door() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    /// A listener with one door behind a guard. It stops when the sender is dropped.
    async fn listen(bounds: Bounds) -> (SocketAddr, oneshot::Sender<()>) {
        listen_with(bounds, door().layer(from_fn(guard))).await
    }

    async fn listen_with(bounds: Bounds, router: Router) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(serve(bounds, listener, None, router, async { drop(stopped.await) }));
        (address, stop)
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("it listens")
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("this takes too long")
    }

    /// Whether a call with the token is answered on this connection.
    async fn is_answered(stream: &mut TcpStream) -> bool {
        let call = format!("GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        if stream.write_all(call.as_bytes()).await.is_err() {
            return false;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            match within(stream.read_buf(&mut answer)).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    /// Waits for the other side to end the connection.
    async fn ended(stream: &mut TcpStream) {
        let mut rest = Vec::new();
        // Reset or closed is the same to us.
        let _ = within(stream.read_to_end(&mut rest)).await;
    }

    #[tokio::test]
    async fn silent_connections_keep_nobody_out() {
        let (address, _stop) = listen(Bounds { strangers: 8, patience: Duration::from_secs(600) }).await;
        let mut known = connect(address).await;
        assert!(is_answered(&mut known).await);
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(connect(address).await);
        }
        assert!(is_answered(&mut connect(address).await).await, "a new one is answered");
        assert!(is_answered(&mut known).await, "one that is known stays");
        for stream in &mut silent[..42] {
            ended(stream).await;
        }
        assert!(is_answered(&mut silent[49]).await, "the newest were not in the way");
    }

    #[tokio::test]
    async fn a_herd_that_is_served_slower_than_it_comes_loses_nobody() {
        let bounds = Bounds { strangers: 8, patience: Duration::from_secs(600) };
        let (address, _stop) = listen_with(bounds, door().layer(from_fn(slow_guard))).await;
        let mut herd = JoinSet::new();
        for _ in 0..200 {
            herd.spawn(async move {
                let mut stream = connect(address).await;
                (is_answered(&mut stream).await, stream)
            });
        }
        // All of them stay.
        let herd = herd.join_all().await;
        let answered = herd.iter().filter(|(answered, _)| *answered).count();
        assert_eq!(answered, 200);
    }

    #[tokio::test]
    async fn a_connection_that_shows_no_token_in_time_ends_and_one_that_did_goes_on() {
        let (address, _stop) = listen(Bounds { strangers: 8, patience: Duration::from_secs(2) }).await;
        let mut known = connect(address).await;
        assert!(is_answered(&mut known).await);
        let mut silent = connect(address).await;
        let mut wrong = connect(address).await;
        wrong.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("written");
        ended(&mut silent).await;
        ended(&mut wrong).await;
        assert!(is_answered(&mut known).await);
    }
}
