//! The process: state folder, port, framework, from start to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use bourse_client::SettingsError;
use bourse_listener::Bounds;
use bourse_sdk::{Framework, StateDir, StateError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::service::Routes;

use crate::api;
use crate::config::{ConfigError, ServicesArgs};
use crate::disk::BadState;
use crate::scheduler::ServiceScheduler;

/// By this label the master finds the framework's API: `host:port`.
pub const API_LABEL: &str = "bourse-api";

/// The process ends with this status when its state folder could not be read or written: input or output failed, as
/// `sysexits.h` has it.
pub const EXIT_STATE_FAILED: u8 = 74;

/// Only the master calls, by a few connections.
const BOUNDS: Bounds = Bounds::of(256);

/// Why the service framework could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flags do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The master's address or the token cannot be found out.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state folder cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateError),
    /// What is in it cannot be read.
    #[error("reading the state folder")]
    State(#[from] BadState),
    /// The port cannot be had.
    #[error("listening on {address}; choose another address with --listen")]
    Listen {
        /// As given.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The framework ended.
    #[error(transparent)]
    Framework(#[from] bourse_sdk::RunError),
}

/// The exit status of a service framework that ended with this error.
pub fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::StateDir(StateError::Io { .. })
        | RunError::Framework(bourse_sdk::RunError::State(StateError::Io { .. })) => EXIT_STATE_FAILED,
        RunError::Config(_)
        | RunError::Settings(_)
        | RunError::StateDir(_)
        | RunError::State(_)
        | RunError::Listen { .. }
        | RunError::Framework(_) => 1,
    }
}

/// Runs the service framework until `shutdown` is done, on `listener` or on one that it makes. Its services outlive it;
/// started again with the same state folder, it goes on with them.
pub async fn run(
    args: ServicesArgs,
    listener: Option<std::net::TcpListener>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    args.check_listen()?;
    let roles = args.roles()?;
    let settings = args.client.settings()?;
    let state = match &args.state_dir {
        Some(path) => StateDir::open(path)?,
        None => StateDir::of_user(&args.name)?,
    };
    let values = state.values()?;
    let values = values.iter().map(|(key, value)| (key.as_str(), value.as_ref()));
    let scheduler = ServiceScheduler::new(roles.clone(), values)?;
    tracing::info!(
        state_dir = %state.path().display(),
        services = scheduler.wanted().services.len(),
        tasks = scheduler.tasks().len(),
        "state read"
    );

    // Bound before the master hears of it: what it is told must answer.
    let listen = |source| RunError::Listen { address: args.listen, source };
    let listener = match listener {
        Some(listener) => TcpListener::from_std(listener).map_err(listen)?,
        None => TcpListener::bind(args.listen).await.map_err(listen)?,
    };
    let address = args.advertised(listener.local_addr().map_err(listen)?);
    tracing::info!(address, "the API listens");

    let framework =
        roles.iter().fold(Framework::new(&args.name), |framework, role| framework.role(role.as_str()));
    let (handle, running) = framework
        .suppressed()
        // Nobody runs as whoever started this process: a file names its user, or the agent decides.
        .user("")
        .label(API_LABEL, Some(&address))
        .settings(settings.clone())
        .tasks(scheduler.tasks())
        .state(state)
        // A teardown ends the instances. The definitions are people's own, and wanted until somebody removes them.
        .begin_anew()
        // Definitions can be changed while the master is away; it is waited for as long as it takes.
        .patience(None)
        .until(shutdown)
        .start(scheduler);

    let (stop, stopped) = oneshot::channel::<()>();
    let router = Routes::new(api::service(handle, settings.token)).prepare().into_axum_router();
    let serving = bourse_listener::serve(BOUNDS, listener, None, router, async move {
        // Its sender is dropped when the framework has ended, however it ended.
        let _ = stopped.await;
    });
    let running = async move {
        let ended = running.await;
        drop(stop);
        ended
    };
    let ((), ended) = tokio::join!(serving, running);
    ended?;
    tracing::info!("stopped; the services go on");
    Ok(())
}
