//! What holds whatever happens: random histories, checked after each input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bourse_sdk_core::{
    Attempt, Call, Calls, Config, Event, FromMaster, Input, Offer, Output, Scheduler, Session, Task,
};
use bourse_types::{Milli, Mono, Now, OfferId, TaskId, TaskState, TaskStatus, Wall};
use proptest::prelude::*;

use crate::world::{offer_of, reconciled, subscribed, update};

/// One thing that may happen. Numbers choose among few offers, tasks and states, so that histories meet.
#[derive(Clone, Debug)]
enum Step {
    Subscribed,
    Offer(u8),
    Rescind(u8),
    /// An update by the agent: which task, which state, which uuid.
    Update(u8, u8, u8),
    Reconciled(u8, u8),
    Closed,
    /// A message of a subscription that is over.
    Late(u8),
    Pass(u16),
    Author(Wish),
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    UseOne,
    DeclineOne,
    LetGo,
    Kill(u8),
    Revive,
    Suppress,
}

fn step() -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        4 => Just(Wish::UseOne),
        1 => Just(Wish::DeclineOne),
        1 => Just(Wish::LetGo),
        1 => (1..6u8).prop_map(Wish::Kill),
        1 => Just(Wish::Revive),
        1 => Just(Wish::Suppress),
    ];
    prop_oneof![
        3 => Just(Step::Subscribed),
        4 => (0..8u8).prop_map(Step::Offer),
        1 => (0..8u8).prop_map(Step::Rescind),
        6 => (1..6u8, 0..14u8, 0..5u8).prop_map(|(task, state, uuid)| Step::Update(task, state, uuid)),
        2 => (1..6u8, 0..14u8).prop_map(|(task, state)| Step::Reconciled(task, state)),
        1 => Just(Step::Closed),
        1 => (0..8u8).prop_map(Step::Late),
        2 => (0..20_000u16).prop_map(Step::Pass),
        4 => wish.prop_map(Step::Author),
    ]
}

/// Keeps every second offer for later, and writes down what it is told.
#[derive(Default)]
struct Author {
    kept: Vec<Offer>,
    offers: u32,
    launched: BTreeSet<TaskId>,
    told: Vec<TaskStatus>,
    /// Of each task, the last eight: so far back the session promises to remember.
    told_uuids: BTreeMap<TaskId, VecDeque<[u8; 16]>>,
    subscribed: bool,
}

impl Author {
    fn launch(&mut self, mut offer: Offer, calls: &mut Calls) {
        let id: TaskId = format!("t{}", self.launched.len() + 1).parse().expect("valid");
        let task = Task::new(id.clone()).command("true").cpus(Milli::new(100));
        offer.launch(task).expect("every offer has room");
        self.launched.insert(id);
        calls.accept(offer);
    }
}

impl Scheduler for Author {
    type Message = Wish;

    fn on(&mut self, _now: Now, event: Event<Wish>, calls: &mut Calls) {
        match event {
            Event::Offer(offer) => {
                self.offers += 1;
                match self.offers % 2 {
                    0 => self.launch(offer, calls),
                    _ => self.kept.push(offer),
                }
            }
            Event::Update(status) => {
                let uuids = self.told_uuids.entry(status.task_id.clone()).or_default();
                if status.state == TaskState::Unknown {
                    // Nobody knew it: whatever is told of it from here on is news.
                    uuids.clear();
                } else if let Some(uuid) = status.uuid {
                    assert!(!uuids.contains(&uuid), "told twice: {status:?}");
                    uuids.push_back(uuid);
                    if uuids.len() > 8 {
                        uuids.pop_front();
                    }
                }
                self.told.push(status);
            }
            Event::Message(Wish::UseOne) => {
                if let Some(offer) = self.kept.pop() {
                    self.launch(offer, calls);
                }
            }
            Event::Message(Wish::DeclineOne) => {
                if let Some(offer) = self.kept.pop() {
                    calls.decline(offer, Duration::from_secs(60));
                }
            }
            Event::Message(Wish::LetGo) => self.kept.clear(),
            Event::Message(Wish::Kill(task)) => calls.kill(&format!("t{task}").parse().expect("valid")),
            Event::Message(Wish::Revive) => calls.revive(),
            Event::Message(Wish::Suppress) => calls.suppress(),
            Event::Subscribed { .. } => {
                assert!(!self.subscribed, "subscribed twice without a gap");
                self.subscribed = true;
            }
            Event::Disconnected => {
                assert!(self.subscribed, "disconnected twice");
                self.subscribed = false;
            }
            Event::Reconciled => assert!(self.subscribed),
            Event::Rescinded(_)
            | Event::AgentFailed(_)
            | Event::AgentDraining { .. }
            | Event::ResizeFailed { .. }
            | Event::Error(_)
            | Event::Deadline => {}
        }
    }
}

/// The session, and what a fair observer between it and the master knows.
struct World {
    session: Session<Author>,
    now: Now,
    attempt: Attempt,
    /// A subscription is open, as the session has been told.
    open: bool,
    /// Offers that the master has made by this subscription, and that are neither answered nor rescinded.
    offers: BTreeSet<OfferId>,
    made: u32,
    lines: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let session = Session::new(Config::new("chance", seed), Author::default());
        let now = Now { mono: Mono::ZERO, wall: Wall(0) };
        let mut world = World {
            session,
            now,
            attempt: Attempt(0),
            open: false,
            offers: BTreeSet::new(),
            made: 0,
            lines: Vec::new(),
        };
        world.apply(Input::Start, None);
        world
    }

    /// Applies an input; `due` is what it has to be acknowledged with, if it is an update with a uuid.
    fn apply(&mut self, input: Input<Wish>, due: Option<(TaskId, [u8; 16])>) {
        let mut out = Vec::new();
        self.session.apply(self.now, input, &mut out);
        assert_eq!(self.session.violations(), Vec::<String>::new());
        let mut acknowledged = Vec::new();
        for output in &out {
            self.lines.push(output.to_string());
            match output {
                Output::Subscribe { attempt, .. } => {
                    assert!(!self.open && *attempt > self.attempt, "{output}");
                    self.attempt = *attempt;
                }
                Output::Unsubscribe(attempt) => {
                    assert_eq!(*attempt, self.attempt);
                    (self.open, self.offers) = (false, BTreeSet::new());
                }
                Output::Call(call) => {
                    assert!(self.open, "said without a subscription: {call}");
                    match call {
                        Call::Accept { offers, tasks, .. } => {
                            assert!(!tasks.is_empty());
                            for offer in offers {
                                assert!(self.offers.remove(offer), "{offer} is not to be had: {call}");
                            }
                        }
                        Call::Decline { offers, .. } => {
                            for offer in offers {
                                assert!(self.offers.remove(offer), "{offer} is not to be had: {call}");
                            }
                        }
                        Call::Acknowledge { task, uuid, .. } => acknowledged.push((task.clone(), *uuid)),
                        Call::Revive { .. }
                        | Call::Suppress { .. }
                        | Call::Kill { .. }
                        | Call::Reconcile { .. }
                        | Call::Teardown => {}
                    }
                }
                Output::Persist(_) | Output::Write(_) | Output::Note(_) | Output::End(_) => {}
            }
        }
        // Each update by its agent is acknowledged exactly when it came, whether it was told or not.
        assert_eq!(acknowledged, due.into_iter().collect::<Vec<_>>());
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Subscribed => {
                // The master answers a SUBSCRIBE once; the session may be between two.
                if !self.open && self.session.next_deadline().is_some() {
                    self.catch_up();
                    self.open = true;
                    self.apply(Input::Heard(self.attempt, subscribed()), None);
                }
            }
            Step::Offer(agent) if self.open => {
                self.made += 1;
                let id = format!("o{}", self.made);
                self.offers.insert(id.parse().expect("valid"));
                self.apply(Input::Heard(self.attempt, offer_of(&id, &format!("a{agent}"))), None);
            }
            Step::Rescind(which) if self.open => {
                if let Some(id) = self.offers.iter().nth(usize::from(which)).cloned() {
                    self.offers.remove(&id);
                    self.apply(Input::Heard(self.attempt, FromMaster::Rescind(id)), None);
                }
            }
            Step::Update(task, state, uuid) if self.open => {
                let state = TaskState::ALL[usize::from(state)];
                let task = format!("t{task}");
                // An agent does not give one uuid to two different updates.
                let uuid =
                    uuid * 16 + TaskState::ALL.iter().position(|s| *s == state).expect("one of all") as u8;
                let due = Some((task.parse().expect("valid"), [uuid; 16]));
                self.apply(Input::Heard(self.attempt, update(&task, state, uuid)), due);
            }
            Step::Reconciled(task, state) if self.open => {
                let state = TaskState::ALL[usize::from(state)];
                self.apply(Input::Heard(self.attempt, reconciled(&format!("t{task}"), state)), None);
            }
            Step::Closed if self.open => {
                // Nothing may be said after this; the session gives the subscription up itself.
                self.apply(Input::Closed { attempt: self.attempt, why: "chance".into() }, None);
            }
            Step::Late(agent) => {
                let old = Attempt(self.attempt.0.wrapping_sub(1));
                self.apply(Input::Heard(old, offer_of("late", &format!("a{agent}"))), None);
            }
            Step::Pass(milliseconds) => {
                let end = self.now.mono + Duration::from_millis(milliseconds.into());
                while let Some(due) = self.session.next_deadline().filter(|due| *due <= end) {
                    self.now.mono = due.max(self.now.mono);
                    self.apply(Input::Tick, None);
                }
                self.now.mono = end;
            }
            Step::Author(wish) => self.apply(Input::Message(wish), None),
            Step::Offer(_) | Step::Rescind(_) | Step::Update(..) | Step::Reconciled(..) | Step::Closed => {}
        }
    }

    /// Lets the wait before the next try pass, if there is one.
    fn catch_up(&mut self) {
        let before = self.attempt;
        while self.attempt == before && !self.is_subscribing() {
            let due = self.session.next_deadline().expect("a session that is not over waits for something");
            self.now.mono = due.max(self.now.mono);
            self.apply(Input::Tick, None);
        }
    }

    fn is_subscribing(&self) -> bool {
        let last = self
            .lines
            .iter()
            .rev()
            .find(|line| line.starts_with("SUBSCRIBE #") || line.starts_with("give up #"));
        last.is_some_and(|line| line.starts_with("SUBSCRIBE #"))
    }
}

/// The states that were told of each task follow each other; ends come once, and what was not known may begin anew.
fn in_order(told: &[TaskStatus]) -> Result<(), TestCaseError> {
    let mut states: BTreeMap<&TaskId, TaskState> = BTreeMap::new();
    for status in told {
        let before = states.get(&status.task_id).copied();
        if let Some(before) = before.filter(|_| status.state != TaskState::Unknown) {
            prop_assert!(
                before.step(status.state).is_some(),
                "{} went from {before} to {}",
                status.task_id,
                status.state
            );
        }
        states.insert(&status.task_id, status.state);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_offers_are_answered_once_and_updates_are_told_in_order_once_and_acknowledged(
        seed in any::<u64>(), steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        in_order(&world.session.scheduler().told)?;
        // Whatever is kept is answered by letting it go, and nothing else is open.
        if world.open {
            world.step(&Step::Author(Wish::LetGo));
            prop_assert!(world.offers.is_empty(), "not answered: {:?}", world.offers);
        }

        let mut again = World::new(seed);
        for step in &steps {
            again.step(step);
        }
        if again.open {
            again.step(&Step::Author(Wish::LetGo));
        }
        prop_assert_eq!(world.lines, again.lines);
    }
}
