//! Resizes that have been asked for, until each has its answer: one of a task at a time, as the master has it.
//!
//! They are repeated as kills are, and without offers, which a gap makes void. The repeat of one that is under way changes
//! nothing, one that was done is answered once more, and one that never arrived is done or refused now. So whatever was
//! lost, there is an answer that is true.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::{Mono, Now, Reason, Size, TaskId, TaskStatus};

use crate::calls::Resize;
use crate::scheduler::Event;

/// The first repeat comes after this long, each further one after twice the time.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// One entry a task that is to have another size.
#[derive(Debug, Default)]
pub(super) struct Resizes(BTreeMap<TaskId, Open>);

#[derive(Debug)]
struct Open {
    wanted: Size,
    due: Mono,
    delay: Duration,
    /// It has been asked without the offers that it was asked with first.
    repeated: bool,
}

/// What asking for a resize means beside those that wait for their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// It is to be sent.
    New,
    /// It is under way.
    Repeat,
    /// The task is being given this size.
    Busy(Size),
}

/// A resize that is over and was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub task: TaskId,
    pub wanted: Size,
    pub has: Option<Size>,
    pub reason: Option<Reason>,
    pub why: String,
}

impl Failed {
    /// As its author is told.
    pub(super) fn event<M>(self) -> Event<M> {
        let Failed { task, wanted, has, reason, why } = self;
        Event::ResizeFailed { task, wanted, has, reason, why }
    }
}

impl Resizes {
    /// Remembers a resize that is new.
    pub(super) fn ask(&mut self, now: Now, resize: &Resize) -> Asking {
        match self.0.get(&resize.task) {
            Some(open) if open.wanted == resize.size => Asking::Repeat,
            Some(open) => Asking::Busy(open.wanted.clone()),
            None => {
                let wanted = resize.size.clone();
                let open = Open { wanted, due: now.mono + FIRST, delay: FIRST, repeated: false };
                self.0.insert(resize.task.clone(), open);
                Asking::New
            }
        }
    }

    /// It never was: nobody has looked at it.
    pub(super) fn withdraw(&mut self, task: &TaskId) {
        self.0.remove(task);
    }

    /// Takes in what is told of a task. Answers with the resize that this ends without its being done.
    pub(super) fn heard(&mut self, status: &TaskStatus) -> Option<Failed> {
        use bourse_types::TaskState::Unknown;
        let open = self.0.get(&status.task_id)?;
        let over = status.state.is_terminal() || status.state == Unknown;
        let refused = matches!(status.reason, Some(Reason::ContainerUpdateFailed | Reason::InvalidOffers));
        let done = status.size.as_deref() == Some(&open.wanted) && !over;
        if !done && !over && !refused {
            return None;
        }
        let Open { wanted, repeated, .. } = self.0.remove(&status.task_id)?;
        let said = status.message.clone().unwrap_or_else(|| "no reason was given".to_owned());
        let why = match (over, repeated) {
            (true, _) => format!("the task is {}, and has no size any more", status.state),
            (false, true) => format!("asked again without the offers of the first time: {said}"),
            (false, false) => said,
        };
        let (task, has, reason) = (status.task_id.clone(), status.size.as_deref().cloned(), status.reason);
        (!done).then_some(Failed { task, wanted, has, reason, why })
    }

    /// The tasks whose resizes wait for an answer.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.0.keys()
    }

    /// When the next repeat is due.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.0.values().map(|open| open.due).min()
    }

    /// What is to be repeated now; the next time, later.
    pub(super) fn due(&mut self, now: Now) -> Vec<Resize> {
        let mut due = Vec::new();
        for (task, open) in &mut self.0 {
            if open.due <= now.mono {
                due.push(Resize { task: task.clone(), size: open.wanted.clone() });
                open.delay = open.delay.saturating_mul(2).min(LONGEST);
                (open.due, open.repeated) = (now.mono + open.delay, true);
            }
        }
        due
    }

    /// A new subscription: all of them, from the start.
    pub(super) fn again(&mut self, now: Now) -> Vec<Resize> {
        for open in self.0.values_mut() {
            (open.due, open.delay, open.repeated) = (now.mono + FIRST, FIRST, true);
        }
        let resize =
            |(task, open): (&TaskId, &Open)| Resize { task: task.clone(), size: open.wanted.clone() };
        self.0.iter().map(resize).collect()
    }
}
