//! Kills that have been asked for and are repeated until the task has ended.
//!
//! Neither master nor agent repeats a kill: it may be lost with a connection, or meet an agent that is away.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::{KillPolicy, Mono, Now, TaskId};

/// The first repeat comes after this long, each further one after twice the time.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// One entry a task that shall end.
#[derive(Debug, Default)]
pub(super) struct Kills(BTreeMap<TaskId, Kill>);

#[derive(Debug)]
struct Kill {
    policy: Option<KillPolicy>,
    due: Mono,
    delay: Duration,
}

impl Kills {
    /// Remembers a kill. `false`: it is under way with the same policy already.
    pub(super) fn ask(&mut self, now: Now, task: &TaskId, policy: Option<KillPolicy>) -> bool {
        if self.0.get(task).is_some_and(|kill| kill.policy == policy) {
            return false;
        }
        self.0.insert(task.clone(), Kill { policy, due: now.mono + FIRST, delay: FIRST });
        true
    }

    /// The task has ended, or nobody knows it.
    pub(super) fn done(&mut self, task: &TaskId) {
        self.0.remove(task);
    }

    /// When the next repeat is due.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.0.values().map(|kill| kill.due).min()
    }

    /// What is to be repeated now; the next time, later.
    pub(super) fn due(&mut self, now: Now) -> Vec<(TaskId, Option<KillPolicy>)> {
        let mut due = Vec::new();
        for (task, kill) in &mut self.0 {
            if kill.due <= now.mono {
                due.push((task.clone(), kill.policy));
                kill.delay = kill.delay.saturating_mul(2).min(LONGEST);
                kill.due = now.mono + kill.delay;
            }
        }
        due
    }

    /// A new subscription: all of them, from the start.
    pub(super) fn again(&mut self, now: Now) -> Vec<(TaskId, Option<KillPolicy>)> {
        for kill in self.0.values_mut() {
            (kill.due, kill.delay) = (now.mono + FIRST, FIRST);
        }
        self.0.iter().map(|(task, kill)| (task.clone(), kill.policy)).collect()
    }
}
