//! Agents with a token of their own that say what is not true: those of others do not notice.

use std::collections::BTreeSet;

use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::operator::ListAgentsRequest;
use bourse_proto::v1;
use bourse_types::TaskState;
use tonic::Code;

use crate::harness::*;

const MACHINE: &str = "cpus:4; mem:1024";

/// The ids of all agents that are active.
async fn active(cluster: &Cluster) -> BTreeSet<String> {
    let connection = cluster.connect(OPERATOR).await;
    let listed = within(connection.operator().list_agents(ListAgentsRequest::default())).await;
    let agents = listed.expect("answered").into_inner().agents.into_iter();
    agents.filter(|agent| agent.state == "active").map(|agent| agent.id).collect()
}

/// Its link is open, and heard.
async fn goes_on(agent: &mut FakeAgent) {
    agent.say(Said::Heartbeat(link::Heartbeat {})).await;
    agent.heartbeat_ack().await;
}

#[tokio::test]
async fn an_agent_id_of_another_principal_is_refused_also_after_a_restart_and_its_owner_goes_on() {
    let mut cluster = Cluster::start().await;
    let mut owner = cluster.agent("host-a", MACHINE).await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    owner.run_task().await;

    let stolen =
        |epoch| link::Register { agent_id: Some(owner.id.clone()), epoch, ..registration("host-a", MACHINE) };
    let wanted = format!("agent id {} belongs to principal agents", owner.id);
    // Also of who says that he follows a newer master than this one.
    for epoch in [0, u64::MAX] {
        let refused = FakeAgent::register_by(&cluster, OTHER_AGENT, stolen(epoch)).await;
        let refused = refused.err().expect("it is somebody else's");
        assert!(refused.message().starts_with(&wanted), "{}", refused.message());
    }
    owner.update(&scheduler.framework, "t1", TaskState::Running).await;
    assert_eq!(state(&scheduler.update().await), "TASK_RUNNING");
    assert_eq!(active(&cluster).await, BTreeSet::from([owner.id.clone()]));

    cluster.kill_and_restart().await;
    let refused = FakeAgent::register_by(&cluster, OTHER_AGENT, stolen(0)).await;
    let refused = refused.err().expect("the registry has whose it is");
    assert!(refused.message().starts_with(&wanted), "{}", refused.message());
    let back = link::Register { epoch: owner.epoch, ..stolen(0) };
    let back = FakeAgent::register(&cluster, back).await.expect("it is its own");
    assert_eq!(back.id, owner.id);
}

#[tokio::test]
async fn an_agent_at_the_address_of_another_principals_removes_nobody() {
    let cluster = Cluster::start().await;
    let mut owner = cluster.agent("host-a", MACHINE).await;
    let liar = FakeAgent::register_by(&cluster, OTHER_AGENT, registration("host-a", MACHINE)).await;
    let liar = liar.expect("it may be there as well");
    goes_on(&mut owner).await;
    assert_eq!(active(&cluster).await, BTreeSet::from([owner.id.clone(), liar.id.clone()]));
}

#[tokio::test]
async fn amounts_that_no_machine_has_are_refused_and_large_ones_keep_nobody_elses_from_being_offered() {
    let cluster = Cluster::start().await;
    let with_cpus = |cpus: f64| {
        let mut register = registration("host-a", MACHINE);
        let info = register.info.as_mut().expect("it was set");
        let resource = info.resources.iter_mut().find(|it| it.name.as_deref() == Some("cpus"));
        resource.expect("it has some").scalar = Some(v1::value::Scalar { value: Some(cpus) });
        register
    };
    for cpus in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        let refused = FakeAgent::register_by(&cluster, OTHER_AGENT, with_cpus(cpus)).await;
        let refused = refused.err().expect("no machine has so many");
        assert_eq!(refused.code(), Code::InvalidArgument, "{cpus}: {refused:?}");
        assert!(refused.message().starts_with("register.info"), "{}", refused.message());
    }
    let _liar = FakeAgent::register_by(&cluster, OTHER_AGENT, with_cpus(1e12)).await.expect("the most");
    let mut honest = cluster.agent("host-b", MACHINE).await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = loop {
        let offers = scheduler.offers().await;
        if let Some(offer) = offers.into_iter().find(|offer| offer.hostname.as_deref() == Some("host-b")) {
            break offer;
        }
    };
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    honest.run_task().await;
}

#[tokio::test]
async fn what_an_agent_says_of_the_task_of_another_or_measures_as_nonsense_changes_nothing() {
    let cluster = Cluster::start().await;
    let mut honest = cluster.agent("host-a", MACHINE).await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    honest.run_task().await;

    let liar = FakeAgent::register_by(&cluster, OTHER_AGENT, registration("host-b", MACHINE)).await;
    let mut liar = liar.expect("admitted");
    for _ in 0..1_000 {
        liar.update(&scheduler.framework, "t1", TaskState::Failed).await;
    }
    let usage = link::TaskUsage {
        framework_id: scheduler.framework.clone(),
        task_id: "t1".to_owned(),
        cpus: f64::NAN,
        memory_bytes: u64::MAX,
        ..link::TaskUsage::default()
    };
    liar.say(Said::Usage(link::Usage { tasks: vec![usage; 2], disk_free_bytes: u64::MAX })).await;
    goes_on(&mut liar).await;
    honest.update(&scheduler.framework, "t1", TaskState::Running).await;
    assert_eq!(state(&scheduler.update_of("t1").await), "TASK_RUNNING");
    assert_eq!(active(&cluster).await.len(), 2);
}

#[tokio::test]
async fn links_that_never_finish_their_registration_keep_no_agent_of_another_principal_out() {
    let cluster = Cluster::start().await;
    let mut links = Vec::new();
    for n in 0..140 {
        let (say, hear) = open_link(&cluster, OTHER_AGENT).await.expect("opened");
        let half = link::Register { more: true, ..registration(&format!("host-{n}"), MACHINE) };
        say.send(link::FromAgent { message: Some(Said::Register(half)) }).await.expect("open");
        links.push((say, hear));
    }
    let mut honest = cluster.agent("host-a", MACHINE).await;
    goes_on(&mut honest).await;
    assert_eq!(active(&cluster).await, BTreeSet::from([honest.id.clone()]));
    drop(links);
    FakeAgent::register_by(&cluster, OTHER_AGENT, registration("host-b", MACHINE)).await.expect("admitted");
}
