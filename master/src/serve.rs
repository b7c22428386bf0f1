//! Everything that listens: one port for gRPC, HTTP and the status page.
//!
//! **What is this room for?** Turning calls into events and questions, and answers into messages. Each door is a file:
//! agents, schedulers, operators, services, metrics.
//!
//! **What does it promise?** Every call but a health probe (`/health`, gRPC `Health/Check`) carries a token that this
//! master knows ([`auth`]). No message is larger than [`limits::MESSAGE_BYTES_MAX`], and none of an agent's than
//! [`limits::LINK_MESSAGE_BYTES_MAX`]; what the calls with one token hold together is bounded, too. Unknown paths are
//! answered with 404, unknown gRPC methods with UNIMPLEMENTED.
//!
//! **What does it leave to others?** Every decision: the core, by way of the [`driver`](crate::driver).

pub mod auth;
pub mod limits;

mod body;

mod agent;
mod callback;
mod scheduler;

mod amounts;
mod explain;
mod feed;
mod forms;
mod hostnames;
mod lists;
mod operator;
mod resolve;
mod services;
mod subjects;
mod watch;

mod metrics;
mod web;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use bourse_proto::agent_link::agent_link_server::AgentLinkServer;
use bourse_proto::operator::operator_server::OperatorServer;
use bourse_proto::services::services_server::ServicesServer;
use bourse_proto::v1::scheduler::scheduler_server::SchedulerServer;
use bourse_types::Epoch;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::service::Routes;

use crate::driver::{Handle, Stopped};
use crate::history::History;
use crate::metrics::Metrics;
use crate::usage::Usages;
use crate::wire::scheduler::MasterIdentity;

pub use bourse_listener::TlsError;
pub use callback::{API_LABEL, PRINCIPAL_HEADER};
pub use scheduler::STREAM_ID;

/// All agents of a large cluster may come back within a second, each a stranger for a few milliseconds.
const BOUNDS: bourse_listener::Bounds = bourse_listener::Bounds::of(4_096);

/// `/health` says no when the driver does not answer within this time.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long whoever was cut off has to read why. Later they only find that their events end.
const LAST_WORD: Duration = Duration::from_secs(30);

/// What every door needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) driver: Handle,
    pub(crate) master: Arc<MasterIdentity>,
    pub(crate) epoch: Epoch,
    pub(crate) clock: crate::clock::Clock,
    pub(crate) tokens: auth::Tokens,
    /// Whether callers come by TLS.
    tls: bool,
    pub(crate) history: Arc<dyn History>,
    pub(crate) usages: Usages,
    pub(crate) metrics: Metrics,
    callbacks: callback::Callbacks,
    pub(crate) feed: feed::Feed,
}

impl Doors {
    pub(crate) fn new(
        config: &crate::config::Config,
        driver: Handle,
        master: MasterIdentity,
        clock: crate::clock::Clock,
        tokens: auth::Tokens,
        history: Arc<dyn History>,
        metrics: Metrics,
    ) -> Doors {
        let usages = Usages::default();
        let epoch = driver.picture().view.epoch();
        let master = Arc::new(master);
        let feed = feed::Feed::new(driver.clone(), usages.clone(), master.clone(), epoch, history.clone());
        let callbacks = callback::Callbacks::new(config.tls_ca.clone(), config.insecure);
        let tls = config.tls.is_some();
        Doors { driver, master, epoch, clock, tokens, tls, history, usages, metrics, callbacks, feed }
    }
}

/// Serves all doors until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    doors: Doors,
    stop: impl Future<Output = ()>,
) {
    let heard = agent::Heard::default();
    // Ends with this function, however that ends.
    let mut background = tokio::task::JoinSet::new();
    background.spawn(heard.clone().report(doors.driver.clone()));
    background.spawn(doors.feed.clone().run());
    background.spawn(housekeeping(doors.clone()));
    let router = router(&doors, heard);
    bourse_listener::serve(BOUNDS, listener, tls, router, stop).await;
}

fn router(doors: &Doors, heard: agent::Heard) -> Router {
    let schedulers = scheduler::Schedulers::new(
        doors.driver.clone(),
        doors.master.clone(),
        doors.callbacks.clone(),
        doors.metrics.clone(),
    );
    let agents = agent::AgentDoor {
        driver: doors.driver.clone(),
        epoch: doors.epoch,
        heard,
        turns: agent::Turns::default(),
        usages: doors.usages.clone(),
        callbacks: doors.callbacks.clone(),
        metrics: doors.metrics.clone(),
    };
    let services =
        services::ServicesDoor { driver: doors.driver.clone(), callbacks: doors.callbacks.clone() };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(bourse_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by our own build");
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut routes = Routes::default();
    macro_rules! add {
        ($server:ident, $door:expr) => {
            add!($server, $door, limits::MESSAGE_BYTES_MAX);
        };
        ($server:ident, $door:expr, $largest:expr) => {
            let server = $server::new($door)
                .max_decoding_message_size($largest)
                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
            routes = routes.add_service(server);
        };
    }
    add!(AgentLinkServer, agents, limits::LINK_MESSAGE_BYTES_MAX);
    add!(SchedulerServer, scheduler::SchedulerDoor(schedulers));
    add!(OperatorServer, operator::OperatorDoor(doors.clone()));
    add!(ServicesServer, services);
    routes = routes.add_service(reflection).add_service(health_service);
    // The empty name, which stands for the whole server, is serving from the start.
    drop(health);

    let ours = Router::new()
        .route("/health", get(health_page))
        .route("/metrics", get(metrics::scrape))
        .with_state(doors.clone());
    // tonic's own fallback would answer every unknown path with 200 and a gRPC status.
    let calls = routes.prepare().into_axum_router().reset_fallback().merge(ours);
    let calls = calls
        .layer(middleware::from_fn(body::count))
        .layer(middleware::from_fn(limits::speak_plainly))
        .layer(middleware::from_fn_with_state(doors.tokens.clone(), auth::check));
    let gate = auth::PageGate { tokens: doors.tokens.clone(), tls: doors.tls };
    let pages = web::routes(doors).fallback(unknown);
    let pages = pages.layer(middleware::from_fn_with_state(gate, auth::check_page));
    calls.merge(pages)
}

/// Whatever is asked for that nobody serves.
async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if auth::is_grpc(&request) {
        return Status::unimplemented(format!(
            "this master has no method {path}; its reflection service lists them"
        ))
        .into_http();
    }
    (StatusCode::NOT_FOUND, format!("there is nothing at {path}\n")).into_response()
}

/// 200 when the driver answers. Needs no token.
async fn health_page(State(doors): State<Doors>) -> Response {
    match tokio::time::timeout(HEALTH_TIMEOUT, doors.driver.ask(|_| ())).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n").into_response(),
        Ok(Err(Stopped)) => (StatusCode::SERVICE_UNAVAILABLE, "the master is stopping\n").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the master is too busy to answer\n").into_response(),
    }
}

/// Forgets what was kept of agents and frameworks that are no more, once a minute.
async fn housekeeping(doors: Doors) {
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        minutes.tick().await;
        let picture = doors.driver.picture();
        let view = &picture.view;
        doors.callbacks.retain(|id| view.agent(id).is_some(), |id| view.framework(id).is_some());
        doors.usages.retain(|id| view.agent(id).is_some());
    }
}

/// The driver has stopped.
fn stopping(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}
