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
use std::time::Duration;

use bourse_master_core::{AgentRefused, Done, LinkId, OfferMade, Refused, RequestId, StreamId, ToAgent};
use bourse_types::{AgentId, AgentInfo, FrameworkId, OfferId, TaskStatus, Wall};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

/// Messages on their way to one agent. All tasks that it may have can be launched, acknowledged and killed at once; an
/// agent that lets more pile up reads nothing.
pub const LINK_QUEUE_MAX: usize = 8_192;

const _: () = assert!(LINK_QUEUE_MAX > 3 * bourse_master_core::offers::TASKS_PER_AGENT_MAX);

/// Events on their way to one scheduler: the updates of an implicit reconciliation of a large framework fit.
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
        /// Which.
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
    sender: mpsc::Sender<StreamMessage>,
    framework: Option<FrameworkId>,
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

    pub(crate) fn open_stream(&mut self, stream: StreamId, sender: mpsc::Sender<StreamMessage>) {
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

    pub(crate) fn tell_scheduler(&mut self, stream: StreamId, message: StreamMessage) {
        let Some(entry) = self.streams.get(&stream) else { return };
        match entry.sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let framework_id = entry.framework.as_ref().map(FrameworkId::as_str);
                warn!(
                    framework_id,
                    queued = STREAM_QUEUE_MAX,
                    "a scheduler does not read its events and is cut off"
                );
                self.cut_stream(stream);
            }
            // Its task ends and tells us in a moment.
            Err(mpsc::error::TrySendError::Closed(_)) => debug!(?stream, "a scheduler is gone"),
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
        self.tell_scheduler(stream, StreamMessage::Fail(error));
        self.cut_stream(stream);
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

    fn cut_stream(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(&stream) {
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

    #[test]
    fn a_scheduler_that_does_not_read_is_cut_off_after_what_it_was_told_before() {
        let mut sessions = Sessions::default();
        let (sender, mut receiver) = mpsc::channel(2);
        let stream = StreamId(1);
        sessions.open_stream(stream, sender);
        sessions.subscribed(stream, &framework());
        for n in 0..4 {
            sessions.tell_scheduler(
                stream,
                StreamMessage::AgentFailed(AgentId::new(format!("a{n}")).expect("an id")),
            );
        }
        for n in 0..2 {
            match receiver.try_recv() {
                Ok(StreamMessage::AgentFailed(agent)) => assert_eq!(agent.as_str(), format!("a{n}")),
                other => panic!("instead of message {n} came {other:?}"),
            }
        }
        assert!(matches!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        // Its framework is still known when its connection tells that it is gone, once.
        assert_eq!(sessions.close_stream(stream), Some(framework()));
        assert_eq!(sessions.close_stream(stream), None);
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
        sessions.tell_scheduler(StreamId(7), StreamMessage::Rescind(OfferId::new("o").expect("an id")));
        sessions.end_link(LinkId(7), None);
        sessions.reply(RequestId(7), Ok(Done::WeightSet));
    }
}
