//! What an author writes.

use bourse_types::{AgentId, FrameworkId, Mono, Now, OfferId, Reason, Size, TaskId, TaskStatus, Wall};

use crate::calls::Calls;
use crate::offer::Offer;

/// A scheduler is a value: events in, calls out, no thread, no clock, no socket.
///
/// The same scheduler runs live and in the simulator. What takes long (a lookup, a file, another service) is done
/// elsewhere and comes back as a [`Event::Message`] of the author's own type.
pub trait Scheduler {
    /// What the author's other code tells the scheduler; `()` or [`Infallible`](std::convert::Infallible) for nothing.
    type Message;

    /// Something happened. Calls are carried out in the order in which they are made, after this returned.
    fn on(&mut self, now: Now, event: Event<Self::Message>, calls: &mut Calls);

    /// When [`Event::Deadline`] is wanted; asked after each event. A deadline that has passed and is not moved on is told
    /// again, at most a hundred times a second.
    fn next_deadline(&self) -> Option<Mono> {
        None
    }
}

/// What a scheduler is told.
#[derive(Debug)]
pub enum Event<M> {
    /// The master knows the framework now. Events and calls flow until [`Event::Disconnected`].
    Subscribed {
        /// The framework's id, the same for all its life; another one after it was torn down and began anew. It was made
        /// durable before this is told.
        framework: FrameworkId,
        /// This process had been subscribed before and was disconnected in between. All offers from then are void.
        again: bool,
    },
    /// The master cannot be reached, or does not answer. Tasks go on; the session comes back by itself. Calls that are
    /// made meanwhile are not lost where they can make sense later: kills, suppress, revive, teardown.
    Disconnected,
    /// Every task that the session knows to be alive has been told of since the subscription began; what was told
    /// before may be out of date until then. Comes once a subscription. Agents that are not back after a restart of
    /// the master are silent until they return or time out, and so is this.
    Reconciled,
    /// Resources of one agent, to be launched on or declined. Letting it go out of scope is an answer too: with the
    /// tasks that were put into it, or else a decline.
    Offer(Offer),
    /// An offer that was not answered yet holds no longer. A task launched on it would be told as TASK_DROPPED.
    Rescinded(OfferId),
    /// What became of a task, or with a `size` what it has from now on. Told in the order of the task's life, and each
    /// update once. It is acknowledged when the handler has returned, unless [`Calls::acknowledge_later`] was called.
    Update(TaskStatus),
    /// A resize that was asked for is over and was not done: the task goes on with what it has, or has ended. Each resize
    /// is answered once, by this or by an [`Event::Update`] whose `size` is the wanted one; what a gap may have swallowed
    /// is asked again by the session until it is answered.
    ResizeFailed {
        /// The task.
        task: TaskId,
        /// What it was to have.
        wanted: Size,
        /// What it has, where somebody said so: it was resized before, or agent or master refused this one.
        has: Option<Size>,
        /// Why, as a stable word: REASON_MASTER_DISCONNECTED and REASON_INVALID_OFFERS where it may be asked again
        /// as it was, REASON_CONTAINER_UPDATE_FAILED where it cannot be, or the reason of the task's end.
        reason: Option<Reason>,
        /// Why, in words for people.
        why: String,
    },
    /// An agent was removed or is unreachable. Its tasks' updates come on their own; this one may be lost.
    AgentFailed(AgentId),
    /// An agent is being drained: what still runs there at the deadline is killed.
    AgentDraining {
        /// The agent that its operator empties.
        agent: AgentId,
        /// When its tasks are killed.
        deadline: Wall,
    },
    /// Something was refused, in words. If it was the framework as a whole, the session ends after this.
    Error(String),
    /// [`Scheduler::next_deadline`] has passed.
    Deadline,
    /// From the author's other code.
    Message(M),
}
