//! The scheduler of `bourse run`: one task, from wanted to ended.

use std::time::Duration;

use bourse_sdk::{Calls, Event, Scheduler, Task, WhyNot};
use bourse_types::{FrameworkId, Mono, Now, Reason, TaskId, TaskState, TaskStatus};
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

/// Before the second launch that comes to nothing is repeated; twice as long for each one more. The first is repeated at
/// once: its offer was taken back meanwhile, and others are there.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest wait of this kind.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// One task.
pub struct One {
    /// The task under a new id: a launch that came to nothing has used its id up.
    task: Box<dyn Fn(TaskId) -> Task + Send>,
    name: String,
    phase: Phase,
    /// Launches in a row that came to nothing.
    vain: u32,
    told: UnboundedSender<Told>,
}

#[derive(Debug)]
enum Phase {
    /// For an offer that fits.
    Waiting,
    /// For the time at which offers are wanted again.
    Pausing {
        until: Mono,
    },
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
        One { task: Box::new(task), name, phase: Phase::Waiting, vain: 0, told }
    }

    fn tell(&self, told: Told) {
        // The verb stops listening only when it is about to end the process.
        let _ = self.told.send(told);
    }

    fn on_update(&mut self, now: Now, status: TaskStatus, calls: &mut Calls) {
        let Phase::Alive { task, kills } = &self.phase else { return };
        if status.task_id != *task {
            return;
        }
        if never_started(&status) && *kills == 0 {
            self.phase = Phase::Pausing { until: now.mono + self.pause() };
            self.vain += 1;
            self.tell(Told::Again(status));
            return self.go_on(now, calls);
        }
        if status.state.is_terminal() {
            self.leave(calls);
        }
        self.tell(Told::Update(status));
    }

    /// Before the next launch.
    fn pause(&self) -> Duration {
        match self.vain {
            0 => Duration::ZERO,
            vain => AGAIN.saturating_mul(1 << (vain - 1).min(10)).min(AGAIN_MAX),
        }
    }

    /// Wants offers again once the pause is over.
    fn go_on(&mut self, now: Now, calls: &mut Calls) {
        if matches!(self.phase, Phase::Pausing { until } if until <= now.mono) {
            self.phase = Phase::Waiting;
            calls.revive();
        }
    }

    fn on_kill(&mut self, calls: &mut Calls) {
        match &mut self.phase {
            Phase::Alive { task, kills } => {
                *kills += 1;
                match *kills {
                    1 => calls.kill(task),
                    _ => calls.kill_with(task, bourse_types::KillPolicy { grace: Some(Duration::ZERO) }),
                }
            }
            Phase::Waiting | Phase::Pausing { .. } | Phase::Ended => self.leave(calls),
        }
    }

    fn leave(&mut self, calls: &mut Calls) {
        self.phase = Phase::Ended;
        calls.teardown();
    }
}

/// Whether nothing can have run, so that launching again runs nothing twice. An agent that is asked for a task it does
/// not know answers the same state, also when it has forgotten with its disk that the task ran.
fn never_started(status: &TaskStatus) -> bool {
    status.state == TaskState::Dropped && status.reason != Some(Reason::Reconciliation)
}

impl Scheduler for One {
    type Message = Ask;

    fn on(&mut self, now: Now, event: Event<Ask>, calls: &mut Calls) {
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
            Event::Update(status) => self.on_update(now, status, calls),
            Event::Deadline => self.go_on(now, calls),
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
            | Event::ResizeFailed { .. } => {}
        }
    }

    fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Pausing { until } => Some(until),
            Phase::Waiting | Phase::Alive { .. } | Phase::Ended => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bourse_sdk_core::{Attempt, Call, Config, FromMaster, Input, OfferMade, Output, Session};
    use bourse_types::{AgentId, Attributes, OfferId, Resources, Role, Source, Wall};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const NOW: Now = Now { mono: Mono::ZERO, wall: Wall(1_700_000_000_000) };

    /// The task is launched, and then dropped for this reason: what the verb was told last, and what was called since.
    fn after_dropped(reason: Reason) -> (Told, Vec<Call>) {
        let wanted: Resources = "cpus:1".parse().expect("resources");
        let (told, mut hears) = unbounded_channel();
        let task = move |id| Task::new(id).resources(wanted.clone()).exec(["true"]);
        let mut session = Session::new(Config::new("run", 7), One::new(task, "t".into(), told));
        let mut attempt = Attempt(0);
        let mut calls = |input| {
            let mut outputs = Vec::new();
            session.apply(NOW, input, &mut outputs);
            let mut calls = Vec::new();
            for output in outputs {
                match output {
                    Output::Subscribe { attempt: new, .. } => attempt = new,
                    Output::Call(call) => calls.push(call),
                    _ => {}
                }
            }
            (calls, attempt)
        };
        let (_, attempt) = calls(Input::Start);
        let framework = FrameworkId::new("f").expect("an id");
        calls(Input::Heard(attempt, FromMaster::Subscribed { framework, heartbeat: None }));
        let offer = OfferMade {
            id: OfferId::new("o").expect("an id"),
            agent: AgentId::new("a").expect("an id"),
            hostname: "host".into(),
            address: None,
            attributes: Attributes::default(),
            role: Role::any(),
            resources: "cpus:1".parse().expect("resources"),
            unavailable_from: None,
        };
        let (accepted, _) = calls(Input::Heard(attempt, FromMaster::Offers(vec![offer])));
        let Some(Call::Accept { tasks, .. }) = accepted.first() else { panic!("{accepted:?}") };
        let mut status = TaskStatus::new(tasks[0].id.clone(), TaskState::Dropped, Source::Agent, NOW.wall);
        status.reason = Some(reason);
        let (called, _) = calls(Input::Heard(attempt, FromMaster::Update(Box::new(status))));
        (last(&mut hears), called)
    }

    fn last(hears: &mut UnboundedReceiver<Told>) -> Told {
        let mut last = None;
        while let Ok(told) = hears.try_recv() {
            last = Some(told);
        }
        last.expect("something was told")
    }

    #[test]
    fn launches_that_come_to_nothing_are_repeated_at_once_and_then_ever_more_slowly() {
        let (told, _) = unbounded_channel();
        let mut one = One::new(Task::new, "t".into(), told);
        let pauses: Vec<u64> = (0..8)
            .map(|vain| {
                one.vain = vain;
                one.pause().as_secs()
            })
            .collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_task_that_never_started_is_launched_again() {
        let (told, called) = after_dropped(Reason::InvalidOffers);
        assert!(matches!(told, Told::Again(_)), "{told:?}");
        assert!(called.iter().any(|call| matches!(call, Call::Revive { .. })), "{called:?}");
    }

    #[test]
    fn a_task_that_its_agent_has_forgotten_may_have_run_and_is_not_launched_again() {
        let (told, called) = after_dropped(Reason::Reconciliation);
        assert!(matches!(told, Told::Update(_)), "{told:?}");
        assert!(called.contains(&Call::Teardown), "{called:?}");
    }
}
