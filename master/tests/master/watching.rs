//! The event stream: a snapshot, then what changes, resumable.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::operator as wire;
use bourse_proto::operator::watch_event::Event as Part;
use bourse_types::TaskState;
use prost::Message as _;
use tonic::Streaming;

use crate::harness::*;

/// A reader that keeps what it was told.
#[derive(Default)]
struct Seen {
    token: String,
    snapshots: usize,
    agents: BTreeMap<String, wire::Agent>,
    frameworks: BTreeMap<String, wire::Framework>,
    tasks: BTreeMap<String, wire::Task>,
    offers: BTreeMap<String, wire::Offer>,
    history: Vec<u64>,
}

impl Seen {
    fn take(&mut self, event: wire::WatchEvent) {
        if !event.token.is_empty() {
            self.token = event.token;
        }
        match event.event.expect("a part") {
            Part::SnapshotBegin(_) => {
                *self = Seen { token: String::new(), snapshots: self.snapshots + 1, ..Seen::default() };
            }
            Part::Agent(agent) => drop(self.agents.insert(agent.id.clone(), agent)),
            Part::Framework(framework) => drop(self.frameworks.insert(framework.id.clone(), framework)),
            Part::Task(task) => drop(self.tasks.insert(task.id.clone(), task)),
            Part::Offer(offer) => drop(self.offers.insert(offer.id.clone(), offer)),
            Part::Gone(gone) => match gone.kind.as_str() {
                "agent" => drop(self.agents.remove(&gone.id)),
                "framework" => drop(self.frameworks.remove(&gone.id)),
                "task" => drop(self.tasks.remove(&gone.id)),
                "offer" => drop(self.offers.remove(&gone.id)),
                _ => {}
            },
            Part::History(entry) => self.history.push(entry.sequence),
            Part::SnapshotEnd(_) | Part::Cluster(_) => {}
        }
    }

    /// What there is, and how it is, without what is only measured or counted.
    fn pictured(&self) -> Vec<String> {
        let agents =
            self.agents.values().map(|agent| format!("{} {} {}", agent.id, agent.state, agent.tasks));
        let frameworks = self.frameworks.values().map(|framework| {
            let (offers, tasks) = (framework.offers, framework.tasks);
            format!("{} {} {offers} {tasks}", framework.id, framework.state)
        });
        let tasks =
            self.tasks.values().map(|task| format!("{} {} {}", task.id, task.state, task.statuses.len()));
        let offers = self.offers.keys().cloned();
        agents.chain(frameworks).chain(tasks).chain(offers).collect()
    }

    async fn until(&mut self, events: &mut Streaming<wire::WatchEvent>, done: impl Fn(&Seen) -> bool) {
        within(async {
            while !done(self) {
                let event = events.message().await.expect("the stream holds").expect("an event");
                self.take(event);
            }
        })
        .await;
    }
}

async fn watch(cluster: &Cluster, token: &str) -> Streaming<wire::WatchEvent> {
    let connection = cluster.connect(OPERATOR).await;
    let request = wire::WatchRequest { token: token.to_owned() };
    within(connection.operator().watch(request)).await.expect("an answer").into_inner()
}

#[tokio::test]
async fn a_reader_has_what_the_master_has_by_a_snapshot_and_what_changes_after_it() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    seen.until(&mut events, |seen| seen.snapshots == 1 && !seen.token.is_empty() && seen.agents.len() == 1)
        .await;

    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let id = offer.id.clone().and_then(|id| id.value).expect("an id");
    seen.until(&mut events, |seen| seen.offers.contains_key(&id)).await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
    seen.until(&mut events, |seen| seen.tasks.contains_key("t1") && !seen.offers.contains_key(&id)).await;
    agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    let running = |seen: &Seen| seen.tasks["t1"].state == "TASK_RUNNING";
    seen.until(&mut events, running).await;
    assert_eq!(seen.snapshots, 1);
    assert!(!seen.history.is_empty() && seen.history.is_sorted());
}

#[tokio::test]
async fn a_reader_that_comes_back_with_its_token_hears_only_what_it_missed() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    seen.until(&mut events, |seen| !seen.token.is_empty() && seen.agents.len() == 1).await;
    drop(events);

    let missed = cluster.agent("host-b", "cpus:2; mem:512").await;
    let mut events = watch(&cluster, &seen.token).await;
    seen.until(&mut events, |seen| seen.agents.contains_key(&missed.id)).await;
    assert_eq!((seen.snapshots, seen.agents.len()), (1, 2));
}

#[tokio::test]
async fn after_much_has_changed_a_reader_has_the_same_as_one_that_begins_anew() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:64; mem:8192").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    seen.until(&mut events, |seen| !seen.token.is_empty()).await;

    // Tasks that run, end, end acknowledged, or are refused; an agent that comes and goes; a framework that is torn down.
    for n in 0..12 {
        let offer = scheduler.offer().await;
        let id = format!("t{n}");
        let amounts = if n % 4 == 3 { "cpus:100; mem:64" } else { "cpus:1; mem:64" };
        scheduler.launch(&offer, &task(&offer, &id, amounts)).await.expect("understood");
        if n % 4 == 3 {
            continue;
        }
        agent.run_task().await;
        agent.update(&scheduler.framework, &id, TaskState::Running).await;
        let status = scheduler.update_of(&id).await;
        if n % 4 > 0 {
            scheduler.acknowledge(&status).await.expect("taken");
            agent.hear().await;
            agent.update(&scheduler.framework, &id, TaskState::Finished).await;
            let status = scheduler.update_of(&id).await;
            if n % 4 == 2 {
                scheduler.acknowledge(&status).await.expect("taken");
                agent.hear().await;
            }
        }
    }
    drop(cluster.agent("host-b", "cpus:2; mem:512").await);
    let other = cluster.scheduler("other").await;
    let teardown = bourse_proto::v1::scheduler::call::Type::Teardown;
    other.call(other.blank(teardown)).await.expect("taken");

    // Nothing happens any more but what is on its way: in the end both have the same.
    within(async {
        loop {
            let mut anew_events = watch(&cluster, "").await;
            let mut anew = Seen::default();
            anew.until(&mut anew_events, |seen| !seen.token.is_empty()).await;
            while let Ok(event) = tokio::time::timeout(Duration::from_millis(300), events.message()).await {
                seen.take(event.expect("the stream holds").expect("an event"));
            }
            if seen.pictured() == anew.pictured() {
                return;
            }
        }
    })
    .await;
    assert_eq!(seen.snapshots, 1);
    assert!(seen.tasks.len() >= 9, "{:?}", seen.tasks.keys());
}

#[tokio::test]
async fn a_token_of_a_master_before_or_of_nobody_begins_with_a_snapshot() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    seen.until(&mut events, |seen| !seen.token.is_empty()).await;
    cluster.kill_and_restart().await;
    for token in [seen.token.as_str(), "nonsense", "1-999999999"] {
        let mut events = watch(&cluster, token).await;
        let first = within(events.message()).await.expect("the stream holds").expect("an event");
        assert!(matches!(first.event, Some(Part::SnapshotBegin(_))), "{token}: {first:?}");
    }
}

#[tokio::test]
async fn a_reader_hears_of_everything_in_a_burst_though_it_is_more_than_goes_along_with_a_picture() {
    const TASKS: usize = 1_000;
    let cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:100; mem:100000").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    // What the snapshot does not have yet comes after it.
    seen.until(&mut events, |seen| seen.snapshots == 1 && !seen.history.is_empty()).await;
    let first = seen.history[0];
    let tasks = (0..TASKS).map(|n| task(&offer, &format!("t{n}"), "cpus:0.01; mem:1").encode_to_vec().into());
    scheduler.call(scheduler.accept(&[&offer], tasks.collect())).await.expect("taken");
    seen.until(&mut events, |seen| seen.history.last().is_some_and(|last| *last >= first + TASKS as u64))
        .await;
    let told = &seen.history;
    assert!(told.iter().copied().eq(first..first + told.len() as u64), "{told:?}");
}

#[tokio::test]
async fn a_reader_hears_that_an_agent_uses_nothing_any_more_when_its_last_task_has_ended() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut events = watch(&cluster, "").await;
    let mut seen = Seen::default();
    let used = |seen: &Seen| {
        let agent = seen.agents.values().next()?;
        Some(agent.resources.as_ref()?.used.as_ref()?.cpus)
    };
    let usage = link::TaskUsage {
        framework_id: "f".to_owned(),
        task_id: "t1".to_owned(),
        cpus: 0.5,
        ..link::TaskUsage::default()
    };
    agent.say(Said::Usage(link::Usage { tasks: vec![usage], ..link::Usage::default() })).await;
    seen.until(&mut events, |seen| used(seen).is_some_and(|cpus| cpus > 0.4)).await;
    agent.say(Said::Usage(link::Usage::default())).await;
    seen.until(&mut events, |seen| used(seen) == Some(0.0)).await;
}
