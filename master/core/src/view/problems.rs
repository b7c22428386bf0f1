//! What an operator should look at, worst first, and the one sentence on how it goes.

use std::time::Duration;

use bourse_types::units::format_count;
use bourse_types::{Mono, Principal, TaskState, Wall};

use crate::agents::{Agent, AgentState};
use crate::frameworks::{Framework, FrameworkState};
use crate::tasks::Task;
use crate::view::View;

/// A task that its agent has not confirmed for so long deserves a look.
const STAGING_TOO_LONG: Duration = Duration::from_secs(60);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Critical,
    /// Something may stop working.
    Warning,
}

/// Something that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A sentence: what, on what, since when. The same as long as nothing changes, so it has times and no durations.
    pub summary: String,
    /// What to do.
    pub advice: String,
    /// `master`, `agent`, `framework` or `task`.
    pub kind: &'static str,
    /// Its id; of a task, `framework/task`.
    pub id: String,
}

impl View {
    /// What an operator should look at, worst first. Empty when all is well.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.deposed());
        problems.extend(self.agents().filter_map(|agent| self.agent_problem(agent)));
        problems.extend(self.frameworks().filter_map(|framework| self.framework_problem(framework)));
        problems.extend(self.tasks().filter_map(|task| self.task_problem(task)));
        problems.sort_by_key(|problem| problem.severity);
        problems
    }

    /// How it goes, in one sentence: `All 12 tasks run; 3 agents active`, or the worst problem first.
    pub fn verdict(&self) -> String {
        let totals = self.totals();
        let count = |state: TaskState| totals.tasks.get(&state).copied().unwrap_or_default();
        let alive: usize =
            totals.tasks.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, n)| n).sum();
        let running = count(TaskState::Running);
        let tasks = match (alive, running) {
            (0, _) => "No tasks".to_owned(),
            (1, 1) => "The only task runs".to_owned(),
            (1, _) => "The only task does not run yet".to_owned(),
            (alive, running) if alive == running => format!("All {alive} tasks run"),
            (alive, running) => format!("{running} of {alive} tasks run"),
        };
        let mut agents = match (totals.agents, totals.agents_active) {
            (0, _) => "no agent has joined yet".to_owned(),
            (all, active) if all == active => format!("{} active", count_of(all, "agent")),
            (1, _) => "the only agent is not active".to_owned(),
            (all, active) => format!("{active} of {all} agents active"),
        };
        // A drain is no problem, but whoever forgot one wonders where the room is.
        for word in ["draining", "drained"] {
            match self.agents().filter(|agent| agent.word() == word).count() {
                0 => {}
                n => agents += &format!(", {n} {word}"),
            }
        }
        let problems = self.problems();
        match problems.first() {
            None => format!("{tasks}; {agents}"),
            Some(worst) => {
                let more = match problems.len() {
                    1 => String::new(),
                    n => format!(" (and {})", count_of(n - 1, "more problem")),
                };
                format!("{}{more}; {}; {agents}", capitalised(&worst.summary), uncapitalised(&tasks))
            }
        }
    }

    fn deposed(&self) -> Option<Problem> {
        let told = &self.master.deposed_by;
        let newer = told.values().max()?;
        // Who says so is told, as one agent that lies is enough for it.
        let owners: Vec<&str> = told.keys().flatten().map(Principal::as_str).collect();
        let agents = match owners[..] {
            [] => "agents".to_owned(),
            [one] => format!("agents of principal {one}"),
            [one, another] => format!("agents of principals {one} and {another}"),
            [one, ref others @ ..] => format!("agents of principals {one} and {} others", others.len()),
        };
        Some(Problem {
            severity: Severity::Critical,
            summary: format!(
                "{agents} follow a newer master: this one has epoch {}, that one {newer}",
                self.epoch()
            ),
            advice: "if there is a newer master, stop this one; if it was given up or lost its registry, set this machine's \
                     clock right and start this master again; if there never was one, an agent lies: replace its token"
                .to_owned(),
            kind: "master",
            id: self.master_id().to_string(),
        })
    }

    fn agent_problem(&self, agent: &Agent) -> Option<Problem> {
        let host = &agent.info.hostname;
        let (severity, summary, advice) = match agent.state {
            AgentState::Unreachable { since } => (
                Severity::Critical,
                format!("agent {} on {host} has been unreachable since {since}", agent.id),
                "look at the machine and start its agent again; mark the agent gone if it will never come back",
            ),
            AgentState::Disconnected { since } => (
                Severity::Warning,
                format!("agent {} on {host} has been disconnected since {since}", agent.id),
                "it will be marked unreachable unless it comes back soon; look at its log and at the network",
            ),
            AgentState::Recovered { deadline } => (
                Severity::Warning,
                format!(
                    "agent {} on {host} has not been back since the restart of the master; it will be marked \
                     unreachable unless it is back by {}",
                    agent.id,
                    self.wall_of(deadline)
                ),
                "check that its agent runs and can reach the master",
            ),
            AgentState::Active { .. } if !agent.info.total.contains(&agent.allocated) => (
                Severity::Warning,
                format!(
                    "agent {} on {host} has {}, and its tasks hold {}",
                    agent.id, agent.info.total, agent.allocated
                ),
                "give the agent its former resources, or drain it",
            ),
            AgentState::Active { .. } => return None,
        };
        Some(Problem {
            severity,
            summary,
            advice: advice.to_owned(),
            kind: "agent",
            id: agent.id.to_string(),
        })
    }

    fn framework_problem(&self, framework: &Framework) -> Option<Problem> {
        let deadline = framework.state.deadline()?;
        let until = self.wall_of(deadline);
        let name = &framework.info.name;
        let tasks = count_of(framework.tasks.len(), "task");
        let summary = match framework.state {
            FrameworkState::Active { .. } => return None,
            FrameworkState::Disconnected { since, .. } => {
                format!(
                    "framework {name} has been disconnected since {since}; it will be torn down with its {tasks} unless it \
                     is back by {until}"
                )
            }
            FrameworkState::Recovered { .. } => format!(
                "framework {name} has not been back since the restart of the master; it will be torn down with its {tasks} \
                 unless it is back by {until}"
            ),
        };
        Some(Problem {
            severity: Severity::Warning,
            summary,
            advice: "start its scheduler again, or tear the framework down".to_owned(),
            kind: "framework",
            id: framework.id.to_string(),
        })
    }

    /// A deadline on the calendar, to the second: what is left of it is counted in other units than what has passed, and
    /// the sum must not differ from look to look.
    fn wall_of(&self, deadline: Mono) -> Wall {
        let at = self.now.wall + deadline.since(self.now.mono);
        Wall::from_millis(at.as_millis().saturating_add(500) / 1000 * 1000)
    }

    fn task_problem(&self, task: &Task) -> Option<Problem> {
        let (id, agent) = (&task.info.id, &task.agent);
        let staging =
            task.state == TaskState::Staging && self.now.wall.since(task.launched) >= STAGING_TOO_LONG;
        let unhealthy =
            !task.state.is_terminal() && task.latest().is_some_and(|status| status.healthy == Some(false));
        let (summary, advice) = if unhealthy {
            (
                format!("task {id} on agent {agent} is unhealthy"),
                format!("read its log with `bourse logs {id}`"),
            )
        } else if staging {
            (
                format!("task {id} has been staging on agent {agent} since {}", task.launched),
                "look at the agent's log: it has not answered the launch".to_owned(),
            )
        } else {
            return None;
        };
        let id = format!("{}/{id}", task.framework);
        Some(Problem { severity: Severity::Warning, summary, advice, kind: "task", id })
    }
}

fn count_of(count: usize, thing: &str) -> String {
    format_count(count as u64, thing)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn uncapitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
