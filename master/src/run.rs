//! A master from its start to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bourse_master_core as core;
use bourse_master_core::registry::Change;
use bourse_types::{Epoch, MasterId, Wall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Config;
use crate::driver::{Driver, DriverError};
use crate::history::{History, HistoryError};
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::recording::{self, Recorder};
use crate::registry::{Registry, RegistryError};
use crate::serve::auth::{Tokens, TokensError};
use crate::serve::{self, Doors, TlsError};
use crate::wire::scheduler::MasterIdentity;

/// The process ends with this status when the registry could not be written, or the disk lets a master not start: input or
/// output failed, as `sysexits.h` has it.
pub const EXIT_SYNC_FAILED: u8 = 74;

/// The process ends with this status when the core panicked: an error of the software, as `sysexits.h` has it.
pub const EXIT_PANICKED: u8 = 70;

/// Where a master keeps things.
pub struct Stores {
    /// What must survive.
    pub registry: Box<dyn Registry>,
    /// What happened.
    pub history: Box<dyn History>,
}

/// A master could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Nobody could call.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// TLS was asked for and is not to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken, or is not one of this machine.
    #[error("listening on {address}; is another master running? Choose another address with --listen")]
    Listen {
        /// As it was configured.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The registry cannot be read, or the new epoch not be written.
    #[error("taking over from the master before")]
    Registry(#[from] RegistryError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// No thread for the registry, or for the recording.
    #[error("starting a thread that writes to the disk")]
    Thread(#[source] std::io::Error),
    /// The driver stopped.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A broken invariant: the panic is in the log, what led to it in the work directory.
    #[error(
        "the master panicked; start it again, it goes on from its registry, and report what the log says"
    )]
    Panicked,
}

/// The exit status of a master that ended with this error.
pub fn exit_code(error: &MasterError) -> u8 {
    match error {
        MasterError::Driver(DriverError::Sync(_))
        | MasterError::Registry(RegistryError::Read(_) | RegistryError::Write { .. })
        | MasterError::History(_) => EXIT_SYNC_FAILED,
        MasterError::Panicked => EXIT_PANICKED,
        MasterError::Tokens(_)
        | MasterError::Tls(_)
        | MasterError::Listen { .. }
        | MasterError::Registry(RegistryError::Corrupt { .. })
        | MasterError::Thread(_) => 1,
    }
}

/// Runs a master until `shutdown`. Without a `listener` it makes one.
pub async fn run(
    config: Config,
    stores: Stores,
    listener: Option<std::net::TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), MasterError> {
    Master::start(config, stores, listener).await?.run(shutdown).await
}

/// A master that has taken over and listens, but answers only when it is [run](Master::run).
pub struct Master {
    address: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    doors: Doors,
    driver: Driver,
    kept: oneshot::Receiver<()>,
}

impl Master {
    /// Reads tokens, certificate and registry, binds the address where no `listener` is given, and starts a new epoch.
    pub async fn start(
        config: Config,
        stores: Stores,
        listener: Option<std::net::TcpListener>,
    ) -> Result<Master, MasterError> {
        let clock = Clock::start();
        raise_open_files();
        info!(?config, "the settings of this master");
        let tokens = Tokens::read(&config.tokens)?;
        if tokens.is_empty() {
            warn!(path = %config.tokens.display(), "the tokens file is empty: nobody can call this master");
        }
        let tls =
            config.tls.as_ref().map(|files| bourse_listener::tls(&files.cert, &files.key)).transpose()?;
        let listen = |source| MasterError::Listen { address: config.listen, source };
        let port = match listener {
            Some(listener) => TcpListener::from_std(listener).map(Port::Inherited),
            None => Port::bind(config.listen),
        };
        let port = port.map_err(listen)?;
        let address = port.address().map_err(listen)?;

        let id = MasterId::new(Uuid::new_v4().to_string()).expect("a UUID is an id");
        let history: Arc<dyn History> = Arc::from(stores.history);
        let (registry, snapshot, epoch, last_sequence) =
            take_over(stores.registry, history.clone(), id.clone(), clock.now().wall).await?;
        info!(
            master_id = %id,
            epoch = epoch.0,
            agents = snapshot.agents.len(),
            frameworks = snapshot.frameworks.len(),
            "a master took over"
        );

        let metrics = Metrics::default();
        // The random choices of a master (in which order agents are visited) come from its id.
        let seed = Uuid::parse_str(id.as_str()).map_or(0, |uuid| uuid.as_u64_pair().0);
        let master = core::Master::new(config.core(), epoch, id.clone(), seed, snapshot, clock.now());
        let (keeper, kept) = Keeper::start(registry, history.clone(), config.history, clock, metrics.clone())
            .map_err(MasterError::Thread)?;
        let folder = config.work_dir.join(recording::FOLDER);
        let recorder = Recorder::start(&folder, config.recording_max_bytes, &master, &metrics)
            .map_err(MasterError::Thread)?;
        let (driver, handle) = Driver::new(master, clock, keeper, metrics.clone(), recorder, last_sequence);
        let identity = MasterIdentity {
            id,
            hostname: config.hostname.clone(),
            address,
            version: env!("CARGO_PKG_VERSION"),
        };
        let doors = Doors::new(&config, handle, identity, clock, tokens, history, metrics);
        let listener = port.listen().map_err(listen)?;
        Ok(Master { address, listener, tls, doors, driver, kept })
    }

    /// Where it listens: the real port when 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`, then ends what is under way, writes what is left and closes the stores.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), MasterError> {
        let Master { address, listener, tls, doors, driver, kept } = self;
        let (stop_serving, serving_stops) = oneshot::channel::<()>();
        let (stop_driving, driving_stops) = oneshot::channel::<()>();
        let driver_handle = doors.driver.clone();
        let serving = serve::serve(listener, tls, doors, async { drop(serving_stops.await) });
        let mut serving = AbortOnDrop(tokio::spawn(serving));
        let mut driving = AbortOnDrop(tokio::spawn(driver.run(async { drop(driving_stops.await) })));
        info!(%address, "the master is ready");

        tokio::pin!(shutdown);
        let driven = tokio::select! {
            () = &mut shutdown => {
                info!("the master stops");
                // Told before a connection ends. A driver that has ended knows.
                let _ = driver_handle.stopping().await;
                drop(stop_serving);
                let _ = (&mut serving.0).await;
                drop(stop_driving);
                (&mut driving.0).await
            }
            driven = &mut driving.0 => {
                // It never ends by itself but for a failure: nobody may hear anything more.
                drop(serving);
                driven
            }
        };
        // The stores are closed when this is answered, so that the next master can open them.
        let _ = kept.await;
        let result = match driven {
            Ok(result) => result.map_err(MasterError::from),
            Err(_) => Err(MasterError::Panicked),
        };
        if let Err(error) = &result {
            error!(error = error as &dyn std::error::Error, "the master ends");
        }
        result
    }
}

/// So many connections wait to be accepted; as many as the kernel lets wait at most (`net.core.somaxconn`, 4,096).
const BACKLOG: u32 = 4_096;

/// Where the master listens: a port that is bound at the start, so that one that is taken is told before anything else,
/// and listened at when the registry has been read. Until then who calls is refused and tries again soon; in the kernel's
/// queue, which a large cluster overflows, he would be left waiting for seconds.
enum Port {
    Bound(TcpSocket),
    Inherited(TcpListener),
}

impl Port {
    fn bind(address: SocketAddr) -> io::Result<Port> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Connections of the master before may linger at this port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Port::Bound(socket))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Port::Bound(socket) => socket.local_addr(),
            Port::Inherited(listener) => listener.local_addr(),
        }
    }

    fn listen(self) -> io::Result<TcpListener> {
        match self {
            Port::Bound(socket) => socket.listen(BACKLOG),
            Port::Inherited(listener) => Ok(listener),
        }
    }
}

/// Every connection is an open file, and the usual soft limit of 1,024 is for programs that still call `select`.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is; many agents may need more"),
    }
}

/// A task that does not outlive whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the registry and starts a new epoch in it. The disk is waited for off the runtime.
async fn take_over(
    mut registry: Box<dyn Registry>,
    history: Arc<dyn History>,
    id: MasterId,
    now: Wall,
) -> Result<(Box<dyn Registry>, core::Snapshot, Epoch, u64), MasterError> {
    let taken = tokio::task::spawn_blocking(move || {
        let mut snapshot = registry.load()?;
        let epoch = snapshot.next_epoch(now);
        let change = Change::EpochStarted { epoch, master: id };
        registry.commit(std::slice::from_ref(&change))?;
        snapshot.apply(&change);
        let last_sequence = history.last_sequence()?;
        Ok((registry, snapshot, epoch, last_sequence))
    });
    taken.await.unwrap_or(Err(MasterError::Panicked))
}
