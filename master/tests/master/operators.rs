//! Seeing and steering the cluster.

use std::pin::Pin;

use bourse_proto::agent_link as api;
use bourse_proto::agent_link::agent_api_server::{AgentApi, AgentApiServer};
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::operator as wire;
use bourse_proto::services;
use bourse_proto::services::services_server::{Services, ServicesServer};
use bourse_proto::v1::scheduler::call::Type;
use bourse_proto::v1::{self, carrier};
use bourse_types::TaskState;
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::harness::*;
use crate::tokens::get;

/// A task that runs on an agent that the test plays.
async fn running(cluster: &Cluster, register: api::Register) -> (FakeAgent, FakeScheduler) {
    let mut agent = FakeAgent::register(cluster, register).await.expect("admitted");
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "web.0", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
    agent.update(&scheduler.framework, "web.0", TaskState::Running).await;
    let status = scheduler.update().await;
    scheduler.acknowledge(&status).await.expect("taken");
    agent.hear().await;
    (agent, scheduler)
}

#[tokio::test]
async fn total_offered_allocated_used_and_available_are_told_apart() {
    let cluster = Cluster::start().await;
    let (agent, mut scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let offer = scheduler.offer().await;
    assert!(offer.id.is_some());
    let usage = api::TaskUsage {
        framework_id: scheduler.framework.clone(),
        task_id: "web.0".to_owned(),
        cpus: 0.25,
        memory_bytes: 32 << 20,
        ..api::TaskUsage::default()
    };
    agent.say(Said::Usage(api::Usage { tasks: vec![usage], disk_free_bytes: 0 })).await;

    let connection = cluster.connect(OPERATOR).await;
    let report = eventually(|| async {
        let cluster = connection.operator().get_cluster(wire::GetClusterRequest {}).await.expect("an answer");
        let report = cluster.into_inner().resources.expect("resources");
        (report.used.as_ref().expect("used").cpus > 0.0).then_some(report)
    })
    .await;
    let cpus = |amounts: &Option<wire::Amounts>| amounts.as_ref().expect("amounts").cpus;
    assert_eq!(cpus(&report.total), 4.0);
    assert_eq!(cpus(&report.offered), 3.0);
    assert_eq!(cpus(&report.allocated), 1.0);
    assert_eq!(cpus(&report.used), 0.25);
    assert_eq!(cpus(&report.available), 0.0);

    let tasks = connection.operator().list_tasks(wire::ListTasksRequest::default()).await.expect("an answer");
    let task = &tasks.get_ref().tasks[0];
    assert_eq!(
        (task.state.as_str(), task.framework_name.as_str(), task.hostname.as_str()),
        ("TASK_RUNNING", "batch", "host-a")
    );
    assert_eq!(task.used.as_ref().expect("used").mem_mib, 32.0);
    assert_eq!(task.command, "true");
}

#[tokio::test]
async fn things_are_called_by_name_short_end_or_unique_beginning_in_every_call() {
    let cluster = Cluster::start().await;
    let (mut agent, scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let connection = cluster.connect(OPERATOR).await;
    for text in ["host-a", "S0", agent.id.as_str()] {
        let request = wire::ListAgentsRequest { agent: text.to_owned(), ..Default::default() };
        let listed = connection.operator().list_agents(request).await.expect(text).into_inner();
        assert_eq!(listed.agents[0].id, agent.id);
    }
    let unknown = wire::ListAgentsRequest { agent: "host-z".to_owned(), ..Default::default() };
    let refused = connection.operator().list_agents(unknown).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("bourse agents"), "{}", refused.message());

    let kill = wire::KillTaskRequest {
        task: "web".to_owned(),
        framework: "batch".to_owned(),
        grace_seconds: Some(1.5),
    };
    let killed = connection.operator().kill_task(kill).await.expect("carried out").into_inner();
    assert_eq!((killed.task_id.as_str(), killed.framework_id), ("web.0", scheduler.framework.clone()));
    match agent.hear().await {
        Some(Told::KillTask(kill)) => {
            let grace =
                kill.kill_policy.and_then(|policy| policy.grace_period).and_then(|grace| grace.nanoseconds);
            assert_eq!((kill.task_id.as_str(), grace), ("web.0", Some(1_500_000_000)));
        }
        other => panic!("instead of a kill came {other:?}"),
    }
}

#[tokio::test]
async fn a_drain_rescinds_offers_at_once_and_is_ended_by_reactivating() {
    let cluster = Cluster::start().await;
    let (agent, mut scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    scheduler.offer().await;
    let connection = cluster.connect(OPERATOR).await;
    let drain =
        wire::DrainAgentRequest { agent: "host-a".to_owned(), deadline_seconds: 3600.0, mark_gone: false };
    let draining = connection.operator().drain_agent(drain).await.expect("carried out").into_inner();
    assert_eq!((draining.agent_id.as_str(), draining.tasks), (agent.id.as_str(), 1));
    let (mut rescinded, mut asked_to_leave) = (false, false);
    while !(rescinded && asked_to_leave) {
        let event = scheduler.hear().await.expect("the subscription holds");
        rescinded |= event.rescind.is_some();
        asked_to_leave |= event.inverse_offers.is_some_and(|offers| {
            let offer = &offers.inverse_offers[0];
            let start =
                offer.unavailability.as_ref().and_then(|away| away.start).and_then(|start| start.nanoseconds);
            start == Some(i64::try_from(draining.deadline_ms).expect("a time") * 1_000_000)
        });
    }
    let listed =
        connection.operator().list_agents(wire::ListAgentsRequest::default()).await.expect("an answer");
    assert_eq!(listed.get_ref().agents[0].state, "draining");
    let reactivate = wire::ReactivateAgentRequest { agent: "S0".to_owned() };
    connection.operator().reactivate_agent(reactivate).await.expect("carried out");
    scheduler.offer().await;
}

#[tokio::test]
async fn what_can_not_be_undone_wants_a_whole_name_and_is_answered_again_when_it_is_repeated() {
    let cluster = Cluster::start().await;
    let (agent, scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let connection = cluster.connect(OPERATOR).await;
    let gone = |agent: &str| wire::MarkAgentGoneRequest { agent: agent.to_owned() };
    for short in ["S0", "host"] {
        let refused = connection.operator().mark_agent_gone(gone(short)).await.expect_err(short);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(agent.id.as_str()), "{refused:?}");
    }
    for _ in 0..2 {
        let done = connection.operator().mark_agent_gone(gone(agent.id.as_str())).await.expect("carried out");
        assert_eq!(done.get_ref().agent_id, agent.id.as_str());
        let teardown = wire::TeardownFrameworkRequest { framework: scheduler.framework.clone() };
        let done = connection.operator().teardown_framework(teardown).await.expect("carried out");
        assert_eq!(done.get_ref().framework_id, scheduler.framework);
    }
}

#[tokio::test]
async fn an_update_of_a_framework_with_roles_that_can_not_be_is_refused() {
    let cluster = Cluster::start().await;
    let (_agent, scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let update = carrier::UpdateFramework {
        framework_info: Some(v1::FrameworkInfo {
            id: Some(framework_id(&scheduler.framework)),
            ..framework_info("batch")
        }),
        suppressed_roles: vec!["nobodys".to_owned()],
        ..Default::default()
    };
    let call = carrier::Call { update_framework: Some(update), ..scheduler.blank(Type::UpdateFramework) };
    let refused = scheduler.call(call).await.expect_err("it does not have that role");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("nobodys"), "{refused:?}");
}

#[tokio::test]
async fn what_waits_is_explained_agent_by_agent_with_the_nearest_fix() {
    let cluster = Cluster::start().await;
    let (_agent, scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let connection = cluster.connect(OPERATOR).await;
    let request = wire::ExplainRequest {
        subject: "batch".to_owned(),
        resources: "cpus:64; mem:64".to_owned(),
        ..Default::default()
    };
    let explained = connection.operator().explain(request).await.expect("an answer").into_inner();
    assert_eq!((explained.kind.as_str(), explained.id.as_str()), ("framework", scheduler.framework.as_str()));
    assert!(!explained.summary.is_empty());
    let verdict = &explained.agents[0];
    assert!(
        !verdict.fits && verdict.obstacles.iter().any(|obstacle| obstacle.detail.contains("64")),
        "{verdict:?}"
    );
    let nothing = wire::ExplainRequest { subject: "nobody".to_owned(), ..Default::default() };
    assert_eq!(connection.operator().explain(nothing).await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test]
async fn a_task_is_explained_as_the_one_of_the_framework_that_is_named() {
    let cluster = Cluster::start().await;
    let (_agent, _scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let mut rival = cluster.scheduler("rival").await;
    let _other = cluster.agent("host-b", "cpus:4; mem:1024").await;
    let offer = rival.offer().await;
    rival.launch(&offer, &task(&offer, "web.0", "cpus:1; mem:64")).await.expect("taken");
    let connection = cluster.connect(OPERATOR).await;
    let explain = async |framework: &str| {
        let request = wire::ExplainRequest {
            subject: "web.0".to_owned(),
            framework: framework.to_owned(),
            ..Default::default()
        };
        connection.operator().explain(request).await.map(tonic::Response::into_inner)
    };
    assert!(explain("batch").await.expect("an answer").summary.contains("TASK_RUNNING"));
    assert!(explain(&rival.framework).await.expect("an answer").summary.contains("TASK_STAGING"));
    assert_eq!(explain("").await.expect_err("there are two").code(), Code::InvalidArgument);
    assert_eq!(explain("nobody").await.expect_err("no such framework").code(), Code::NotFound);
}

#[tokio::test]
async fn the_history_tells_what_happened_newest_first_and_who_asked_for_it() {
    let cluster = Cluster::start().await;
    let (agent, _scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let connection = cluster.connect(OPERATOR).await;
    let weigh = wire::SetWeightRequest { role: "batch".to_owned(), weight: 2.5 };
    connection.operator().set_weight(weigh).await.expect("carried out");
    let entries = eventually(|| async {
        let listed =
            connection.operator().list_events(wire::ListEventsRequest::default()).await.expect("an answer");
        let events = listed.into_inner().events;
        (events.first().is_some_and(|event| event.principal == "ops")).then_some(events)
    })
    .await;
    assert!(entries.is_sorted_by(|newer, older| newer.sequence > older.sequence));
    let about = wire::ListEventsRequest {
        kinds: vec!["agent".to_owned()],
        about: agent.id.clone(),
        ..wire::ListEventsRequest::default()
    };
    let listed = connection.operator().list_events(about).await.expect("an answer").into_inner().events;
    assert!(
        !listed.is_empty() && listed.iter().all(|event| event.agent_id == agent.id && event.kind == "agent")
    );
    let unknown = wire::ListEventsRequest { kinds: vec!["weather".to_owned()], ..Default::default() };
    assert_eq!(
        connection.operator().list_events(unknown).await.expect_err("unknown").code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn tasks_are_listed_page_by_page_without_gap_or_repeat() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let tasks = (0..7).map(|n| {
        bytes::Bytes::from(prost::Message::encode_to_vec(&task(&offer, &format!("t{n}"), "cpus:0.1; mem:32")))
    });
    scheduler.call(scheduler.accept(&[&offer], tasks.collect())).await.expect("taken");
    for _ in 0..7 {
        agent.run_task().await;
    }
    let connection = cluster.connect(OPERATOR).await;
    let (mut found, mut page) = (Vec::new(), String::new());
    loop {
        let request = wire::ListTasksRequest { page_size: 3, page, ..wire::ListTasksRequest::default() };
        let answer = connection.operator().list_tasks(request).await.expect("an answer").into_inner();
        found.extend(answer.tasks.into_iter().map(|task| task.id));
        page = answer.next_page;
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(found, (0..7).map(|n| format!("t{n}")).collect::<Vec<_>>());
}

/// All pages of a list. `page` asks for the one after this `next_page`, and answers its ids and its own `next_page`.
async fn pages(mut page: impl AsyncFnMut(String) -> (Vec<String>, String)) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let (ids, after) = page(next).await;
        pages.push(ids);
        if after.is_empty() {
            return pages;
        }
        next = after;
    }
}

#[tokio::test]
async fn a_list_of_any_length_is_read_in_pages_that_fit() {
    // 24 MiB of agents, where a message has 16 at most.
    let cluster = Cluster::start().await;
    let mut agents = Vec::new();
    for number in 0..12 {
        let mut register = registration(&format!("host-{number}"), "cpus:4; mem:1024");
        let note = v1::Attribute {
            name: Some("note".to_owned()),
            r#type: Some(v1::value::Type::Text as i32),
            text: Some(v1::value::Text { value: Some("x".repeat(2 << 20)) }),
            ..v1::Attribute::default()
        };
        register.info.as_mut().expect("it describes itself").attributes.push(note);
        agents.push(FakeAgent::register(&cluster, register).await.expect("admitted"));
    }
    let connection = cluster.connect(OPERATOR).await;
    let found = pages(async |page| {
        let request = wire::ListAgentsRequest { page, ..wire::ListAgentsRequest::default() };
        let answer = connection.operator().list_agents(request).await.expect("it fits").into_inner();
        assert_eq!(answer.total, 12);
        (answer.agents.into_iter().map(|agent| agent.id).collect(), answer.next_page)
    })
    .await;
    let mut ids: Vec<String> = agents.iter().map(|agent| agent.id.clone()).collect();
    ids.sort();
    assert_eq!(found.concat(), ids);
}

#[tokio::test]
async fn every_list_has_pages_in_the_order_of_ids_whatever_comes_and_goes_meanwhile() {
    let cluster = Cluster::start().await;
    let connection = cluster.connect(OPERATOR).await;
    let mut agents = Vec::new();
    for number in 0..5 {
        agents.push(cluster.agent(&format!("host-{number}"), "cpus:4; mem:1024").await);
    }
    let gone = async |agent: &FakeAgent| {
        let gone = wire::MarkAgentGoneRequest { agent: agent.id.clone() };
        connection.operator().mark_agent_gone(gone).await.expect("carried out");
    };
    gone(&agents[1]).await;
    let mut agents_gone = 1;
    let found = pages(async |page| {
        let request = wire::ListAgentsRequest { page_size: 2, page, ..wire::ListAgentsRequest::default() };
        let answer = connection.operator().list_agents(request).await.expect("an answer").into_inner();
        let states: Vec<bool> = answer.agents.iter().map(|agent| agent.state == "gone").collect();
        // One that goes after it was told is not told again, and one that goes before is told once.
        if agents_gone == 1 {
            assert_eq!(states, [false, true]);
            gone(&agents[0]).await;
            gone(&agents[3]).await;
            agents_gone = 3;
        }
        assert_eq!(answer.total, 5);
        (answer.agents.into_iter().map(|agent| agent.id).collect(), answer.next_page)
    })
    .await;
    let ids = |of: &[usize]| of.iter().map(|at| agents[*at].id.clone()).collect::<Vec<_>>();
    assert_eq!(found, [ids(&[0, 1]), ids(&[2, 3]), ids(&[4])]);

    let first = cluster.scheduler("batch").await;
    let offers = async |page_size: u32, framework_id: &str| {
        pages(async |page| {
            let framework_id = framework_id.to_owned();
            let request = wire::ListOffersRequest { page_size, page, framework_id, ..Default::default() };
            let answer = connection.operator().list_offers(request).await.expect("an answer").into_inner();
            (answer.offers.into_iter().map(|offer| offer.id).collect(), answer.next_page)
        })
        .await
    };
    // Of the two agents that are left.
    let whole = eventually(|| async {
        let whole = offers(0, "").await.concat();
        (whole.len() == 2).then_some(whole)
    })
    .await;
    assert_eq!(offers(1, "").await, [[whole[0].clone()], [whole[1].clone()]]);
    assert_eq!(offers(1, "batch").await, [[whole[0].clone()], [whole[1].clone()]]);

    let tree = v1::FrameworkInfo { roles: vec!["eng/web".to_owned()], ..framework_info("tree") };
    let second = FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, tree).await.expect("admitted");
    let frameworks = pages(async |page| {
        let request = wire::ListFrameworksRequest { page_size: 1, page, ..Default::default() };
        let answer = connection.operator().list_frameworks(request).await.expect("an answer").into_inner();
        assert_eq!(answer.total, 2);
        (answer.frameworks.into_iter().map(|framework| framework.id).collect(), answer.next_page)
    })
    .await;
    assert_eq!(frameworks, [[first.framework.clone()], [second.framework.clone()]]);
    let roles = pages(async |page| {
        let request = wire::ListRolesRequest { page_size: 2, page };
        let answer = connection.operator().list_roles(request).await.expect("an answer").into_inner();
        assert_eq!(answer.total, 3);
        (answer.roles.into_iter().map(|role| role.name).collect(), answer.next_page)
    })
    .await;
    assert_eq!(roles, [vec!["*", "eng"], vec!["eng/web"]]);

    let bad = wire::ListAgentsRequest { page: "no/page".to_owned(), ..wire::ListAgentsRequest::default() };
    let refused = connection.operator().list_agents(bad).await.expect_err("no id has a slash");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn metrics_tell_what_was_counted_and_how_the_cluster_is() {
    let cluster = Cluster::start().await;
    let (_agent, _scheduler) = running(&cluster, registration("host-a", "cpus:4; mem:1024")).await;
    let page = get(&cluster, "/metrics", &format!("Authorization: Bearer {OPERATOR}\r\n")).await;
    for line in [
        "bourse_master_events_total{kind=\"agent_registers\"} 1",
        "bourse_master_events_total{kind=\"accept\"} 1",
        "bourse_cluster_resources{resource=\"cpus\",part=\"total\"} 4.0",
        "bourse_cluster_resources{resource=\"cpus\",part=\"allocated\"} 1.0",
        "bourse_cluster_tasks{state=\"TASK_RUNNING\"} 1",
        "bourse_cluster_agents{state=\"active\"} 1",
        "bourse_master_agents_linked 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.contains("bourse_master_sync_seconds_count"));
    assert_eq!(page.matches("# EOF").count(), 1);
}

/// An agent's API that the test plays: it has one log, and knows its master by the agent's own token.
struct OneLog;

#[tonic::async_trait]
impl AgentApi for OneLog {
    type ReadLogStream = Pin<Box<dyn Stream<Item = Result<api::LogChunk, Status>> + Send>>;

    async fn read_log(
        &self,
        request: Request<api::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let said = |name: &str| {
            request.metadata().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(said("authorization"), Some(format!("Bearer {AGENT}")));
        assert_eq!(said("bourse-principal").as_deref(), Some("ops"));
        if request.get_ref().task_id != "web.0" {
            return Err(Status::not_found("no such task"));
        }
        let chunks = [(0, "hello "), (6, "world\n")];
        let chunks = chunks.map(|(offset, text)| Ok(api::LogChunk { offset, data: text.into() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

#[tokio::test]
async fn a_log_is_read_from_the_agent_that_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let served = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(AgentApiServer::new(OneLog))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let cluster = Cluster::start().await;
    let register = api::Register { address, ..registration("host-a", "cpus:4; mem:1024") };
    let (_agent, _scheduler) = running(&cluster, register).await;
    let connection = cluster.connect(OPERATOR).await;
    let request = wire::ReadTaskLogRequest {
        task: "web".to_owned(),
        stream: api::LogStream::Stdout as i32,
        ..wire::ReadTaskLogRequest::default()
    };
    let mut chunks = within(connection.operator().read_log(request)).await.expect("an answer").into_inner();
    let mut text = Vec::new();
    while let Some(chunk) = within(chunks.message()).await.expect("the stream holds") {
        assert_eq!(chunk.offset as usize, text.len());
        text.extend_from_slice(&chunk.data);
    }
    assert_eq!(text, b"hello world\n");
    served.abort();
}

#[tokio::test]
async fn the_log_of_an_agent_that_does_not_answer_is_unavailable_in_words() {
    let cluster = Cluster::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let register = api::Register { address: address.clone(), ..registration("host-a", "cpus:4; mem:1024") };
    let (_agent, _scheduler) = running(&cluster, register).await;
    let connection = cluster.connect(OPERATOR).await;
    let request =
        wire::ReadTaskLogRequest { task: "web.0".to_owned(), ..wire::ReadTaskLogRequest::default() };
    let refused = within(connection.operator().read_log(request)).await.expect_err("nobody answers");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains(&address), "{}", refused.message());
}

/// A service framework's API that the test plays.
struct NoServices;

#[tonic::async_trait]
impl Services for NoServices {
    async fn deploy(
        &self,
        _: Request<services::DeployRequest>,
    ) -> Result<Response<services::DeployResponse>, Status> {
        Err(Status::invalid_argument("line 1: there is no key \"nmae\"; did you mean \"name\"?"))
    }

    async fn list(
        &self,
        request: Request<services::ListServicesRequest>,
    ) -> Result<Response<services::ListServicesResponse>, Status> {
        let said = |name: &str| {
            request.metadata().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        assert_eq!(said("authorization"), Some(format!("Bearer {FRAMEWORK}")));
        assert_eq!(said("bourse-principal").as_deref(), Some("ops"));
        let framework_id = "the one".to_owned();
        Ok(Response::new(services::ListServicesResponse { services: Vec::new(), framework_id }))
    }

    async fn scale(
        &self,
        _: Request<services::ScaleRequest>,
    ) -> Result<Response<services::ScaleResponse>, Status> {
        Err(Status::not_found("there is no such service"))
    }

    async fn remove(
        &self,
        _: Request<services::RemoveRequest>,
    ) -> Result<Response<services::RemoveResponse>, Status> {
        Err(Status::not_found("there is no such service"))
    }
}

#[tokio::test]
async fn calls_about_services_are_forwarded_to_the_framework_that_says_where_it_is() {
    let cluster = Cluster::start().await;
    let connection = cluster.connect(OPERATOR).await;
    let refused =
        connection.services().list(services::ListServicesRequest::default()).await.expect_err("none runs");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("bourse services"), "{}", refused.message());

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let served = tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(ServicesServer::new(NoServices))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let at = |address: &str| {
        let label = v1::Label { key: Some("bourse-api".to_owned()), value: Some(address.to_owned()) };
        v1::FrameworkInfo { labels: Some(v1::Labels { labels: vec![label] }), ..framework_info("services") }
    };
    let scheduler = FakeScheduler::subscribe(&cluster, FRAMEWORK, at(&address)).await.expect("admitted");
    // Whoever comes later and says the same gets nothing of it, also while the first one is away.
    let _rival =
        FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, at("127.0.0.1:1")).await.expect("admitted");
    let listed =
        connection.services().list(services::ListServicesRequest::default()).await.expect("forwarded");
    assert_eq!(listed.get_ref().framework_id, "the one");
    // Its refusals are the caller's answer as they are.
    let refused =
        connection.services().deploy(services::DeployRequest::default()).await.expect_err("refused");
    assert_eq!((refused.code(), refused.message().contains("nmae")), (Code::InvalidArgument, true));
    served.abort();
    drop(scheduler);
    let refused = eventually(|| async {
        let answer = connection.services().list(services::ListServicesRequest::default()).await;
        answer.err().filter(|status| status.message().contains("is away"))
    });
    assert_eq!(refused.await.code(), Code::Unavailable);
}
