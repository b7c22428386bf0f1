//! The one listener: HTTP/1.1 and HTTP/2, plain or TLS, each connection in its own task.

use std::fs::File;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::{debug, warn};

use crate::config::TlsFiles;

/// A client that does not finish its TLS handshake within this time is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle HTTP/2 connection is asked this often whether it is still there; one that does not answer in time is over.
/// This is how a link to a machine that lost its power ends.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// When stopping, calls under way have so long to end.
const DRAIN: Duration = Duration::from_millis(500);

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}; name a PEM file with tls-cert and tls-key", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{} holds no {what} in PEM form; name another file", path.display())]
    Empty {
        /// Which.
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
pub(crate) fn tls(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let open = |path: &PathBuf| {
        File::open(path).map(BufReader::new).map_err(|source| TlsError::Read { path: path.clone(), source })
    };
    let (cert, key) = (&files.cert, &files.key);
    let chain = rustls_pemfile::certs(&mut open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Read { path: cert.clone(), source })?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: cert.clone(), what: "certificate" });
    }
    let private = rustls_pemfile::private_key(&mut open(key)?)
        .map_err(|source| TlsError::Read { path: key.clone(), source })?
        .ok_or_else(|| TlsError::Empty { path: key.clone(), what: "private key" })?;
    let unusable = |source| TlsError::Unusable { cert: cert.clone(), key: key.clone(), source };
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

/// Serves until `stop`, then lets calls under way end for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    // Owned here, so that no connection outlives its server.
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, most likely: trying again at once would only burn the processor.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        connections.spawn(connection(stream, peer, tls.clone(), router.clone(), graceful.watcher()));
    }
    // Streams do not end by themselves: they are cut off when the drain is over.
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small messages both ways: waiting to fill a packet would cost more than it saves.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .adaptive_window(true);
    server.http1().timer(TokioTimer::new());
    let service = TowerToHyperService::new(router);
    let ended = match tls {
        None => {
            let serving = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            watcher.watch(serving).await
        }
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let serving =
                    server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                watcher.watch(serving).await
            }
            Ok(Err(error)) => return debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => return debug!(%peer, "a TLS handshake took too long"),
        },
    };
    if let Err(error) = ended {
        debug!(%peer, error, "a connection ended");
    }
}
