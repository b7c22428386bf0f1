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
    /// Starts to open a link. What becomes of it is told through `inbox`. `known_away`: that nobody listens there has been
    /// said, and is not said again.
    pub fn open(id: LinkId, settings: Settings, known_away: bool, inbox: mpsc::Sender<Input>) -> Link {
        let (outbound, waiting) = mpsc::unbounded_channel();
        let (usage, measured) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let said = UnboundedReceiverStream::new(waiting).merge(ReceiverStream::new(measured));
            let End { why, refused } = live(id, &settings, said, &inbox).await;
            let master = &settings.target;
            match refused && known_away {
                true => debug!(link = id.0, %master, why, "the link to the master is closed"),
                false => warn!(link = id.0, %master, why, "the link to the master is closed"),
            }
            // A driver that is gone needs no telling.
            let _ = inbox.send(Input::Event(Event::LinkClosed { link: id, refused })).await;
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

/// How a link ended.
struct End {
    why: String,
    /// Nobody listened.
    refused: bool,
}

impl From<String> for End {
    fn from(why: String) -> End {
        End { why, refused: false }
    }
}

/// The whole life of a link; comes back with the reason for its end.
async fn live(
    id: LinkId,
    settings: &Settings,
    said: impl Stream<Item = link::FromAgent> + Send + 'static,
    inbox: &mpsc::Sender<Input>,
) -> End {
    let connection = match Connection::open(settings).await {
        Ok(connection) => connection,
        Err(error) => return End { why: error.to_string(), refused: error.is_refused() },
    };
    debug!(link = id.0, "connected to the master");
    let tell = |event| inbox.send(Input::Event(event));
    // The registration has to be under way before the master answers the call.
    if tell(Event::LinkOpened { link: id }).await.is_err() {
        return "the agent stops".to_owned().into();
    }
    let mut inbound = match connection.agent_link().link(said).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return connection.explain(status).to_string().into(),
    };
    info!(link = id.0, master = %settings.target, "the link to the master is open");
    loop {
        let message = match inbound.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the master closed it".to_owned().into(),
            Err(status) => return connection.explain(status).to_string().into(),
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
            return "the agent stops".to_owned().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bourse_client::Target;
    use tokio::net::TcpListener;

    use super::*;

    /// Whether a link to this port is told as refused.
    async fn is_refused(port: u16) -> bool {
        let (inbox, mut told) = mpsc::channel(4);
        let _link = Link::open(LinkId(1), Settings::master(Target::loopback(port)), false, inbox);
        loop {
            let input = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
            match input.expect("the end of a link is told") {
                Some(Input::Event(Event::LinkClosed { refused, .. })) => return refused,
                Some(_) => {}
                None => panic!("the end of a link is told"),
            }
        }
    }

    #[tokio::test]
    async fn that_nobody_listens_in_the_masters_place_is_told_from_a_master_that_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let hangs_up = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        assert!(!is_refused(port).await);
        hangs_up.abort();
        // The listener goes with its task.
        let _ = hangs_up.await;
        assert!(is_refused(port).await);
    }
}
