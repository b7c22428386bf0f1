//! The scheduler of `bourse run`: one task, from wanted to ended.

use bourse_sdk::{Calls, Event, Scheduler, Task, WhyNot};
use bourse_types::{FrameworkId, Now, TaskId, TaskState, TaskStatus};
use tokio::sync::mpsc::UnboundedSender;

/// What the verb is told of its task.
#[derive(Debug)]
pub enum Told {
    /// The master knows the framework; `again` after it could not be reached for a while.
    Subscribed { framework: FrameworkId, again: bool },
    /// The master cannot be reached; the task goes on.
    Disconnected,
    /// The task has a new state.
    Update(TaskStatus),
    /// It never started, for a reason that passes (the offer was rescinded, say), and is launched anew.
    Again(TaskStatus),
    /// The framework was refused.
    Error(String),
}

/// What the verb may ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// End the task; asking again does not wait for its grace.
    Kill,
    /// End the framework: the master ends the task when it can.
    Leave,
}

/// One task.
pub struct One {
    /// The task under a new id: a launch that came to nothing has used its id up.
    task: Box<dyn Fn(TaskId) -> Task + Send>,
    name: String,
    phase: Phase,
    told: UnboundedSender<Told>,
}

#[derive(Debug)]
enum Phase {
    /// For an offer that fits.
    Waiting,
    /// Launched and not ended.
    Alive {
        task: TaskId,
        kills: u32,
    },
    Ended,
}

impl One {
    /// Launches the task under an id that begins with `name`, and tells what becomes of it.
    pub fn new(
        task: impl Fn(TaskId) -> Task + Send + 'static,
        name: String,
        told: UnboundedSender<Told>,
    ) -> One {
        One { task: Box::new(task), name, phase: Phase::Waiting, told }
    }

    fn tell(&self, told: Told) {
        // The verb stops listening only when it is about to end the process.
        let _ = self.told.send(told);
    }

    fn on_update(&mut self, status: TaskStatus, calls: &mut Calls) {
        let Phase::Alive { task, kills } = &self.phase else { return };
        if status.task_id != *task {
            return;
        }
        // Never started: nothing can have run, so that launching again runs nothing twice.
        if status.state == TaskState::Dropped && *kills == 0 {
            self.phase = Phase::Waiting;
            self.tell(Told::Again(status));
            return calls.revive();
        }
        if status.state.is_terminal() {
            self.leave(calls);
        }
        self.tell(Told::Update(status));
    }

    fn on_kill(&mut self, calls: &mut Calls) {
        match &mut self.phase {
            Phase::Alive { task, kills } => {
                *kills += 1;
                match *kills {
                    1 => calls.kill(task),
                    _ => calls
                        .kill_with(task, bourse_types::KillPolicy { grace: Some(std::time::Duration::ZERO) }),
                }
            }
            Phase::Waiting | Phase::Ended => self.leave(calls),
        }
    }

    fn leave(&mut self, calls: &mut Calls) {
        self.phase = Phase::Ended;
        calls.teardown();
    }
}

impl Scheduler for One {
    type Message = Ask;

    fn on(&mut self, _now: Now, event: Event<Ask>, calls: &mut Calls) {
        match event {
            Event::Offer(mut offer) if matches!(self.phase, Phase::Waiting) => {
                match offer.launch((self.task)(calls.task_id(&self.name))) {
                    Ok(placed) => {
                        self.phase = Phase::Alive { task: placed.task, kills: 0 };
                        calls.accept(offer);
                        calls.suppress();
                    }
                    // Declined for a while by letting the offer go.
                    Err(refused) if matches!(refused.why, WhyNot::NoRoom { .. }) => {}
                    // It would be no better in any other offer.
                    Err(refused) => {
                        self.tell(Told::Error(refused.why.to_string()));
                        self.leave(calls);
                    }
                }
            }
            Event::Update(status) => self.on_update(status, calls),
            Event::Message(Ask::Kill) => self.on_kill(calls),
            Event::Message(Ask::Leave) => self.leave(calls),
            Event::Subscribed { framework, again } => self.tell(Told::Subscribed { framework, again }),
            Event::Disconnected => self.tell(Told::Disconnected),
            Event::Error(error) => self.tell(Told::Error(error)),
            Event::Offer(_)
            | Event::Reconciled
            | Event::Rescinded(_)
            | Event::AgentFailed(_)
            | Event::AgentDraining { .. }
            | Event::Deadline => {}
        }
    }
}
