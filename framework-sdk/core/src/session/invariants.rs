//! What must always hold, as code. Asked after every input by the tests and the simulator, never on the hot path.

use super::{Link, Session};
use crate::scheduler::Scheduler;

impl<S: Scheduler> Session<S> {
    /// Every broken promise, as a sentence. Empty when all is well. Between two inputs.
    ///
    /// - Offers are held and answers waited for by a subscription only; a framework that is subscribed has its id.
    /// - A task is alive or at its end, never both; it is remembered with the newest of its updates, and of ends a bounded
    ///   number is.
    /// - Whoever is asked about is alive, and asked again until he was told of; a resize is of a task that is alive.
    /// - Offers are wanted for a role or not, and the roles are the framework's own: the master would refuse the next
    ///   subscription with another one.
    /// - All that the scheduler asked for has been carried out, and what comes next has its time.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_subscription(&mut broken);
        self.tasks.check(&mut broken);
        self.reconcile.check(|task| self.tasks.is_live(task), &mut broken);
        for task in self.resizes.tasks().filter(|task| self.tasks.has_ended(task)) {
            broken.push(format!("task {task} has ended, and is to have another size"));
        }
        self.check_roles(&mut broken);
        self.check_rest(&mut broken);
        broken
    }

    fn check_subscription(&self, broken: &mut Vec<String>) {
        match self.link {
            Link::Subscribed { .. } => {
                if self.info.id.is_none() {
                    broken.push("it is subscribed, and has no id".to_owned());
                }
                // Who only subscribes to tear the framework down asks for nothing.
                if self.closing.is_none() && !self.reconcile.goes_on() {
                    broken.push("it is subscribed, and will never ask for its tasks".to_owned());
                }
            }
            Link::Idle | Link::Waiting { .. } | Link::Subscribing { .. } => {
                if !self.offers.is_empty() {
                    broken.push(format!("it is not subscribed, and holds offers {:?}", self.offers));
                }
                if self.reconcile.goes_on() {
                    broken.push("it is not subscribed, and is going to ask for its tasks".to_owned());
                }
            }
            Link::Over => {}
        }
    }

    fn check_roles(&self, broken: &mut Vec<String>) {
        for role in self.suppressed.iter().chain(&self.revived).filter(|role| !self.has_role(role)) {
            broken.push(format!("role {role} is wanted or not, and is not the framework's"));
        }
        for role in self.suppressed.intersection(&self.revived) {
            broken.push(format!("role {role} is wanted and not wanted"));
        }
    }

    fn check_rest(&self, broken: &mut Vec<String>) {
        let asked = self.calls.asked.len() + self.calls.writes.len() + self.own.len();
        if asked > 0 || self.calls.due.is_some() || self.calls.closing.is_some() {
            broken.push(format!("the input is over, and {asked} things are left to do or to tell"));
        }
        let waits = match self.link {
            Link::Waiting { .. } | Link::Subscribing { .. } | Link::Subscribed { .. } => true,
            Link::Idle | Link::Over => false,
        };
        if waits && self.next_deadline().is_none() {
            broken.push("it waits, and nothing will ever wake it".to_owned());
        }
    }
}
