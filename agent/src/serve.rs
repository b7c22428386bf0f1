//! The agent's own port: reading logs, and whether the agent is there.
//!
//! A caller must show the agent's token: the master has it, as the agent showed it when it registered, and passes
//! operators' questions on with it. Only `/health` needs none.

mod logs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bourse_client::{Token, bearer, same_secret};
use bourse_listener::{Bounds, Stranger};
use bourse_proto::agent_link::agent_api_server::{AgentApi, AgentApiServer};
use bourse_proto::agent_link::{LogChunk, LogStream, ReadLogRequest};
use bourse_types::{FrameworkId, TaskId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::{Routes, interceptor::InterceptedService};
use tonic::{Request, Response, Status};

use crate::config::TlsFiles;
use crate::view::Views;

/// How many pieces of a log wait for a slow reader; the reading waits with them.
const CHUNKS_AHEAD: usize = 4;

/// Only the master calls with a token, by a few connections. Tasks share the machine's network, and reach the port, too:
/// what they open and leave silent may not use up the descriptors that containers need.
const BOUNDS: Bounds = Bounds::of(256);

/// Serves until it is to stop, and then for those who are being answered.
pub async fn serve(
    listener: TcpListener,
    tls: Option<&TlsFiles>,
    token: Token,
    work_dir: PathBuf,
    views: Views,
    stop: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let guard = Guard { token: Arc::new(token) };
    let api = Api { work_dir: work_dir.into(), views };
    let check = move |request| guard.check(request);
    let service = InterceptedService::new(AgentApiServer::new(api), check);
    let tls = tls.map(|files| bourse_listener::tls(&files.cert, &files.key)).transpose()?;
    let health = tonic::service::AxumRouter::new().route("/health", axum::routing::get(|| async { "ok\n" }));
    let router = Routes::from(health).add_service(service).prepare().into_axum_router();
    bourse_listener::serve(BOUNDS, listener, tls, router, async {
        // Whoever could say so is gone: that says it too.
        let _ = stop.await;
    })
    .await;
    Ok(())
}

/// Binds the agent's port.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; stop what listens there, or name another address with --listen")
    })
}

#[derive(Clone)]
struct Guard {
    token: Arc<Token>,
}

impl Guard {
    // The size is tonic's choice.
    #[allow(clippy::result_large_err)]
    fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        let shown = header.and_then(|value| bearer(value.as_bytes())).unwrap_or_default();
        match same_secret(self.token.expose(), shown) {
            true => {
                if let Some(stranger) = request.extensions().get::<Arc<Stranger>>() {
                    stranger.is_known_now();
                }
                Ok(request)
            }
            false => Err(Status::unauthenticated(
                "this call needs the agent's token; ask through the master instead",
            )),
        }
    }
}

struct Api {
    work_dir: Arc<std::path::Path>,
    views: Views,
}

#[tonic::async_trait]
impl AgentApi for Api {
    type ReadLogStream = ReceiverStream<Result<LogChunk, Status>>;

    async fn read_log(
        &self,
        request: Request<ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let request = request.into_inner();
        let bad = |error: bourse_types::BadId| Status::invalid_argument(error.to_string());
        let stream = match request.stream() {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Unspecified => {
                return Err(Status::invalid_argument(
                    "no log is named; ask for LOG_STREAM_STDOUT or LOG_STREAM_STDERR",
                ));
            }
        };
        let task = bourse_agent_core::TaskKey {
            framework: FrameworkId::new(&request.framework_id).map_err(bad)?,
            task: TaskId::new(&request.task_id).map_err(bad)?,
        };
        let log = logs::Log::find(&self.work_dir, task, stream, self.views.clone())?;
        let (chunks, reader) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            if let Err(status) = log.send(request.offset, request.follow, &chunks).await {
                // A reader that is gone needs no telling.
                let _ = chunks.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(reader)))
    }
}
