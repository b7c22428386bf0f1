//! What operators were told to be done stays done: by their commands and the answers to these, and by what the registry and
//! each master after a restart or a takeover know of it.
//!
//! A command that nobody answered may have been carried out or not; one that was refused changed nothing. A master that was
//! replaced and does not know it may answer that all is as it shall be, by what it remembers: that is not believed.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_master_core::registry::DEFAULT_WEIGHT;
use bourse_master_core::{Command, Done, Refused, RequestId, Snapshot};
use bourse_types::{AgentId, FrameworkId, Milli, Role};

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Role(Role),
    Agent(AgentId),
    Framework(FrameworkId),
}

/// How it is to be with that.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nobody has asked for anything: the weight is the usual one, the agent is offered, the framework goes on.
    Usual,
    Weighs(Milli),
    Drained {
        left: Duration,
        mark_gone: bool,
    },
    Gone,
    TornDown,
}

/// All commands that were given.
#[derive(Debug, Default)]
pub struct Operators {
    /// How it may be: as it was answered last, and as was asked since, each with the number of its command.
    may: BTreeMap<Subject, Vec<(u64, Standing)>>,
    /// By the number of the command, what it is about.
    asked: BTreeMap<u64, Subject>,
}

impl Operators {
    /// An operator asks for this. Commands are carried out in the order of their numbers.
    pub fn asks(&mut self, request: RequestId, command: &Command) {
        let (subject, standing) = match command {
            Command::SetWeight { role, weight } => (Subject::Role(role.clone()), Standing::Weighs(*weight)),
            Command::Drain { agent, deadline, mark_gone } => {
                let standing = Standing::Drained { left: *deadline, mark_gone: *mark_gone };
                (Subject::Agent(agent.clone()), standing)
            }
            Command::Reactivate { agent } => (Subject::Agent(agent.clone()), Standing::Usual),
            Command::MarkGone { agent } => (Subject::Agent(agent.clone()), Standing::Gone),
            Command::Teardown { framework } => (Subject::Framework(framework.clone()), Standing::TornDown),
            // That a task was told to end is not kept; what comes of it is the task's own story.
            Command::Kill { .. } => return,
        };
        self.asked.insert(request.0, subject.clone());
        let may = self.may.entry(subject).or_insert_with(|| vec![(0, Standing::Usual)]);
        may.push((request.0, standing));
    }

    /// An operator was told what came of it. `newest`: by the master that may still write; the registry is as it left it.
    pub fn told(
        &mut self,
        request: RequestId,
        reply: &Result<Done, Refused>,
        newest: bool,
        registry: &Snapshot,
        found: &mut Vec<String>,
    ) {
        let Some(subject) = self.asked.remove(&request.0) else { return };
        let Some(may) = self.may.get_mut(&subject) else { return };
        match reply {
            Err(_) => may.retain(|(number, _)| *number != request.0),
            Ok(_) if newest && may.iter().any(|(number, _)| *number == request.0) => {
                may.retain(|(number, _)| *number >= request.0);
                self.look(&subject, registry, "the registry", found);
            }
            Ok(_) => {}
        }
    }

    /// A master knows this: one that has just read it, or the last one.
    pub fn see(&mut self, known: &Snapshot, found: &mut Vec<String>) {
        let subjects: Vec<Subject> = self.may.keys().cloned().collect();
        subjects.iter().for_each(|subject| self.look(subject, known, "the master", found));
    }

    fn look(&mut self, subject: &Subject, known: &Snapshot, who: &str, found: &mut Vec<String>) {
        let Some(may) = self.may.get(subject) else { return };
        let may: Vec<&Standing> = may.iter().map(|(_, standing)| standing).collect();
        let is = match subject {
            Subject::Role(role) => known.weights.get(role).copied().unwrap_or(DEFAULT_WEIGHT).to_string(),
            Subject::Agent(agent) => {
                let there = known.agents.get(agent).map(|agent| agent.drain);
                format!("gone: {}, drain: {there:?}", known.gone.contains_key(agent))
            }
            Subject::Framework(framework) => {
                format!("torn down: {}", known.removed.contains_key(framework))
            }
        };
        if !may.iter().any(|standing| holds(subject, standing, known)) {
            found
                .push(format!("of {subject:?} an operator was told that it is {may:?}, and {who} says {is}"));
        }
        // Whoever is neither there nor gone was replaced at his address; nothing that is known of him lasts.
        if let Subject::Agent(agent) = subject
            && !known.agents.contains_key(agent)
            && !known.gone.contains_key(agent)
        {
            self.may.remove(subject);
        }
    }
}

/// Whether it is so, by what is known.
fn holds(subject: &Subject, standing: &Standing, known: &Snapshot) -> bool {
    match subject {
        Subject::Role(role) => {
            let weight = known.weights.get(role).copied().unwrap_or(DEFAULT_WEIGHT);
            match standing {
                Standing::Weighs(wanted) => *wanted == weight,
                Standing::Usual => weight == DEFAULT_WEIGHT,
                Standing::Drained { .. } | Standing::Gone | Standing::TornDown => false,
            }
        }
        Subject::Agent(agent) => {
            let gone = known.gone.contains_key(agent);
            let there = known.agents.get(agent);
            match standing {
                Standing::Gone => gone,
                // The agent may have been replaced, or its drain have come to its end.
                Standing::Usual => !gone && there.is_none_or(|agent| agent.drain.is_none()),
                Standing::Drained { left, mark_gone } => match there {
                    None => !gone || *mark_gone,
                    Some(agent) => {
                        agent.drain.is_some_and(|drain| (drain.left, drain.mark_gone) == (*left, *mark_gone))
                    }
                },
                Standing::Weighs(_) | Standing::TornDown => false,
            }
        }
        Subject::Framework(framework) => match standing {
            Standing::TornDown => {
                known.removed.contains_key(framework) && !known.frameworks.contains_key(framework)
            }
            // It may end in other ways.
            Standing::Usual => true,
            Standing::Weighs(_) | Standing::Drained { .. } | Standing::Gone => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_master_core::Change;

    fn weighs(weight: u64) -> Command {
        Command::SetWeight { role: Role::any(), weight: Milli::whole(weight) }
    }

    fn registry(weight: u64) -> Snapshot {
        let mut registry = Snapshot::default();
        registry.apply(&Change::WeightSet { role: Role::any(), weight: Milli::whole(weight) });
        registry
    }

    /// What is found when a master reads this registry.
    fn seen(operators: &mut Operators, registry: &Snapshot) -> usize {
        let mut found = Vec::new();
        operators.see(registry, &mut found);
        found.len()
    }

    #[test]
    fn what_was_answered_has_to_be_there_and_what_was_not_may_be() {
        let (mut operators, mut found) = (Operators::default(), Vec::new());
        operators.asks(RequestId(1), &weighs(2));
        assert_eq!((seen(&mut operators, &registry(1)), seen(&mut operators, &registry(2))), (0, 0));
        operators.told(RequestId(1), &Ok(Done::WeightSet), true, &registry(2), &mut found);
        operators.asks(RequestId(2), &weighs(3));
        assert_eq!((seen(&mut operators, &registry(2)), seen(&mut operators, &registry(3))), (0, 0));
        assert_eq!(seen(&mut operators, &registry(1)), 1, "what was before is not there any more");
        let refused = Refused::Invalid("too heavy".to_owned());
        operators.told(RequestId(2), &Err(refused), true, &registry(2), &mut found);
        assert_eq!(seen(&mut operators, &registry(3)), 1, "it was refused");
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_answer_before_it_is_in_the_registry_is_found_and_one_of_a_master_that_was_replaced_is_not_believed()
    {
        let (mut operators, mut found) = (Operators::default(), Vec::new());
        operators.asks(RequestId(1), &weighs(2));
        operators.told(RequestId(1), &Ok(Done::WeightSet), false, &registry(1), &mut found);
        assert_eq!((found.len(), seen(&mut operators, &registry(1))), (0, 0));
        operators.asks(RequestId(2), &weighs(2));
        operators.told(RequestId(2), &Ok(Done::WeightSet), true, &registry(1), &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn an_agent_that_was_drained_to_be_gone_may_be_gone_and_is_not_offered_again() {
        let agent: AgentId = AgentId::new("m1-S0").expect("valid");
        let (left, mark_gone) = (Duration::from_secs(5), true);
        let (mut operators, mut found) = (Operators::default(), Vec::new());
        operators.asks(RequestId(1), &Command::Drain { agent: agent.clone(), deadline: left, mark_gone });
        let mut gone = Snapshot::default();
        gone.apply(&Change::AgentGone { id: agent.clone(), at: bourse_types::Wall(1) });
        let done = Done::Draining { agent: agent.clone(), deadline: bourse_types::Wall(5_001), tasks: 1 };
        operators.told(RequestId(1), &Ok(done), true, &gone, &mut found);
        assert_eq!((found.len(), seen(&mut operators, &gone)), (0, 0));
        operators.asks(RequestId(2), &Command::MarkGone { agent: agent.clone() });
        operators.told(RequestId(2), &Ok(Done::MarkedGone { agent }), true, &gone, &mut found);
        assert_eq!((found.len(), seen(&mut operators, &Snapshot::default())), (0, 1), "gone is for ever");
    }
}
