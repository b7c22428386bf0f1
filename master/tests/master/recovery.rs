//! A master that was killed, and one whose disk fails.

use bourse_master::registry::MemoryRegistry;
use bourse_master::{EXIT_SYNC_FAILED, MasterError, exit_code};
use bourse_proto::agent_link as link;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::TaskState;
use tonic::Code;

use crate::harness::*;

#[tokio::test]
async fn a_master_that_was_killed_goes_on_with_its_agents_frameworks_and_tasks() {
    let mut cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    let run = agent.run_task().await;
    agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    scheduler.update().await;

    cluster.kill_and_restart().await;

    // The agent comes back under its id and tells what runs; commands carry a higher epoch.
    let report = link::TaskReport {
        framework_id: scheduler.framework.clone(),
        task_info: run.task_info,
        role: run.role,
        resources: run.resources,
        latest: Some(agent.status("t1", TaskState::Running)),
        ..Default::default()
    };
    let register = link::Register {
        agent_id: Some(agent.id.clone()),
        tasks: vec![report],
        frameworks: run.framework.into_iter().collect(),
        epoch: agent.epoch,
        ..registration("host-a", "cpus:4; mem:1024")
    };
    let back = FakeAgent::register(&cluster, register).await.expect("it is known");
    assert_eq!(back.id, agent.id);
    assert!(back.epoch > agent.epoch, "{} after {}", back.epoch, agent.epoch);

    // The framework too, and it learns that its task runs.
    let info = v1::FrameworkInfo { id: Some(framework_id(&scheduler.framework)), ..framework_info("batch") };
    let mut again = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("it is known");
    assert_eq!(again.framework, scheduler.framework);
    let reconcile =
        carrier::Call { reconcile: Some(call::Reconcile::default()), ..again.blank(Type::Reconcile) };
    again.call(reconcile).await.expect("taken");
    // Which of them comes first is nobody's promise.
    let (mut status, mut offer) = (None, None);
    while status.is_none() || offer.is_none() {
        let event = again.hear().await.expect("the subscription holds");
        status = status.or(event.update.and_then(|update| update.status));
        offer = offer.or(event.offers.and_then(|offers| offers.offers.into_iter().next()));
    }
    let (status, offer) = status.zip(offer).expect("both came");
    assert_eq!((state(&status), status.task_id), ("TASK_RUNNING", Some(task_id("t1"))));

    // What the task holds is not offered a second time.
    let rest = bourse_wire::resources::read(&offer.resources).expect("resources");
    assert_eq!(rest, resources("cpus:3; mem:960"));
}

#[tokio::test]
async fn agents_and_frameworks_are_adopted_by_a_master_whose_registry_was_lost() {
    let mut cluster = Cluster::start().await;
    for _ in 0..3 {
        cluster.kill_and_restart().await;
    }
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    let run = agent.run_task().await;

    cluster.registry = MemoryRegistry::new();
    // Three starts within one second have counted beyond the clock; a machine that lost its disk takes longer.
    let seen = agent.epoch;
    eventually(|| async { (epoch_of_now() > seen).then_some(()) }).await;
    cluster.kill_and_restart().await;

    let report = link::TaskReport {
        framework_id: scheduler.framework.clone(),
        task_info: run.task_info,
        role: run.role,
        resources: run.resources,
        latest: Some(agent.status("t1", TaskState::Running)),
        ..Default::default()
    };
    let register = link::Register {
        agent_id: Some(agent.id.clone()),
        tasks: vec![report],
        frameworks: run.framework.into_iter().collect(),
        epoch: agent.epoch,
        ..registration("host-a", "cpus:4; mem:1024")
    };
    let back = FakeAgent::register(&cluster, register).await.expect("it is adopted");
    assert!(back.id == agent.id && back.epoch > agent.epoch, "{} after {}", back.epoch, agent.epoch);
    assert_eq!(back.registered.known_tasks.len(), 1);
    let info = v1::FrameworkInfo { id: Some(framework_id(&scheduler.framework)), ..framework_info("batch") };
    let again = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("it is adopted");
    assert_eq!(again.framework, scheduler.framework);
}

/// What the epoch of a master with an empty registry would be.
fn epoch_of_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock that is set").as_secs()
}

#[tokio::test]
async fn every_start_has_a_higher_epoch_than_the_one_before() {
    let mut cluster = Cluster::start().await;
    let mut epochs = vec![cluster.registry.snapshot().epoch];
    for _ in 0..3 {
        cluster.kill_and_restart().await;
        epochs.push(cluster.registry.snapshot().epoch);
    }
    assert!(epochs.is_sorted_by(|before, after| before < after), "{epochs:?}");
}

#[tokio::test]
async fn the_history_goes_on_after_a_restart_with_the_numbers_that_follow() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let history = cluster.history.clone();
    let newest = || async {
        use bourse_master::history::{Filter, History as _};
        history.read(&Filter::default(), None, 1).expect("in memory").first().map(|entry| entry.sequence)
    };
    let before = eventually(newest).await;
    cluster.kill_and_restart().await;
    let _agent = cluster.agent("host-b", "cpus:4; mem:1024").await;
    let after = eventually(|| async { newest().await.filter(|sequence| *sequence > before) }).await;
    assert!(after > before);
}

#[tokio::test]
async fn a_scheduler_that_subscribes_again_takes_over_and_the_older_stream_ends_with_an_error() {
    let cluster = Cluster::start().await;
    let mut first = cluster.scheduler("batch").await;
    let info = v1::FrameworkInfo { id: Some(framework_id(&first.framework)), ..framework_info("batch") };
    let second = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("it takes over");
    assert_eq!(second.framework, first.framework);
    let last = loop {
        let event = first.hear().await.expect("an ERROR comes first");
        if event.error.is_some() {
            break event;
        }
    };
    assert!(!last.error.and_then(|error| error.message).expect("a reason").is_empty());
    assert!(first.hear().await.is_none(), "the older stream has ended");
    // Its calls are stale once it has ended.
    let refused = eventually(|| async { first.call(first.blank(Type::Revive)).await.err() }).await;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    second.call(second.blank(Type::Revive)).await.expect("the newer stream holds");
}

#[tokio::test]
async fn a_framework_that_was_torn_down_can_not_subscribe_again() {
    let cluster = Cluster::start().await;
    let mut scheduler = cluster.scheduler("batch").await;
    scheduler.call(scheduler.blank(Type::Teardown)).await.expect("taken");
    while scheduler.hear().await.is_some() {}
    let info = v1::FrameworkInfo { id: Some(framework_id(&scheduler.framework)), ..framework_info("batch") };
    let refused = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.err().expect("refused");
    assert!(refused.message().to_lowercase().contains("removed"), "{}", refused.message());
}

#[tokio::test]
async fn when_the_registry_can_not_be_written_nothing_is_said_and_the_master_ends_with_its_own_status() {
    let mut cluster = Cluster::start().await;
    cluster.registry.set_broken(true);
    // Admitting an agent must survive, so its answer waits for the disk.
    let (say, mut hear) = open_link(&cluster, AGENT).await.expect("opened");
    let register = link::from_agent::Message::Register(registration("host-a", "cpus:4; mem:1024"));
    say.send(link::FromAgent { message: Some(register) }).await.expect("open");
    match within(hear.message()).await {
        Ok(None) | Err(_) => {}
        Ok(Some(said)) => panic!("the master said {said:?}"),
    }
    let ended = cluster.ended().await.expect_err("it cannot go on");
    assert!(matches!(ended, MasterError::Driver(_)), "{ended:?}");
    assert_eq!(exit_code(&ended), EXIT_SYNC_FAILED);
    assert!(cluster.registry.snapshot().agents.is_empty());
}

#[tokio::test]
async fn a_master_that_is_stopped_ends_without_an_error_though_streams_are_open() {
    let mut cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let _scheduler = cluster.scheduler("batch").await;
    cluster.stop().await.expect("a clean end");
    assert_eq!(cluster.registry.snapshot().agents.len(), 1);
}

#[tokio::test]
async fn a_master_that_is_stopped_keeps_a_framework_that_would_be_gone_with_its_connection() {
    let mut cluster = Cluster::start().await;
    let info = v1::FrameworkInfo { failover_timeout: Some(0.0), ..framework_info("batch") };
    let scheduler = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("admitted");
    cluster.stop().await.expect("a clean end");
    let kept = cluster.registry.snapshot().frameworks;
    assert!(kept.keys().any(|id| id.as_str() == scheduler.framework), "{kept:?}");
}

#[tokio::test]
async fn a_second_master_can_not_take_the_address_of_the_first() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config.clone();
    config.listen = cluster.target().authority().parse().expect("an address");
    let stores = bourse_master::Stores {
        registry: Box::new(bourse_master::registry::MemoryRegistry::new()),
        history: Box::new(bourse_master::history::MemoryHistory::new()),
    };
    let refused = bourse_master::Master::start(config, stores, None).await.err().expect("taken");
    assert!(refused.to_string().contains("--listen"), "{refused}");
    assert!(cluster.work_dir().exists());
}
