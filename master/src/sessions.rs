//! Who is connected: the ways from the driver to each link, stream and waiting operator.
//!
//! **What is this room for?** The driver's own table of senders; nobody else has it, so it needs no lock.
//!
//! **What does it promise?** Delivering never waits. What one batch says to one connection arrives in its order. A
//! connection that does not read is cut off, and hears by the end of its channel that it was.
//!
//! **What does it leave to others?** Encoding happens in the connections' own tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bourse_master_core::{AgentRefused, Done, LinkId, OfferMade, Refused, RequestId, StreamId, ToAgent};
use bourse_types::{AgentId, AgentInfo, FrameworkId, OfferId, TaskStatus, Wall};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

/// Messages on their way to one agent. All tasks that it may have can be launched, acknowledged and killed at once; an
/// agent that lets more pile up reads nothing.
pub const LINK_QUEUE_MAX: usize = 8_192;

const _: () = assert!(LINK_QUEUE_MAX > 3 * bourse_master_core::offers::TASKS_PER_AGENT_MAX);

/// Events on their way to one scheduler, beside one for each of its tasks: the answer to an implicit reconciliation has
/// as many, and a framework that was cut off by it would ask again, for ever.
pub const STREAM_QUEUE_MAX: usize = 65_536;

/// What travels to the task of a link.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one; a box each would cost more")]
pub enum LinkMessage {
    /// Say this.
    Say(ToAgent),
    /// Say that, and end.
    Refuse(AgentRefused),
}

/// What travels to the task of a stream.
#[derive(Debug)]
pub enum StreamMessage {
    /// The subscription holds.
    Subscribed {
        /// By this id.
        framework: FrameworkId,
        /// Between two heartbeats.
        heartbeat: Duration,
    },
    /// Offers, with what the core does not repeat for each of them.
    Offers(Vec<Offered>),
    /// An offer holds no longer.
    Rescind(OfferId),
    /// A task has a new state.
    Update(Box<TaskStatus>),
    /// An agent was removed or became unreachable.
    AgentFailed(AgentId),
    /// An agent with tasks of the framework is drained.
    AgentDraining {
        /// The agent.
        agent: AgentId,
        /// When what still runs there is killed.
        deadline: Wall,
    },
    /// Say this as an ERROR, and end.
    Fail(String),
}

/// An offer with the description of its agent, which all offers of the agent share.
#[derive(Debug)]
pub struct Offered {
    /// As the core made it.
    pub offer: OfferMade,
    /// Whose resources they are.
    pub agent: Arc<AgentInfo>,
}

/// A link: its sender, and its agent once that is known.
#[derive(Debug)]
struct Link {
    sender: mpsc::Sender<LinkMessage>,
    agent: Option<AgentId>,
}

/// A stream: its sender, and its framework once that is known.
#[derive(Debug)]
struct Stream {
    sender: StreamSender,
    framework: Option<FrameworkId>,
}

/// The driver's end of a stream.
#[derive(Debug)]
pub(crate) struct StreamSender {
    /// Without a bound of its own: how much may be queued depends on the framework. Absent: the stream has ended.
    events: Option<mpsc::UnboundedSender<StreamMessage>>,
    queued: Arc<AtomicUsize>,
    /// Let go when the scheduler is cut off.
    uncut: Option<oneshot::Sender<()>>,
}

/// The connection's end of a stream.
#[derive(Debug)]
pub(crate) struct StreamReceiver {
    events: mpsc::UnboundedReceiver<StreamMessage>,
    queued: Arc<AtomicUsize>,
    /// Resolves when the scheduler is cut off as it does not read. Its task may be waiting for it, and would never come
    /// to the end of the events.
    pub(crate) cut: oneshot::Receiver<()>,
}

/// Both ends of a stream.
pub(crate) fn stream() -> (StreamSender, StreamReceiver) {
    let (sender, events) = mpsc::unbounded_channel();
    let (uncut, cut) = oneshot::channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let sender = StreamSender { events: Some(sender), queued: queued.clone(), uncut: Some(uncut) };
    (sender, StreamReceiver { events, queued, cut })
}

impl StreamReceiver {
    /// The next message; `None` at the end. A call that is given up loses nothing.
    pub(crate) async fn recv(&mut self) -> Option<StreamMessage> {
        let message = self.events.recv().await?;
        self.queued.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }
}

/// All that is connected.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    links: HashMap<LinkId, Link>,
    streams: HashMap<StreamId, Stream>,
    requests: HashMap<RequestId, oneshot::Sender<Result<Done, Refused>>>,
}

impl Sessions {
    pub(crate) fn open_link(&mut self, link: LinkId, sender: mpsc::Sender<LinkMessage>) {
        self.links.insert(link, Link { sender, agent: None });
    }

    pub(crate) fn open_stream(&mut self, stream: StreamId, sender: StreamSender) {
        self.streams.insert(stream, Stream { sender, framework: None });
    }

    pub(crate) fn open_request(
        &mut self,
        request: RequestId,
        sender: oneshot::Sender<Result<Done, Refused>>,
    ) {
        self.requests.insert(request, sender);
    }

    /// The link's connection is gone; its agent, if it has registered by it.
    pub(crate) fn close_link(&mut self, link: LinkId) -> Option<AgentId> {
        self.links.remove(&link)?.agent
    }

    /// The stream's connection is gone; its framework, if it has subscribed by it.
    pub(crate) fn close_stream(&mut self, stream: StreamId) -> Option<FrameworkId> {
        self.streams.remove(&stream)?.framework
    }

    /// The agent has registered by this link: known before the effect is delivered, since the link may break first.
    pub(crate) fn registered(&mut self, link: LinkId, agent: &AgentId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.agent = Some(agent.clone());
        }
    }

    /// The framework has subscribed by this stream.
    pub(crate) fn subscribed(&mut self, stream: StreamId, framework: &FrameworkId) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.framework = Some(framework.clone());
        }
    }

    pub(crate) fn tell_agent(&mut self, link: LinkId, message: ToAgent) {
        self.send_link(link, LinkMessage::Say(message));
    }

    /// `tasks` counts those that a framework has; it is asked only when much is queued.
    pub(crate) fn tell_scheduler(
        &mut self,
        stream: StreamId,
        message: StreamMessage,
        tasks: impl FnOnce(&FrameworkId) -> usize,
    ) {
        let Some(Stream { sender, framework }) = self.streams.get_mut(&stream) else { return };
        let Some(events) = &sender.events else { return };
        let queued = sender.queued.load(Ordering::Relaxed);
        if queued >= STREAM_QUEUE_MAX && queued >= STREAM_QUEUE_MAX + framework.as_ref().map_or(0, tasks) {
            let framework_id = framework.as_ref().map(FrameworkId::as_str);
            warn!(framework_id, queued, "a scheduler does not read its events and is cut off");
            sender.events = None;
            sender.uncut = None;
            return;
        }
        // Before it is sent: the reader must never count below zero.
        sender.queued.fetch_add(1, Ordering::Relaxed);
        if events.send(message).is_err() {
            // Its task ends and tells us in a moment.
            debug!(?stream, "a scheduler is gone");
        }
    }

    /// Ends the link after all that is on its way; the entry stays until its task has told that it is gone.
    pub(crate) fn end_link(&mut self, link: LinkId, refused: Option<AgentRefused>) {
        if let Some(refused) = refused {
            self.send_link(link, LinkMessage::Refuse(refused));
        }
        self.cut_link(link);
    }

    /// Ends the stream after all that is on its way and an ERROR.
    pub(crate) fn end_stream(&mut self, stream: StreamId, error: String) {
        self.tell_scheduler(stream, StreamMessage::Fail(error), |_| 0);
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.sender.events = None;
        }
    }

    pub(crate) fn reply(&mut self, request: RequestId, reply: Result<Done, Refused>) {
        if let Some(sender) = self.requests.remove(&request) {
            // Whoever asked may have gone away.
            let _ = sender.send(reply);
        }
    }

    fn send_link(&mut self, link: LinkId, message: LinkMessage) {
        let Some(entry) = self.links.get(&link) else { return };
        match entry.sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let agent_id = entry.agent.as_ref().map(AgentId::as_str);
                warn!(
                    agent_id,
                    queued = LINK_QUEUE_MAX,
                    "an agent does not read its commands and is cut off"
                );
                self.cut_link(link);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => debug!(?link, "an agent is gone"),
        }
    }

    /// Replaces the sender by one without a receiver: the connection's task sees the end of its channel.
    fn cut_link(&mut self, link: LinkId) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.sender = mpsc::channel(1).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framework() -> FrameworkId {
        FrameworkId::new("f").expect("an id")
    }

    fn event(n: usize) -> StreamMessage {
        StreamMessage::AgentFailed(AgentId::new(format!("a{n}")).expect("an id"))
    }

    #[test]
    fn a_scheduler_that_does_not_read_is_cut_off_after_what_it_was_told_before() {
        let mut sessions = Sessions::default();
        let (sender, mut receiver) = stream();
        let stream = StreamId(1);
        sessions.open_stream(stream, sender);
        sessions.subscribed(stream, &framework());
        for n in 0..STREAM_QUEUE_MAX {
            sessions.tell_scheduler(stream, event(n), |_| 0);
        }
        assert_eq!(receiver.cut.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        for n in STREAM_QUEUE_MAX..STREAM_QUEUE_MAX + 2 {
            sessions.tell_scheduler(stream, event(n), |_| 0);
        }
        assert_eq!(receiver.cut.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        for n in 0..STREAM_QUEUE_MAX {
            match receiver.events.try_recv() {
                Ok(StreamMessage::AgentFailed(agent)) => assert_eq!(agent.as_str(), format!("a{n}")),
                other => panic!("instead of message {n} came {other:?}"),
            }
        }
        assert!(matches!(receiver.events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        // Its framework is still known when its connection tells that it is gone, once.
        assert_eq!(sessions.close_stream(stream), Some(framework()));
        assert_eq!(sessions.close_stream(stream), None);
    }

    #[test]
    fn a_framework_of_many_tasks_hears_of_each_at_once_and_of_what_happens_meanwhile() {
        let (tasks, meanwhile) = (100_000, 1_000);
        let mut sessions = Sessions::default();
        let (sender, mut receiver) = stream();
        sessions.open_stream(StreamId(1), sender);
        sessions.subscribed(StreamId(1), &framework());
        for n in 0..tasks + meanwhile {
            sessions.tell_scheduler(StreamId(1), event(n), |_| tasks);
        }
        assert_eq!(receiver.cut.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let mut heard = 0;
        while receiver.events.try_recv().is_ok() {
            heard += 1;
        }
        assert_eq!(heard, tasks + meanwhile);
    }

    #[test]
    fn a_refused_agent_hears_why_before_its_link_ends() {
        let mut sessions = Sessions::default();
        let (sender, mut receiver) = mpsc::channel(2);
        sessions.open_link(LinkId(1), sender);
        let refused =
            AgentRefused { reason: "gone", message: "it was marked gone".to_owned(), shut_down: true };
        sessions.end_link(LinkId(1), Some(refused.clone()));
        sessions.tell_agent(LinkId(1), ToAgent::ShutdownFramework { framework: framework() });
        match receiver.try_recv() {
            Ok(LinkMessage::Refuse(heard)) => assert_eq!(heard, refused),
            other => panic!("instead of the refusal came {other:?}"),
        }
        assert!(matches!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assert_eq!(sessions.close_link(LinkId(1)), None);
    }

    #[test]
    fn what_is_said_to_nobody_is_dropped() {
        let mut sessions = Sessions::default();
        sessions.tell_scheduler(
            StreamId(7),
            StreamMessage::Rescind(OfferId::new("o").expect("an id")),
            |_| 0,
        );
        sessions.end_link(LinkId(7), None);
        sessions.reply(RequestId(7), Ok(Done::WeightSet));
    }
}
