//! The way of a task: register, subscribe, offer, accept, run, update, acknowledge.

use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::TaskState;
use bytes::Bytes;
use prost::Message;

use crate::harness::*;

#[tokio::test]
async fn a_task_goes_from_an_offer_to_its_agent_and_its_updates_come_back_and_are_acknowledged() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024; ports:[31000-31009]").await;
    let mut scheduler = cluster.scheduler("batch").await;

    let offer = scheduler.offer().await;
    assert_eq!(offer.agent_id.as_ref().and_then(|id| id.value.as_deref()), Some(agent.id.as_str()));
    assert_eq!(offer.hostname.as_deref(), Some("host-a"));
    assert_eq!(offer.allocation_info.as_ref().and_then(|info| info.role.as_deref()), Some("*"));
    let address = offer.url.as_ref().and_then(|url| url.address.as_ref()).expect("an address");
    assert_eq!(
        (address.hostname.as_deref(), address.port),
        (Some("127.0.0.1"), Some(i32::from(port_of("host-a"))))
    );

    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    let run = agent.run_task().await;
    assert_eq!(run.framework.and_then(|info| info.name).as_deref(), Some("batch"));
    assert_eq!(run.role, "*");

    let uuid = agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    let status = scheduler.update().await;
    assert_eq!((state(&status), status.uuid.clone()), ("TASK_RUNNING", Some(uuid.clone())));
    scheduler.acknowledge(&status).await.expect("taken");
    match agent.hear().await {
        Some(Told::AcknowledgeUpdate(acknowledged)) => assert_eq!(acknowledged.uuid, uuid),
        other => panic!("instead of an acknowledgement came {other:?}"),
    }

    // The end frees what the task held, and it is offered again.
    agent.update(&scheduler.framework, "t1", TaskState::Finished).await;
    let status = scheduler.update().await;
    assert_eq!(state(&status), "TASK_FINISHED");
}

#[tokio::test]
async fn a_task_reaches_its_agent_as_the_bytes_that_its_framework_sent() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;

    // Field 2000, four bytes long: nothing that this build knows.
    let mut bytes = task(&offer, "t1", "cpus:1; mem:64").encode_to_vec();
    prost::encoding::encode_key(2000, prost::encoding::WireType::LengthDelimited, &mut bytes);
    bytes.extend_from_slice(b"\x04new!");
    let bytes = Bytes::from(bytes);
    scheduler.call(scheduler.accept(&[&offer], vec![bytes.clone()])).await.expect("taken");
    assert_eq!(agent.run_task().await.task_info, bytes);
}

#[tokio::test]
async fn what_is_left_of_an_offer_is_offered_again() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
    let rest = scheduler.offer().await;
    let rest = bourse_wire::resources::read(&rest.resources).expect("resources");
    assert_eq!(rest, resources("cpus:3; mem:960"));
}

#[tokio::test]
async fn a_resize_goes_to_the_tasks_agent_and_its_answer_is_seen() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
    agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    scheduler.update().await;

    let offer = scheduler.offer().await;
    let size = v1::TaskSize {
        resources: bourse_wire::resources::write(&resources("cpus:2; mem:64"), bourse_wire::Form::Refined),
        limits: [("cpus".to_owned(), v1::value::Scalar { value: Some(f64::INFINITY) })].into(),
    };
    let resize = v1::offer::operation::Resize { task_id: Some(task_id("t1")), size: Some(size.clone()) };
    let operation = carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Resize as i32),
        resize: Some(resize.encode_to_vec().into()),
        ..carrier::Operation::default()
    };
    let accept = carrier::Accept {
        offer_ids: offer.id.into_iter().collect(),
        operations: vec![operation.encode_to_vec().into()],
        filters: Some(v1::Filters { refuse_seconds: Some(0.0) }),
    };
    let call = carrier::Call { accept: Some(accept), ..scheduler.blank(Type::Accept) };
    scheduler.call(call).await.expect("taken");
    let told = match agent.hear().await {
        Some(Told::ResizeTask(resize)) => resize,
        other => panic!("instead of a resize came {other:?}"),
    };
    assert_eq!((told.task_id.as_str(), &told.size), ("t1", &Some(size.clone())));
    // What is left is offered at once, and no more of it before the agent has answered.
    let rest = bourse_wire::resources::read(&scheduler.offer().await.resources).expect("resources");
    assert_eq!(rest, resources("cpus:2; mem:960"));

    agent
        .say(Said::TaskResized(link::TaskResized {
            framework_id: scheduler.framework.clone(),
            task_id: "t1".into(),
            size: Some(size.clone()),
            wanted: Some(size),
        }))
        .await;
    let refused = v1::offer::operation::Resize { task_id: Some(task_id("t1")), size: None };
    let operation = carrier::Operation {
        r#type: Some(v1::offer::operation::Type::Resize as i32),
        resize: Some(refused.encode_to_vec().into()),
        ..carrier::Operation::default()
    };
    let operations = vec![operation.encode_to_vec().into()];
    let accept = carrier::Accept { operations, ..Default::default() };
    let call = carrier::Call { accept: Some(accept), ..scheduler.blank(Type::Accept) };
    let status = scheduler.call(call).await.expect_err("it says no size");
    assert!(status.message().contains("accept.operations[0].resize.size"), "{status}");
}

#[tokio::test]
async fn a_kill_reaches_the_agent_with_the_frameworks_grace() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;

    let grace = v1::DurationInfo { nanoseconds: Some(3_000_000_000) };
    let kill = call::Kill {
        task_id: Some(task_id("t1")),
        agent_id: None,
        kill_policy: Some(v1::KillPolicy { grace_period: Some(grace) }),
    };
    scheduler.call(carrier::Call { kill: Some(kill), ..scheduler.blank(Type::Kill) }).await.expect("taken");
    match agent.hear().await {
        Some(Told::KillTask(kill)) => {
            assert_eq!(kill.task_id, "t1");
            assert_eq!(kill.kill_policy.and_then(|policy| policy.grace_period), Some(grace));
        }
        other => panic!("instead of a kill came {other:?}"),
    }
}

#[tokio::test]
async fn a_heartbeat_is_answered_and_an_agent_that_lives_stays_active() {
    let cluster = Cluster::start_with(|config| {
        config.heartbeat_interval = std::time::Duration::from_millis(100);
        config.agent_timeout = std::time::Duration::from_secs(2);
    })
    .await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    assert!((agent.registered.heartbeat_interval - 0.1).abs() < 1e-9);
    // Longer than the timeout: without being heard it would be unreachable by then.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    while tokio::time::Instant::now() < until {
        agent.say(Said::Heartbeat(link::Heartbeat {})).await;
        agent.heartbeat_ack().await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let connection = cluster.connect(OPERATOR).await;
    let listed =
        connection.operator().list_agents(bourse_proto::operator::ListAgentsRequest::default()).await;
    assert_eq!(listed.expect("an answer").into_inner().agents[0].state, "active");
}

#[tokio::test]
async fn an_agent_that_is_silent_for_too_long_is_unreachable_and_its_framework_hears_of_it() {
    let cluster = Cluster::start_with(|config| {
        config.heartbeat_interval = std::time::Duration::from_millis(100);
        config.agent_timeout = std::time::Duration::from_secs(2);
    })
    .await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    // It lives until it has its task, however long that takes, and is silent from then on.
    let lives = async {
        loop {
            agent.say(Said::Heartbeat(link::Heartbeat {})).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let launched = async {
        let mut scheduler = cluster.scheduler("batch").await;
        let offer = scheduler.offer().await;
        scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
        scheduler
    };
    let mut scheduler = tokio::select! {
        () = lives => unreachable!("it lives for ever"),
        scheduler = launched => scheduler,
    };
    agent.run_task().await;
    let status = scheduler.update().await;
    assert_eq!(state(&status), "TASK_UNREACHABLE");
    assert!(status.unreachable_time.is_some() && status.uuid.is_none());
}

#[tokio::test]
async fn a_subscription_is_told_by_heartbeats_that_the_master_lives() {
    let cluster = Cluster::start_with(|config| {
        config.heartbeat_interval = std::time::Duration::from_millis(100);
        config.agent_timeout = std::time::Duration::from_secs(5);
    })
    .await;
    let connection = cluster.connect(FRAMEWORK).await;
    let subscribe =
        carrier::Subscribe { framework_info: Some(framework_info("batch")), ..Default::default() };
    let subscribe = carrier::Call {
        r#type: Some(Type::Subscribe as i32),
        subscribe: Some(subscribe),
        ..carrier::Call::default()
    };
    let mut events = connection.scheduler().subscribe(subscribe).await.expect("subscribed").into_inner();
    let mut heartbeats = 0;
    while heartbeats < 3 {
        let event = within(events.message()).await.expect("the stream holds").expect("an event");
        heartbeats += usize::from(event.r#type == Some(v1::scheduler::event::Type::Heartbeat as i32));
    }
}
