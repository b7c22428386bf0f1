//! Anything may happen in any order, twice, or late: the invariants hold, the registry agrees, and the same events have
//! the same effects, also on a master that was taken apart and put together again. [`World::apply`] checks all of that
//! after each event.

use std::time::Duration;

use bourse_master_core::effect::{Effect, ToAgent, ToScheduler};
use bourse_master_core::event::{Accept, Call, Command, Event, Launch, LinkId};
use bourse_types::{AgentId, OfferId, TaskId, TaskState};
use proptest::prelude::*;

use crate::world::*;

const ROLES: [&str; 4] = ["*", "eng", "eng/web", "ops"];
const MACHINES: [&str; 4] = [
    "cpus:4;mem:1024;ports:[31000-31009]",
    "cpus:1;mem:64",
    "cpus:2;mem:512;cpus(eng):2;mem(eng):256",
    "cpus:8;mem:256",
];
const SIZES: [&str; 4] = ["cpus:1;mem:32", "cpus:0.1", "cpus:2;mem:128;ports:[31000-31001]", "cpus:100"];
const STATES: [TaskState; 8] = [
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Finished,
    TaskState::Failed,
    TaskState::Killed,
    TaskState::Dropped,
    TaskState::Running,
];

/// One thing that may happen. The numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    NewAgent(usize),
    AgentBack { agent: usize, machine: usize, forgets: bool },
    LinkCloses { agent: usize },
    Update { agent: usize, task: usize, state: usize, uuid: u8 },
    NewFramework { role: usize, more: usize, fragile: bool },
    FrameworkBack { framework: usize, role: usize },
    StreamCloses { framework: usize },
    Accept { framework: usize, offers: usize, size: usize, id: u8, refuse: u64 },
    Decline { framework: usize, refuse: u64 },
    Suppress { framework: usize },
    Revive { framework: usize },
    Kill { framework: usize, task: usize },
    Resize { framework: usize, task: usize, size: usize, offered: bool },
    Resized { task: usize, size: usize, done: bool },
    Acknowledge { framework: usize, task: usize },
    Reconcile { framework: usize },
    UpdateRoles { framework: usize, role: usize },
    Operate { what: usize, agent: usize, framework: usize, seconds: u64 },
    Pass { milliseconds: u64 },
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let n = || 0usize..8;
    prop_oneof![
        2 => n().prop_map(Step::NewAgent),
        3 => (n(), n(), any::<bool>()).prop_map(|(agent, machine, forgets)| Step::AgentBack { agent, machine, forgets }),
        2 => n().prop_map(|agent| Step::LinkCloses { agent }),
        8 => (n(), n(), n(), 1u8..20).prop_map(|(agent, task, state, uuid)| Step::Update { agent, task, state, uuid }),
        2 => (n(), n(), any::<bool>()).prop_map(|(role, more, fragile)| Step::NewFramework { role, more, fragile }),
        2 => (n(), n()).prop_map(|(framework, role)| Step::FrameworkBack { framework, role }),
        1 => n().prop_map(|framework| Step::StreamCloses { framework }),
        10 => (n(), 1usize..3, n(), 0u8..12, 0u64..10)
            .prop_map(|(framework, offers, size, id, refuse)| Step::Accept { framework, offers, size, id, refuse }),
        3 => (n(), 0u64..100).prop_map(|(framework, refuse)| Step::Decline { framework, refuse }),
        1 => n().prop_map(|framework| Step::Suppress { framework }),
        2 => n().prop_map(|framework| Step::Revive { framework }),
        2 => (n(), n()).prop_map(|(framework, task)| Step::Kill { framework, task }),
        4 => (n(), n(), n(), any::<bool>())
            .prop_map(|(framework, task, size, offered)| Step::Resize { framework, task, size, offered }),
        4 => (n(), n(), any::<bool>()).prop_map(|(task, size, done)| Step::Resized { task, size, done }),
        6 => (n(), n()).prop_map(|(framework, task)| Step::Acknowledge { framework, task }),
        1 => n().prop_map(|framework| Step::Reconcile { framework }),
        1 => (n(), n()).prop_map(|(framework, role)| Step::UpdateRoles { framework, role }),
        2 => (0usize..6, n(), n(), 0u64..40)
            .prop_map(|(what, agent, framework, seconds)| Step::Operate { what, agent, framework, seconds }),
        6 => (0u64..20_000).prop_map(|milliseconds| Step::Pass { milliseconds }),
        1 => Just(Step::Restart),
    ]
}

/// What the world outside the master remembers: links and streams, and what agents were told to run.
#[derive(Default)]
struct Outside {
    agents: Vec<(AgentId, LinkId)>,
    frameworks: Vec<Sub>,
    /// Framework, task, agent, size: until the agent forgets it.
    tasks: Vec<(Sub, TaskId, AgentId, String)>,
    /// The last update of each task that a scheduler was told.
    told: Vec<(Sub, AgentId, TaskId, u8)>,
}

fn pick<T>(all: &[T], index: usize) -> Option<&T> {
    (!all.is_empty()).then(|| &all[index % all.len()])
}

impl Outside {
    fn learn(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::ToAgent { agent, message: ToAgent::Run { framework, task, .. }, .. } => {
                    let id = framework.id.clone().expect("the master runs tasks of frameworks with an id");
                    if let Some(sub) = self.frameworks.iter().find(|sub| sub.id == id) {
                        let entry = (sub.clone(), task.id.clone(), agent.clone(), task.resources.to_string());
                        self.tasks.push(entry);
                    }
                }
                Effect::ToScheduler { framework, message: ToScheduler::Update(status), .. } => {
                    let sub = self.frameworks.iter().find(|sub| sub.id == *framework);
                    if let (Some(sub), Some(uuid), Some(agent)) = (sub, status.uuid, &status.agent_id) {
                        self.told.push((sub.clone(), agent.clone(), status.task_id.clone(), uuid[0]));
                    }
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, w: &mut World, step: &Step) {
        let Some(event) = self.event(w, step) else { return };
        let effects = w.apply(event).to_vec();
        self.learn(&effects);
        for effect in &effects {
            if let Effect::ToAgent { agent, link, message: ToAgent::Registered { .. } } = effect {
                self.agents.retain(|(known, _)| known != agent);
                self.agents.push((agent.clone(), *link));
            }
            if let Effect::ToScheduler { framework, stream, message: ToScheduler::Subscribed { .. } } = effect
            {
                self.frameworks.retain(|sub| sub.id != *framework);
                self.frameworks.push(Sub { id: framework.clone(), stream: *stream });
            }
        }
    }

    fn event(&mut self, w: &mut World, step: &Step) -> Option<Event> {
        let framework = |outside: &Outside, index: &usize| pick(&outside.frameworks, *index).cloned();
        Some(match step {
            Step::NewAgent(machine) => {
                let link = w.link();
                let info = agent_info(MACHINES[machine % 4], 100 + link.0 as u16);
                let registration = bourse_master_core::Registration {
                    id: None,
                    info,
                    tasks: vec![],
                    frameworks: vec![],
                    epoch: bourse_types::Epoch(1),
                    capabilities: bourse_types::AgentCapability::all(),
                    principal: None,
                };
                Event::AgentRegisters { link, registration: Box::new(registration) }
            }
            Step::AgentBack { agent, machine, forgets } => {
                let (id, _) = pick(&self.agents, *agent)?.clone();
                if *forgets {
                    self.tasks.retain(|(_, _, of, _)| *of != id);
                }
                let here = self.tasks.iter().filter(|(_, _, of, _)| *of == id);
                let tasks = here.map(|(sub, task, of, size)| {
                    report(&sub.id, task.as_str(), of, size, TaskState::Running)
                });
                let mut tasks: Vec<_> = tasks.collect();
                tasks.dedup_by(|a, b| a.task.id == b.task.id && a.framework == b.framework);
                let link = w.link();
                registers_with(link, Some(&id), MACHINES[machine % 4], tasks, vec![])
            }
            Step::LinkCloses { agent } => {
                let (agent, link) = pick(&self.agents, *agent)?.clone();
                Event::AgentLinkClosed { agent, link }
            }
            Step::Update { agent, task, state, uuid } => {
                let (sub, task, of, _) = pick(&self.tasks, *task)?.clone();
                let link = self.agents.iter().find(|(id, _)| *id == of).map(|(_, link)| *link);
                // Sometimes by a link that is somebody else's.
                let link = if agent % 7 == 0 { pick(&self.agents, *agent)?.1 } else { link? };
                update(&of, link, &sub.id, task.as_str(), STATES[state % 8], *uuid)
            }
            Step::NewFramework { role, more, fragile } => {
                let mut roles = vec![ROLES[role % 4]];
                if more % 2 == 0 && ROLES[more % 4] != roles[0] {
                    roles.push(ROLES[more % 4]);
                }
                let mut info = framework_info(&roles);
                info.checkpoint = !fragile;
                info.capabilities.partition_aware = more % 3 != 0;
                if more % 5 == 0 {
                    info.failover_timeout = Duration::ZERO;
                }
                let stream = w.stream();
                subscribes(stream, info)
            }
            Step::FrameworkBack { framework: which, role } => {
                let sub = framework(self, which)?;
                let stream = w.stream();
                sub.again(stream, framework_info(&[ROLES[role % 4]]))
            }
            Step::StreamCloses { framework: which } => framework(self, which)?.closes(),
            Step::Accept { framework: which, offers, size, id, refuse } => {
                let sub = framework(self, which)?;
                let held = w.offers_of(&sub);
                let named: Vec<OfferId> = held.iter().take(*offers).cloned().collect();
                let agent =
                    named.first().and_then(|id| w.view().offer(id).map(|offer| offer.agent.clone()))?;
                let tasks = [0, 1].map(|more| {
                    task_info(&format!("t{}", id + more), &agent, SIZES[(size + usize::from(more)) % 4])
                });
                let launches = tasks.into_iter().map(|task| Launch::Task(Box::new(task))).collect();
                sub.call(Call::Accept(Accept {
                    offers: named,
                    launches,
                    resizes: vec![],
                    refuse: secs(*refuse),
                }))
            }
            Step::Decline { framework: which, refuse } => {
                let sub = framework(self, which)?;
                let offers = w.offers_of(&sub);
                sub.call(Call::Decline { offers, refuse: secs(*refuse) })
            }
            Step::Suppress { framework: which } => framework(self, which)?.suppress(&[]),
            Step::Revive { framework: which } => framework(self, which)?.revive(&[]),
            Step::Kill { framework: which, task } => {
                let (_, task, _, _) = pick(&self.tasks, *task)?.clone();
                framework(self, which)?.kill(task.as_str(), None, None)
            }
            Step::Resize { framework: which, task, size, offered } => {
                let sub = framework(self, which)?;
                let task = self.tasks.get(*task).map_or("t0", |(_, task, _, _)| task.as_str()).to_owned();
                let held = w.offers_of(&sub);
                let named: Vec<&OfferId> = held.iter().take(usize::from(*offered)).collect();
                sub.resize(&named, &[(&task, SIZES[size % 4])])
            }
            Step::Resized { task, size, done } => {
                let at = task % self.tasks.len().max(1);
                let (sub, task, of, had) = self.tasks.get(at)?.clone();
                let link = self.agents.iter().find(|(id, _)| *id == of).map(|(_, link)| *link)?;
                let ordered = w
                    .view()
                    .task(&sub.id, &task)
                    .and_then(|task| task.resize.as_ref().map(|it| it.resources.to_string()));
                let wanted = ordered.unwrap_or_else(|| SIZES[size % 4].to_owned());
                // Now and then an agent gives it something that nobody asked for.
                let has = match (done, size % 8) {
                    (true, 7) => SIZES[2].to_owned(),
                    (true, _) => wanted.clone(),
                    (false, _) => had,
                };
                self.tasks[at].3.clone_from(&has);
                task_resized(&of, link, &sub, task.as_str(), &wanted, &has)
            }
            Step::Acknowledge { framework: which, task } => {
                let (sub, agent, task, uuid) =
                    pick(&self.told, self.told.len().saturating_sub(1 + *task))?.clone();
                let current = self.frameworks.iter().find(|known| known.id == sub.id).cloned();
                current.or_else(|| framework(self, which))?.acknowledge(&agent, task.as_str(), uuid)
            }
            Step::Reconcile { framework: which } => framework(self, which)?.reconcile(&[]),
            Step::UpdateRoles { framework: which, role } => {
                let info = Box::new(framework_info(&[ROLES[role % 4]]));
                framework(self, which)?.call(Call::UpdateFramework { info, suppressed: vec![] })
            }
            Step::Operate { what, agent, framework: which, seconds } => {
                let agent = pick(&self.agents, *agent).map(|(id, _)| id.clone())?;
                operate(match what {
                    0 | 1 => Command::Drain { agent, deadline: secs(*seconds), mark_gone: *seconds % 2 == 0 },
                    2 => Command::Reactivate { agent },
                    3 => Command::MarkGone { agent },
                    4 => Command::Teardown { framework: framework(self, which)?.id },
                    _ => {
                        let weight = bourse_types::Milli::whole(1 + *seconds);
                        Command::SetWeight { role: role(ROLES[which % 4]), weight }
                    }
                })
            }
            Step::Pass { milliseconds } => {
                let effects = w.pass(Duration::from_millis(*milliseconds));
                self.learn(&effects);
                return None;
            }
            Step::Restart => {
                w.restart(secs(1));
                self.agents.iter_mut().for_each(|(_, link)| *link = LinkId(0));
                return None;
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_the_same_events_have_the_same_effects(
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let mut w = World::new();
        let mut outside = Outside::default();
        for step in &steps {
            outside.take(&mut w, step);
        }
        // What adds up from other records is the same too, to the last word.
        prop_assert_eq!(format!("{:?}", w.put_together()), format!("{:?}", w.master));
        // Explaining anything at any moment is safe.
        let view = w.view();
        for framework in view.frameworks() {
            let subject = bourse_master_core::Subject::Framework(framework.id.clone());
            prop_assert!(view.explain(&subject, Some(&resources("cpus:2;mem:64")), 1).is_some());
        }
        prop_assert!(!view.verdict().is_empty());
    }
}
