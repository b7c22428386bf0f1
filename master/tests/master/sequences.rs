//! Any calls in any order: whole, damaged, repeated, too late, about what is somebody else's or was never there, by several
//! schedulers, agents and an operator, while connections break and the master is killed.
//!
//! Each call has its clear answer, and who comes afterwards and means well is served. What the master was told at its doors
//! is then told again to its core: nothing may be broken after any of it, and all must have the same effects.

mod players;
mod steps;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bourse_client::Connection;
use bourse_hostile::told;
use bourse_master::recording::{Recording, Verdict};
use bourse_proto::operator as wire;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::TaskState;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use tonic::{Code, Status};

use crate::harness::*;
use players::{Agent, Scheduler};
use steps::{HOSTS, Kind, Order, Pick, Sent, Step, TOKENS, steps};

/// As many as steps take in some seconds of `make test`: a case starts a master, and often several.
const CASES: u32 = 24;

/// How a call that is not understood or not allowed is answered.
const REFUSALS: [Code; 6] = [
    Code::InvalidArgument,
    Code::Unimplemented,
    Code::PermissionDenied,
    Code::FailedPrecondition,
    Code::ResourceExhausted,
    Code::NotFound,
];

/// What was answered; a refusal is one in words.
fn answered<T>(answer: Result<T, Status>) -> Option<T> {
    let judged = answer.inspect_err(|status| {
        assert!(REFUSALS.contains(&status.code()), "{status:?}");
        told(&status.message());
    });
    judged.ok()
}

/// One of them, if there are any.
fn any_of<T: Clone>(all: &[T], at: &Index) -> Option<T> {
    (!all.is_empty()).then(|| at.get(all).clone())
}

struct World {
    cluster: Cluster,
    operator: Connection,
    schedulers: Vec<Scheduler>,
    agents: Vec<Agent>,
}

impl World {
    /// Two schedulers and all agents are there, so that the first steps find something.
    async fn begin() -> World {
        let cluster = Cluster::start().await;
        let operator = cluster.connect(OPERATOR).await;
        let (mut schedulers, mut agents) = (Vec::new(), Vec::new());
        for (n, token) in TOKENS.into_iter().enumerate() {
            schedulers.push(Scheduler::new(&cluster, format!("f{n}"), token).await);
        }
        for scheduler in &mut schedulers[..2] {
            scheduler.subscribe(false, None).await;
        }
        for host in HOSTS {
            let mut agent = Agent::new(host);
            agent.register(&cluster, false, false, None).await;
            agents.push(agent);
        }
        World { cluster, operator, schedulers, agents }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Subscribe { who, again, harm } => {
                self.schedulers[*who].subscribe(*again, harm.as_ref()).await;
            }
            Step::HangUp { who } => self.schedulers[*who].hang_up(),
            Step::Call { who, call, harm } => {
                let stream_id = self.schedulers[call.by.unwrap_or(*who)].stream_id.clone();
                let call = self.call(call.of.unwrap_or(*who), call).await;
                self.schedulers[*who].call(&stream_id, &call, harm.as_ref()).await;
            }
            Step::Register { host, as_before, more, harm } => {
                self.agents[*host].register(&self.cluster, *as_before, *more, harm.as_ref()).await;
            }
            Step::Unlink { host } => self.agents[*host].hang_up(),
            Step::Update { host, about, state, times, harm } => {
                let agent = &mut self.agents[*host];
                let tasks = agent.tasks();
                let task = match about {
                    Pick::Next => tasks.last().cloned(),
                    Pick::Any(at) => any_of(&tasks, at),
                    Pick::Forged(id) => Some(((*id).to_owned(), (*id).to_owned())),
                };
                if let Some(task) = task {
                    agent.update(&task, *state, *times, harm.as_ref()).await;
                }
            }
            Step::Operate { about, order } => self.operate(about, *order).await,
            Step::Restart => {
                self.cluster.kill_and_restart().await;
                self.operator = self.cluster.connect(OPERATOR).await;
                for scheduler in &mut self.schedulers {
                    scheduler.reconnect(&self.cluster).await;
                }
                self.agents.iter_mut().for_each(Agent::hang_up);
            }
        }
    }

    /// The call, as the scheduler `of` would make it.
    async fn call(&mut self, of: usize, sent: &Sent) -> carrier::Call {
        let scheduler = &mut self.schedulers[of];
        let framework = match sent.about {
            Pick::Forged(id) => id.to_owned(),
            Pick::Next | Pick::Any(_) => scheduler.framework(),
        };
        let blank = |kind: Type| carrier::Call {
            framework_id: Some(framework_id(&framework)),
            r#type: Some(kind as i32),
            ..carrier::Call::default()
        };
        let task_name = format!("t{}", sent.task);
        match sent.kind {
            Kind::Accept { amounts, twice } => {
                let offer = offer(scheduler, &sent.about).await;
                let launch = carrier::Launch {
                    task_infos: vec![task(&offer, &task_name, amounts).encode_to_vec().into()],
                };
                let operation = carrier::Operation {
                    r#type: Some(v1::offer::operation::Type::Launch as i32),
                    launch: Some(launch),
                    ..carrier::Operation::default()
                };
                let accept = carrier::Accept {
                    offer_ids: vec![offer.id.unwrap_or_default(); 1 + usize::from(twice)],
                    operations: vec![operation.encode_to_vec().into()],
                    filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
                };
                carrier::Call { accept: Some(accept), ..blank(Type::Accept) }
            }
            Kind::Decline => {
                let offer_ids = offer(scheduler, &sent.about).await.id.into_iter().collect();
                let filters = Some(v1::Filters { refuse_seconds: Some(0.05) });
                carrier::Call { decline: Some(call::Decline { offer_ids, filters }), ..blank(Type::Decline) }
            }
            Kind::Revive => blank(Type::Revive),
            Kind::Suppress => blank(Type::Suppress),
            Kind::Kill => {
                let kill =
                    call::Kill { task_id: Some(task_id(&task_name)), agent_id: None, kill_policy: None };
                carrier::Call { kill: Some(kill), ..blank(Type::Kill) }
            }
            Kind::Acknowledge => {
                let statuses = scheduler.statuses();
                let status = match &sent.about {
                    Pick::Next => statuses.last().cloned(),
                    Pick::Any(at) => any_of(&statuses, at),
                    Pick::Forged(_) => None,
                };
                let status = status.unwrap_or_else(|| v1::TaskStatus {
                    task_id: Some(task_id(&task_name)),
                    agent_id: Some(v1::AgentId { value: Some("S0".to_owned()) }),
                    uuid: Some(vec![7; 16].into()),
                    ..v1::TaskStatus::default()
                });
                let acknowledge = call::Acknowledge {
                    agent_id: status.agent_id,
                    task_id: status.task_id,
                    uuid: status.uuid,
                };
                carrier::Call { acknowledge: Some(acknowledge), ..blank(Type::Acknowledge) }
            }
            Kind::Reconcile => {
                let asked = call::reconcile::Task { task_id: Some(task_id(&task_name)), agent_id: None };
                let tasks = match sent.about {
                    Pick::Next => Vec::new(),
                    Pick::Any(_) | Pick::Forged(_) => vec![asked],
                };
                carrier::Call { reconcile: Some(call::Reconcile { tasks }), ..blank(Type::Reconcile) }
            }
            Kind::UpdateFramework => {
                let info = v1::FrameworkInfo {
                    id: Some(framework_id(&framework)),
                    roles: vec!["*".to_owned(), "eng".to_owned()],
                    ..framework_info("renamed")
                };
                let update = carrier::UpdateFramework { framework_info: Some(info), ..Default::default() };
                carrier::Call { update_framework: Some(update), ..blank(Type::UpdateFramework) }
            }
            Kind::Teardown => blank(Type::Teardown),
        }
    }

    async fn operate(&mut self, about: &Pick, order: Order) {
        let which = |count: usize| match about {
            Pick::Next => 0,
            Pick::Any(at) => at.index(count),
            Pick::Forged(_) => count,
        };
        let agent = HOSTS.get(which(HOSTS.len())).copied().unwrap_or("nobody").to_owned();
        let framework = match self.schedulers.get_mut(which(TOKENS.len())) {
            Some(scheduler) => scheduler.framework(),
            None => "nobody".to_owned(),
        };
        let mut operator = self.operator.operator();
        match order {
            Order::Weight => {
                let request = wire::SetWeightRequest { role: "eng".to_owned(), weight: 2.5 };
                answered(within(operator.set_weight(request)).await);
            }
            Order::Drain => {
                let request = wire::DrainAgentRequest { agent, deadline_seconds: 0.0, mark_gone: false };
                answered(within(operator.drain_agent(request)).await);
            }
            Order::Reactivate => {
                answered(within(operator.reactivate_agent(wire::ReactivateAgentRequest { agent })).await);
            }
            Order::Gone => {
                answered(within(operator.mark_agent_gone(wire::MarkAgentGoneRequest { agent })).await);
            }
            Order::Kill => {
                let request = wire::KillTaskRequest { task: "t0".to_owned(), framework, grace_seconds: None };
                answered(within(operator.kill_task(request)).await);
            }
            Order::Teardown => {
                let request = wire::TeardownFrameworkRequest { framework };
                answered(within(operator.teardown_framework(request)).await);
            }
        }
    }

    /// The master answers, and what it shows can be.
    async fn look(&self) {
        let mut operator = self.operator.operator();
        let offers = within(operator.list_offers(wire::ListOffersRequest::default())).await;
        let offers = offers.expect("it answers").into_inner().offers;
        let ids: BTreeSet<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
        assert_eq!(ids.len(), offers.len(), "two offers have one id: {offers:?}");
        let tasks = within(operator.list_tasks(wire::ListTasksRequest::default())).await;
        let tasks = tasks.expect("it answers").into_inner().tasks;
        let ids: BTreeSet<_> = tasks.iter().map(|task| (&task.framework_id, &task.id)).collect();
        assert_eq!(ids.len(), tasks.len(), "two tasks of a framework have one id: {tasks:?}");
        for task in &tasks {
            assert!(!task.agent_id.is_empty(), "a task that has not ended is on no agent: {task:?}");
        }
    }

    /// Who comes now and means well is served; then all is told again to the core.
    async fn end(mut self) {
        self.schedulers.clear();
        let mut agent = self.cluster.agent("host-z", "cpus:1; mem:64").await;
        let mut scheduler = FakeScheduler::subscribe(&self.cluster, OPERATOR, framework_info("honest"))
            .await
            .expect("admitted");
        let offer = loop {
            let offers = scheduler.offers().await;
            let found = offers.into_iter().find(|offer| offer.hostname.as_deref() == Some("host-z"));
            if let Some(offer) = found {
                break offer;
            }
        };
        scheduler.launch(&offer, &task(&offer, "good", "cpus:1; mem:64")).await.expect("taken");
        agent.run_task().await;
        agent.update(&scheduler.framework, "good", TaskState::Running).await;
        assert_eq!(state(&scheduler.update_of("good").await), "TASK_RUNNING");
        self.cluster.stop().await.expect("a clean end");

        let recording = Recording::open(&self.cluster.work_dir()).expect("there is one");
        let mut inputs = 0;
        for epoch in recording.epochs().collect::<Vec<_>>() {
            let replayed = recording.replay(epoch, |step| {
                assert!(matches!(step.verdict, Verdict::Same | Verdict::Unknown), "{step:?}");
                assert_eq!(step.master.violations(), Vec::<String>::new(), "after {:?}", step.event);
                ControlFlow::Continue(())
            });
            let outcome = replayed.expect("it is whole");
            assert!(outcome.is_same(), "{outcome:?}");
            inputs += outcome.inputs;
        }
        assert!(inputs > 0, "nothing was recorded");
    }
}

/// An offer of this scheduler, or one that never was.
async fn offer(scheduler: &mut Scheduler, about: &Pick) -> v1::Offer {
    let offer = match about {
        Pick::Next => scheduler.next_offer().await,
        Pick::Any(at) => any_of(&scheduler.offers(), at),
        Pick::Forged(_) => None,
    };
    let forged = match about {
        Pick::Forged(id) => *id,
        Pick::Next | Pick::Any(_) => "m-O999",
    };
    offer.unwrap_or_else(|| v1::Offer {
        id: Some(v1::OfferId { value: Some(forged.to_owned()) }),
        agent_id: Some(v1::AgentId { value: Some("S0".to_owned()) }),
        ..v1::Offer::default()
    })
}

async fn play(steps: Vec<Step>) {
    let mut world = World::begin().await;
    for step in &steps {
        world.take(step).await;
        world.look().await;
    }
    world.end().await;
}

proptest! {
    // Each step of a shorter run is a master, too.
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_called_in_whatever_order_has_its_answer_breaks_nothing_and_is_replayed_to_the_same(
        steps in steps(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play(steps));
    }
}
