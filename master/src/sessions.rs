//! Who is connected: the ways from the driver to each link, stream and waiting operator.
//!
//! **What is this room for?** The driver's own table of senders; nobody else has it, so it needs no lock.
//!
//! **What does it promise?** Delivering never waits. What one batch says to one connection arrives in its order. A
//! connection that does not read is cut off, and hears by the end of its channel that it was. What waits for those of one
//! principal together is bounded, too, however many they are.
//!
//! **What does it leave to others?** Encoding happens in the connections' own tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bourse_master_core::{AgentRefused, Done, LinkId, OfferMade, Refused, RequestId, StreamId, ToAgent};
use bourse_types::{AgentId, AgentInfo, FrameworkId, OfferId, Principal, TaskStatus, Wall};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

/// Messages on their way to one agent. All tasks that it may have can be launched, acknowledged and killed at once; an
/// agent that lets more pile up reads nothing.
pub const LINK_QUEUE_MAX: usize = 8_192;

const _: () = assert!(LINK_QUEUE_MAX > 3 * bourse_master_core::offers::TASKS_PER_AGENT_MAX);

/// Events on their way to one scheduler, beside one for each of its tasks: the answer to an implicit reconciliation has
/// as many, and a framework that was cut off by it would ask again, for ever.
pub const STREAM_QUEUE_MAX: usize = 65_536;

/// Events on their way to all schedulers of one principal, beside those for their tasks: some 150 MB. A principal may have
/// a thousand schedulers, and one call of a few hundred KiB is answered by ten thousand events.
pub const PRINCIPAL_QUEUE_MAX: usize = 4 * STREAM_QUEUE_MAX;

/// From then on that is all that each of them may have queued, beside one for each of its tasks.
pub const CROWDED_QUEUE_MAX: usize = 1_024;

/// A scheduler's principal is looked at each time that it was told so many events: it may have many others.
const LOOK_EVERY: usize = 256;

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

/// A stream: its sender, whose it is, and its framework once that is known.
#[derive(Debug)]
struct Stream {
    sender: StreamSender,
    principal: Option<Principal>,
    framework: Option<FrameworkId>,
    /// How many events it was told.
    told: usize,
}

impl Stream {
    /// Events that wait for it, but for as many as it has tasks.
    fn excess(&self, tasks: &impl Fn(&FrameworkId) -> usize) -> usize {
        match self.sender.queued.load(Ordering::Relaxed) {
            0 => 0,
            queued => queued.saturating_sub(self.framework.as_ref().map_or(0, tasks)),
        }
    }
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

    pub(crate) fn open_stream(
        &mut self,
        stream: StreamId,
        sender: StreamSender,
        principal: Option<Principal>,
    ) {
        self.streams.insert(stream, Stream { sender, principal, framework: None, told: 0 });
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
        tasks: impl Fn(&FrameworkId) -> usize,
    ) {
        let is_behind = self.is_behind(stream, &tasks);
        let Some(entry) = self.streams.get_mut(&stream) else { return };
        let Stream { sender, framework, told, .. } = entry;
        let Some(events) = &sender.events else { return };
        if is_behind {
            let framework_id = framework.as_ref().map(FrameworkId::as_str);
            let queued = sender.queued.load(Ordering::Relaxed);
            warn!(framework_id, queued, "a scheduler does not read its events and is cut off");
            sender.events = None;
            sender.uncut = None;
            return;
        }
        *told = told.wrapping_add(1);
        // Before it is sent: the reader must never count below zero.
        sender.queued.fetch_add(1, Ordering::Relaxed);
        if events.send(message).is_err() {
            // Its task ends and tells us in a moment.
            debug!(?stream, "a scheduler is gone");
        }
    }

    /// Whether so much is queued for this stream that it gets no more.
    fn is_behind(&self, stream: StreamId, tasks: &impl Fn(&FrameworkId) -> usize) -> bool {
        let Some(entry) = self.streams.get(&stream) else { return false };
        let queued = entry.sender.queued.load(Ordering::Relaxed);
        if queued >= STREAM_QUEUE_MAX && entry.excess(tasks) >= STREAM_QUEUE_MAX {
            return true;
        }
        let looks = queued >= CROWDED_QUEUE_MAX && entry.told.is_multiple_of(LOOK_EVERY);
        looks && entry.excess(tasks) >= CROWDED_QUEUE_MAX && {
            let theirs = self.streams.values().filter(|other| other.principal == entry.principal);
            theirs.map(|other| other.excess(tasks)).sum::<usize>() >= PRINCIPAL_QUEUE_MAX
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
        sessions.open_stream(stream, sender, None);
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
        sessions.open_stream(StreamId(1), sender, None);
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
    fn schedulers_of_one_principal_share_a_bound_and_those_who_read_or_are_of_others_do_not_notice() {
        let principal = |name| Some(Principal::new(name).expect("a principal"));
        let mut sessions = Sessions::default();
        // More than may wait for all of them, each with less than it may have by itself.
        let mut greedy = Vec::new();
        for n in 0..100 {
            let (sender, receiver) = stream();
            sessions.open_stream(StreamId(n), sender, principal("greedy"));
            greedy.push(receiver);
        }
        let (mut reads, mut other) = (stream(), stream());
        sessions.open_stream(StreamId(100), reads.0, principal("greedy"));
        sessions.open_stream(StreamId(101), other.0, principal("other"));
        for n in 0..STREAM_QUEUE_MAX / 4 {
            for stream in 0..102 {
                sessions.tell_scheduler(StreamId(stream), event(n), |_| 0);
            }
            if n % CROWDED_QUEUE_MAX == CROWDED_QUEUE_MAX - 1 {
                while let Ok(message) = reads.1.events.try_recv() {
                    reads.1.queued.fetch_sub(1, Ordering::Relaxed);
                    drop(message);
                }
            }
        }
        let is_cut = |receiver: &mut StreamReceiver| {
            receiver.cut.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        assert!(greedy.iter_mut().all(is_cut));
        assert!(!is_cut(&mut reads.1) && !is_cut(&mut other.1));
        let queued: usize = greedy.iter().map(|receiver| receiver.queued.load(Ordering::Relaxed)).sum();
        assert!(queued >= PRINCIPAL_QUEUE_MAX, "{queued}");
        assert!(queued <= PRINCIPAL_QUEUE_MAX + 100 * (CROWDED_QUEUE_MAX + LOOK_EVERY), "{queued}");
    }

    #[test]
    fn what_waits_for_tasks_does_not_count_towards_what_a_principal_may_have() {
        let mut sessions = Sessions::default();
        let tasks = PRINCIPAL_QUEUE_MAX;
        let (sender, mut receiver) = stream();
        sessions.open_stream(StreamId(1), sender, None);
        sessions.subscribed(StreamId(1), &framework());
        let (sender, mut beside) = stream();
        sessions.open_stream(StreamId(2), sender, None);
        for n in 0..tasks + STREAM_QUEUE_MAX / 2 {
            sessions.tell_scheduler(StreamId(1), event(n), |_| tasks);
        }
        for n in 0..STREAM_QUEUE_MAX / 2 {
            sessions.tell_scheduler(StreamId(2), event(n), |_| tasks);
        }
        for receiver in [&mut receiver, &mut beside] {
            assert_eq!(receiver.cut.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
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
