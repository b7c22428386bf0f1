//! Who is away while the task lives, and what a request to end it comes to meanwhile.

use bourse_types::TaskState;

use super::KEPT;
use super::scheduler::Ask;
use crate::print;
use crate::shutdown::Request;

/// Everybody is there until somebody is known to be away.
#[derive(Debug, Default)]
pub struct Presence {
    agent_away: bool,
    master: Master,
}

#[derive(Debug, Default)]
enum Master {
    #[default]
    There,
    Away {
        /// To end the task, since then.
        asked: bool,
        /// The connection stands, and nothing comes over it.
        silent: bool,
    },
}

/// What is to be done about a request to end.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask for this, and go on.
    Go(Ask),
    /// Ask for this, and leave with these words.
    Leave(Ask, String),
}

impl Presence {
    /// Whether the master is away.
    pub fn misses_master(&self) -> bool {
        matches!(self.master, Master::Away { .. })
    }

    /// The master cannot be reached.
    pub fn master_left(&mut self) {
        match &mut self.master {
            Master::There => {
                self.master = Master::Away { asked: false, silent: false };
                say("the master cannot be reached; waiting for it, the task goes on meanwhile");
            }
            Master::Away { silent, .. } => *silent = false,
        }
    }

    /// The master takes calls and does not answer them.
    pub fn master_silent(&mut self) {
        if !self.misses_master() {
            self.master = Master::Away { asked: false, silent: true };
            say("the master does not answer; waiting for it");
        }
    }

    /// The master answers a question, on a connection that may have been silent.
    pub fn master_answers(&mut self) {
        if matches!(self.master, Master::Away { silent: true, .. }) {
            self.master_came(true);
        }
    }

    /// The master answers, for the first time or again.
    pub fn master_came(&mut self, again: bool) {
        let missed = self.misses_master();
        self.master = Master::There;
        if again || missed {
            say("the master is back");
        }
    }

    /// The task has this state now.
    pub fn task_is(&mut self, state: TaskState) {
        let away = state == TaskState::Unreachable;
        match (self.agent_away, away) {
            (false, true) => {
                say("the task's agent cannot be reached; waiting for it, the task may go on meanwhile");
            }
            (true, false) => say("the task's agent is back"),
            _ => {}
        }
        self.agent_away = away;
    }

    /// Somebody asked for the end.
    pub fn on_request(&mut self, request: Request) -> Answer {
        match &mut self.master {
            Master::There if self.agent_away => {
                // It hears of a kill only when it is back, and then hears as well that the framework has ended.
                let left = "left while the task's agent is away; the task is ended when it is back";
                Answer::Leave(Ask::Leave, left.into())
            }
            Master::There => Answer::Go(Ask::Kill),
            Master::Away { asked: asked @ false, .. } if request == Request::Interrupt => {
                *asked = true;
                say("the task is ended when the master is back; again to leave it to that");
                Answer::Go(Ask::Kill)
            }
            Master::Away { .. } => {
                let kept = KEPT.as_secs();
                let left =
                    format!("left while the master is away; it ends the task {kept} s after it is back");
                Answer::Leave(Ask::Kill, left)
            }
        }
    }
}

fn say(what: &str) {
    print::say(format_args!("bourse run: {what}"));
}
