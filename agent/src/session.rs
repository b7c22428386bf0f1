//! One link to the master: opened, read, written, closed. When to open the next one is the core's.

use bourse_agent_core::{Event, LinkId};
use bourse_client::{Connection, Settings};
use bourse_proto::agent_link as link;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt as _};
use tracing::{debug, info, warn};

use crate::driver::Input;
use crate::wire;

/// The newest link. Dropping it closes it.
#[derive(Debug)]
pub struct Link {
    id: LinkId,
    /// Without a bound of its own, as the core is one: it has one update of each task under way and repeats it ever more
    /// rarely, and it gives up a link by which the master does not answer its heartbeats. A fixed bound that the updates
    /// waiting at a reconnect do not fit into would break each link anew, for ever.
    outbound: mpsc::UnboundedSender<link::FromAgent>,
    usage: mpsc::Sender<link::FromAgent>,
    task: AbortHandle,
}

impl Link {
    /// Starts to open a link. What becomes of it is told through `inbox`.
    pub fn open(id: LinkId, settings: Settings, inbox: mpsc::Sender<Input>) -> Link {
        let (outbound, waiting) = mpsc::unbounded_channel();
        let (usage, measured) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let said = UnboundedReceiverStream::new(waiting).merge(ReceiverStream::new(measured));
            let why = live(id, &settings, said, &inbox).await;
            warn!(link = id.0, master = %settings.target, why, "the link to the master is closed");
            // A driver that is gone needs no telling.
            let _ = inbox.send(Input::Event(Event::LinkClosed { link: id })).await;
        });
        Link { id, outbound, usage, task: task.abort_handle() }
    }

    /// Which one it is.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// Queues a message. What a link that is gone does not take, the next one is told.
    pub fn send(&self, message: link::FromAgent) {
        // That it is gone is told through the inbox.
        let _ = self.outbound.send(message);
    }

    /// Queues a measurement, unless the one before still waits: only the newest counts.
    pub fn send_usage(&self, message: link::FromAgent) {
        let _ = self.usage.try_send(message);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The whole life of a link; comes back with the reason for its end.
async fn live(
    id: LinkId,
    settings: &Settings,
    said: impl Stream<Item = link::FromAgent> + Send + 'static,
    inbox: &mpsc::Sender<Input>,
) -> String {
    let connection = match Connection::open(settings).await {
        Ok(connection) => connection,
        Err(error) => return error.to_string(),
    };
    debug!(link = id.0, "connected to the master");
    let tell = |event| inbox.send(Input::Event(event));
    // The registration has to be under way before the master answers the call.
    if tell(Event::LinkOpened { link: id }).await.is_err() {
        return "the agent stops".into();
    }
    let mut inbound = match connection.agent_link().link(said).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return connection.explain(status).to_string(),
    };
    info!(link = id.0, master = %settings.target, "the link to the master is open");
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the master closed it".into(),
            Err(status) => return connection.explain(status).to_string(),
        };
        let (epoch, message) = match wire::read(message) {
            Ok(read) => read,
            // Later messages may still make sense, and closing would bring the same one again.
            Err(bad) => {
                warn!(link = id.0, error = %bad, "a message from the master makes no sense and is dropped");
                continue;
            }
        };
        if tell(Event::FromMaster { link: id, epoch, message }).await.is_err() {
            return "the agent stops".into();
        }
    }
}
