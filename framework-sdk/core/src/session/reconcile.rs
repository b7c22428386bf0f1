//! Asking for the state of tasks after a gap, until every one of them has been told.
//!
//! The master is silent about tasks of agents that it knows and that are not back yet after its restart; so what was not
//! answered is asked again, with growing delay. So is what was answered with its agent being unreachable: of a task that
//! never reached that agent a restarted master knows nothing, and says nothing when the agent is back. Now and then
//! everything is asked for, gap or not: a launch that was lost on its way shows in no other manner.

use std::collections::BTreeSet;
use std::time::Duration;

use bourse_types::{Mono, Now, TaskId};

/// What was not answered is asked again after this long, then after twice the time, and so on.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// Everything is asked for this often without a reason.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Whose state is not known since the gap.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    open: BTreeSet<TaskId>,
    /// Told to be unreachable, by an answer: accounted for, and to be asked about until something else is told.
    away: BTreeSet<TaskId>,
    repeat: Option<(Mono, Duration)>,
    everything: Option<Mono>,
    /// Whether the end was told for this subscription.
    told: bool,
}

impl Reconcile {
    /// A subscription begins: these tasks have to be told.
    pub(super) fn begin(&mut self, now: Now, tasks: BTreeSet<TaskId>) {
        *self = Reconcile { told: false, ..Reconcile::default() };
        self.ask(now, tasks);
    }

    /// Everything is asked for, once more.
    pub(super) fn ask(&mut self, now: Now, tasks: BTreeSet<TaskId>) {
        self.open = tasks;
        self.away.clear();
        self.repeat = Some((now.mono + FIRST, FIRST));
        self.everything = Some(now.mono + EVERY);
    }

    /// The subscription is over.
    pub(super) fn stop(&mut self) {
        *self = Reconcile { told: true, ..Reconcile::default() };
    }

    /// This task was told.
    pub(super) fn told(&mut self, task: &TaskId) {
        self.open.remove(task);
        self.away.remove(task);
    }

    /// The answer for this task was that its agent is unreachable.
    pub(super) fn told_away(&mut self, task: &TaskId) {
        self.open.remove(task);
        self.away.insert(task.clone());
    }

    /// Whether the scheduler is to hear, now and once, that all have been told.
    pub(super) fn complete(&mut self) -> bool {
        let complete = !self.told && self.open.is_empty();
        self.told |= complete;
        complete
    }

    /// When something has to be asked.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let repeat = self.repeat.filter(|_| self.has_to_ask()).map(|(due, _)| due);
        repeat.into_iter().chain(self.everything).min()
    }

    /// Whether everything is due to be asked for.
    pub(super) fn everything_is_due(&self, now: Now) -> bool {
        self.everything.is_some_and(|due| due <= now.mono)
    }

    /// Those to be asked again now.
    pub(super) fn due(&mut self, now: Now) -> BTreeSet<TaskId> {
        match self.repeat {
            Some((due, delay)) if due <= now.mono && self.has_to_ask() => {
                let delay = delay.saturating_mul(2).min(LONGEST);
                self.repeat = Some((now.mono + delay, delay));
                self.open.union(&self.away).cloned().collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Whether something will be asked sooner or later.
    pub(super) fn goes_on(&self) -> bool {
        self.everything.is_some() || self.has_to_ask()
    }

    /// What must always hold of it.
    pub(super) fn check(&self, is_live: impl Fn(&TaskId) -> bool, broken: &mut Vec<String>) {
        if self.has_to_ask() && self.repeat.is_none() {
            broken.push("tasks have to be asked about, and nobody asks".to_owned());
        }
        for task in self.open.union(&self.away).filter(|task| !is_live(task)) {
            broken.push(format!("task {task} is asked about, and is not alive"));
        }
        for task in self.open.intersection(&self.away) {
            broken.push(format!("task {task} was told and not told"));
        }
    }

    fn has_to_ask(&self) -> bool {
        !self.open.is_empty() || !self.away.is_empty()
    }
}
