//! What an agent is and has, as a master admitted it, and how that may change while tasks rely on it.
//!
//! The rule is that of Mesos' `reconfiguration_policy=additive`: an agent may come back with more of everything, with other
//! resources and with attributes besides those it had. It may not come back with less, nor with an attribute that says
//! something else, as its tasks were given the one and chose it by the other. Mesos refuses that for good; here it is free
//! again once no task runs on the agent, so that draining is all that it takes.

use std::fmt;

use bourse_types::{AgentId, AgentInfo, AttributeValue, Attributes, Name, Resources};

use crate::checkpoint::{State, Task};
use crate::cores::Cores;
use crate::recovery::{Condition, Found};

/// What tasks and frameworks rely on of what an agent says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What it has.
    pub total: Resources,
    /// What it is.
    pub attributes: Attributes,
}

impl Description {
    /// What this says.
    pub fn of(info: &AgentInfo) -> Description {
        Description { total: info.total.clone(), attributes: info.attributes.clone() }
    }
}

/// One line, for story tests and debug logs.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total.is_empty() {
            true => write!(f, "nothing")?,
            false => write!(f, "{}", self.total)?,
        }
        match self.attributes.is_empty() {
            true => Ok(()),
            false => write!(f, " at {}", self.attributes),
        }
    }
}

/// An agent would have less than its tasks rely on, or be something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Less {
    /// Which agent.
    pub agent: AgentId,
    /// How many tasks run on it.
    pub tasks: usize,
    /// What differs, each in words: `cpus:4 is now cpus:2`.
    pub changes: Vec<String>,
}

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Less { agent, tasks, changes } = self;
        let tasks = match tasks {
            1 => "1 task runs that relies".to_owned(),
            more => format!("{more} tasks run that rely"),
        };
        write!(
            f,
            "on agent {agent} {tasks} on what it would not have any more: {}; start it as it was and empty it first \
             (bourse drain {agent}), or move the file checkpoint out of its work directory to begin as a new agent: tasks \
             that still run are then killed",
            changes.join(", ")
        )
    }
}

impl std::error::Error for Less {}

impl State {
    /// What an agent with this state says of itself from now on when it is started as `now`, may run tasks on these cores,
    /// and these containers were found. Refused is less than before while a task runs, and to know of no cores while one
    /// has some for itself. With fewer of them an agent is not refused: it would have to stay away from all its tasks for
    /// the sake of those few, and its start settles what becomes of them.
    ///
    /// Only what the operator named can be refused. What was found may shrink by itself (the memory of a virtual machine, a
    /// pool of disks that others use too), and no agent should stay away from its tasks for that: it is told as it was
    /// until none runs ([`Config::total_without_tasks`](crate::Config)).
    pub fn settle(
        &self,
        now: Description,
        cores: &Cores,
        found: &[Found],
        is_named: impl Fn(&Name) -> bool,
    ) -> Result<Description, Less> {
        let (Some(agent), Some(before)) = (&self.agent, &self.described) else { return Ok(now) };
        let runs = |task: &Task| {
            let of_task = |found: &&Found| found.container == task.container;
            let found = found.iter().find(of_task);
            found.is_some_and(|found| matches!(found.condition, Condition::Running { .. }))
        };
        let tasks = self.tasks.values().filter(|task| runs(task)).count();
        if tasks == 0 {
            return Ok(now);
        }
        let mut changes = changed(&before.attributes, &now.attributes);
        if cores.is_empty() && self.tasks.values().any(|task| !task.cores.is_empty() && runs(task)) {
            changes.push(
                "cores for one task alone, which an agent with --isolation=process does not keep".into(),
            );
        }
        let mut total = now.total.clone();
        for had in &before.total {
            match now.total.iter().find(|has| has.key == had.key) {
                Some(has) if has.value.contains(&had.value) => {}
                Some(has) if is_named(&had.key.name) => changes.push(format!("{had} is now {has}")),
                Some(_) => {
                    total = total.filter(|key| *key != had.key);
                    total.insert(had.clone());
                }
                None => changes.push(format!("{had} is not there")),
            }
        }
        match changes.is_empty() {
            true => Ok(Description { total, ..now }),
            false => Err(Less { agent: agent.clone(), tasks, changes }),
        }
    }
}

/// The attributes that say something else now, in words. Several of one name are told apart by their order.
fn changed(before: &Attributes, now: &Attributes) -> Vec<String> {
    let mut changes = Vec::new();
    for (at, (name, had)) in before.iter().enumerate() {
        let earlier = before.iter().take(at).filter(|(other, _)| *other == name).count();
        match now.iter().filter(|(other, _)| *other == name).nth(earlier) {
            Some((_, has)) if keeps(had, has) => {}
            Some((_, has)) => changes.push(format!("the attribute {name}:{had} is now {name}:{has}")),
            None => changes.push(format!("the attribute {name}:{had} is not there")),
        }
    }
    changes
}

/// Whether who chose an agent by the one would choose it by the other.
fn keeps(had: &AttributeValue, has: &AttributeValue) -> bool {
    match (had, has) {
        (AttributeValue::Ranges(had), AttributeValue::Ranges(has)) => has.contains_all(had),
        (AttributeValue::Text(_) | AttributeValue::Scalar(_) | AttributeValue::Ranges(_), _) => had == has,
    }
}

#[cfg(test)]
mod tests {
    use bourse_types::{ContainerId, FrameworkId, Role, TaskId};

    use super::*;
    use crate::checkpoint::Record;
    use crate::event::{Assignment, TaskKey, Work};

    fn description(total: &str, attributes: &str) -> Description {
        Description { total: total.parse().expect("valid"), attributes: attributes.parse().expect("valid") }
    }

    fn container() -> ContainerId {
        ContainerId::new("c1").expect("valid")
    }

    /// An agent that was admitted as this, and has a task.
    fn admitted(total: &str, attributes: &str) -> State {
        let key = TaskKey {
            framework: FrameworkId::new("F").expect("valid"),
            task: TaskId::new("t1").expect("valid"),
        };
        let assignment = Assignment {
            key,
            role: Role::any(),
            resources: Resources::new(),
            message: Default::default(),
            work: Work::Refuse("no matter".into()),
        };
        let description = Box::new(description(total, attributes));
        let mut state = State::default();
        state.apply(&Record::Admitted { agent: AgentId::new("S1").expect("valid") });
        state.apply(&Record::Described { description });
        state.apply(&Record::TaskAccepted { assignment: Box::new(assignment), container: container() });
        state
    }

    fn running() -> Vec<Found> {
        vec![Found { container: container(), condition: Condition::Running { pid: 7 } }]
    }

    const HAD: (&str, &str) = ("cpus:4; mem:1024; ports:[10-20]", "rack:a; open:[80-90]; cores:4");

    #[test]
    fn an_agent_comes_back_to_its_tasks_with_more_of_everything_and_with_new_things() {
        let more = "cpus:4.5; gpus:1; mem:2048; disk:10; ports:[10-30]";
        let now = description(more, "zone:z; rack:a; rack:b; open:[80-95]; cores:4");
        let settled = admitted(HAD.0, HAD.1).settle(now.clone(), &Cores::new(), &running(), |_| true);
        assert_eq!(settled, Ok(now));
    }

    #[test]
    fn less_than_tasks_rely_on_and_other_attributes_are_refused_with_each_difference_and_what_to_do() {
        let state = admitted(HAD.0, HAD.1);
        let now = description("cpus:2; mem:1024; ports:[15-30]", "rack:b; open:[80-85]");
        let refused = state.settle(now, &Cores::new(), &running(), |_| true).expect_err("it has less");
        let expected = [
            "the attribute cores:4 is not there",
            "the attribute open:[80-90] is now open:[80-85]",
            "the attribute rack:a is now rack:b",
            "cpus:4 is now cpus:2",
            "ports:[10-20] is now ports:[15-30]",
        ];
        assert_eq!(refused.changes, expected);
        let said = refused.to_string();
        assert!(said.starts_with("on agent S1 1 task runs that relies on"), "{said}");
        assert!(said.contains("bourse drain S1") && said.contains("checkpoint"), "{said}");
        let without = description("cpus:4; ports:[10-20]", HAD.1);
        let refused = state
            .settle(without, &Cores::new(), &running(), |_| false)
            .expect_err("somebody has taken it away");
        assert_eq!(refused.changes, ["mem:1024 is not there"]);
    }

    #[test]
    fn what_nobody_named_and_is_less_by_itself_is_told_as_it_was_as_long_as_tasks_run() {
        let state = admitted(HAD.0, HAD.1);
        let now = description("cpus:8; mem:1000; ports:[15-30]", HAD.1);
        let settled = state.settle(now.clone(), &Cores::new(), &running(), |name| *name == Name::cpus());
        assert_eq!(settled, Ok(description("cpus:8; mem:1024; ports:[10-20]", HAD.1)));
        assert_eq!(state.settle(now.clone(), &Cores::new(), &[], |_| false), Ok(now));
    }

    #[test]
    fn an_agent_that_can_keep_no_cores_apart_does_not_come_back_to_a_task_that_has_some_for_itself() {
        let mut state = admitted(HAD.0, HAD.1);
        let key = state.tasks.keys().next().expect("one").clone();
        state.apply(&Record::CoresTaken { task: key, cores: [0].into() });
        let now = description(HAD.0, HAD.1);
        let refused = state.settle(now.clone(), &Cores::new(), &running(), |_| false).expect_err("it cannot");
        assert!(refused.to_string().contains("--isolation=process"), "{refused}");
        // With others it can, whichever they are: what becomes of the task is seen when the agent has started.
        assert_eq!(state.settle(now.clone(), &[7].into(), &running(), |_| false), Ok(now.clone()));
        assert_eq!(state.settle(now.clone(), &Cores::new(), &[], |_| false), Ok(now));
    }

    #[test]
    fn without_tasks_that_run_an_agent_may_be_anything() {
        let now = description("cpus:1", "rack:z");
        let over = Found { container: container(), condition: Condition::Vanished };
        for found in [vec![], vec![over]] {
            let settled = admitted(HAD.0, HAD.1).settle(now.clone(), &Cores::new(), &found, |_| true);
            assert_eq!(settled, Ok(now.clone()));
        }
        let of_an_earlier_release = State { described: None, ..admitted(HAD.0, HAD.1) };
        assert_eq!(of_an_earlier_release.settle(now.clone(), &Cores::new(), &running(), |_| true), Ok(now));
    }
}
