//! What stands around the master that it calls back: an agent's API with a log, a service framework's API. Played by the
//! test, over real connections.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bourse_master::config::TlsFiles;
use bourse_proto::agent_link::agent_api_server::{AgentApi, AgentApiServer};
use bourse_proto::agent_link::{LogChunk, LogStream, ReadLogRequest};
use bourse_proto::services::services_server::{Services, ServicesServer};
use bourse_proto::services::{self as wire, Service};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The stdout of all tasks of an agent.
#[derive(Clone)]
pub struct Log {
    /// What was written, and whether that is all.
    written: Arc<watch::Sender<(Vec<u8>, bool)>>,
}

impl Log {
    pub fn new() -> Log {
        Log { written: Arc::new(watch::Sender::new((Vec::new(), false))) }
    }

    pub fn write(&self, text: &[u8]) {
        self.written.send_modify(|(written, _)| written.extend_from_slice(text));
    }

    pub fn end(&self) {
        self.written.send_modify(|(_, ended)| *ended = true);
    }
}

#[tonic::async_trait]
impl AgentApi for Log {
    type ReadLogStream = Pin<Box<dyn Stream<Item = Result<LogChunk, Status>> + Send>>;

    async fn read_log(
        &self,
        request: Request<ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let ReadLogRequest { stream, offset, follow, .. } = request.into_inner();
        if stream == LogStream::Stderr as i32 {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        }
        let mut written = self.written.subscribe();
        let length = written.borrow().0.len() as i64;
        let mut at = if offset < 0 { (length + offset).max(0) } else { offset.min(length) } as usize;
        let (chunks, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let (data, ended) = {
                    let (written, ended) = &*written.borrow_and_update();
                    (written[at..].to_vec(), *ended)
                };
                let offset = at as u64;
                at += data.len();
                if !data.is_empty() && chunks.send(Ok(LogChunk { offset, data: data.into() })).await.is_err()
                {
                    return;
                }
                if !follow || ended || written.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// A service framework that has these services.
#[derive(Clone, Default)]
pub struct FakeServices {
    pub services: Arc<Mutex<Vec<Service>>>,
    pub framework_id: Arc<Mutex<String>>,
}

#[tonic::async_trait]
impl Services for FakeServices {
    async fn deploy(
        &self,
        _: Request<wire::DeployRequest>,
    ) -> Result<Response<wire::DeployResponse>, Status> {
        Err(Status::unimplemented("the page asks for lists only"))
    }

    async fn list(
        &self,
        _: Request<wire::ListServicesRequest>,
    ) -> Result<Response<wire::ListServicesResponse>, Status> {
        let services = self.services.lock().expect("no panic").clone();
        let framework_id = self.framework_id.lock().expect("no panic").clone();
        Ok(Response::new(wire::ListServicesResponse { services, framework_id }))
    }

    async fn scale(&self, _: Request<wire::ScaleRequest>) -> Result<Response<wire::ScaleResponse>, Status> {
        Err(Status::unimplemented("the page asks for lists only"))
    }

    async fn remove(
        &self,
        _: Request<wire::RemoveRequest>,
    ) -> Result<Response<wire::RemoveResponse>, Status> {
        Err(Status::unimplemented("the page asks for lists only"))
    }
}

/// Something that listens for as long as the test has it.
pub struct Listening {
    pub address: String,
    serving: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub async fn agent_api(log: Log) -> Listening {
    listen(Server::builder().add_service(AgentApiServer::new(log))).await
}

pub async fn services_api(services: FakeServices) -> Listening {
    listen(Server::builder().add_service(ServicesServer::new(services))).await
}

/// The same behind a certificate.
pub async fn services_api_by_tls(services: FakeServices, files: &TlsFiles) -> Listening {
    let tls = bourse_listener::tls(&files.cert, &files.key).expect("a certificate and its key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let router = Routes::new(ServicesServer::new(services)).prepare().into_axum_router();
    // It looks at no token, so that every connection is a stranger's.
    let bounds = bourse_listener::Bounds { strangers: 16, patience: Duration::from_secs(600) };
    let serving = bourse_listener::serve(bounds, listener, Some(tls), router, std::future::pending());
    Listening { address, serving: tokio::spawn(serving) }
}

async fn listen(router: tonic::transport::server::Router) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let serving = tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener)
            .map(|stream| stream.inspect(|stream| drop(stream.set_nodelay(true))));
        router.serve_with_incoming(incoming).await.expect("it serves until it is dropped");
    });
    Listening { address, serving }
}
