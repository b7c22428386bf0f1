//! Whatever is sent: a clear answer, nothing lost, nobody else notices.

use bourse_client::{Connection, MESSAGE_BYTES_MAX};
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::from_agent::Message as Said;
use bourse_proto::agent_link::to_agent::Message as Told;
use bourse_proto::operator::{ListAgentsRequest, ListFrameworksRequest};
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{self, carrier};
use bourse_types::TaskState;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use crate::harness::*;

/// Sends bytes as they are, whatever the call expects.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A call with any bytes in it.
async fn raw_call(connection: &Connection, path: &'static str, body: Bytes) -> Result<Bytes, Status> {
    let mut client = tonic::client::Grpc::new(connection.service());
    within(client.ready()).await.expect("the connection holds");
    let mut request = Request::new(body);
    request.metadata_mut().insert("bourse-stream-id", "none".parse().expect("ASCII"));
    within(client.unary(request, path.parse().expect("a path"), Raw)).await.map(|answer| answer.into_inner())
}

async fn agents_listed(connection: &Connection) -> usize {
    let listed = within(connection.operator().list_agents(ListAgentsRequest::default())).await;
    listed.expect("the connection goes on").into_inner().agents.len()
}

#[tokio::test]
async fn bytes_that_are_no_message_are_an_invalid_argument_and_the_connection_goes_on() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let connection = cluster.connect(OPERATOR).await;
    let garbage = Bytes::from_static(b"\xff\xff\xff\xff no protobuf");
    for path in ["/bourse.v1.scheduler.Scheduler/Call", "/bourse.operator.v1.Operator/ListTasks"] {
        let refused = raw_call(&connection, path, garbage.clone()).await.expect_err("it is no message");
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
        assert!(refused.message().contains("protobuf"), "{}", refused.message());
    }
    assert_eq!(agents_listed(&connection).await, 1);
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_call_are_refused_with_a_sentence_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;

    // By the very connection of the scheduler, while its subscription is open.
    let huge = Bytes::from(vec![0; 100 << 20]);
    let refused = raw_call(&scheduler.connection, "/bourse.v1.scheduler.Scheduler/Call", huge)
        .await
        .expect_err("too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("16 MiB"), "{}", refused.message());

    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("the scheduler goes on");
    agent.run_task().await;
}

#[tokio::test]
async fn an_agents_message_that_is_too_large_ends_its_link_and_it_can_come_back() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut other = cluster.agent("host-b", "cpus:4; mem:1024").await;
    let mut doomed = agent;
    let usage = link::TaskUsage { task_id: "x".repeat(MESSAGE_BYTES_MAX + 1), ..link::TaskUsage::default() };
    // The sending end of this link has no limit.
    doomed.say(Said::Usage(link::Usage { tasks: vec![usage], disk_free_bytes: 0 })).await;
    let ended = doomed.end().await.expect("a reason");
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");

    let again =
        link::Register { agent_id: Some(doomed.id.clone()), ..registration("host-a", "cpus:4; mem:1024") };
    let again = FakeAgent::register(&cluster, again).await.expect("it comes back");
    assert_eq!(again.id, doomed.id);
    other.say(Said::Heartbeat(link::Heartbeat {})).await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offers = scheduler.offers().await;
    let offer = offers
        .iter()
        .find(|offer| offer.hostname.as_deref() == Some("host-b"))
        .expect("it was not disturbed");
    scheduler.launch(offer, &task(offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    other.run_task().await;
}

#[tokio::test]
async fn a_task_that_is_too_large_is_an_error_with_the_figures_and_the_rest_of_the_call_goes_on() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let large =
        v1::TaskInfo { data: Some(vec![0; 256 << 10].into()), ..task(&offer, "t1", "cpus:1; mem:64") };
    let bytes = large.encoded_len();
    scheduler.launch(&offer, &large).await.expect("taken");
    let refused = scheduler.update().await;
    assert_eq!(state(&refused), "TASK_ERROR");
    let wanted = format!("it has {bytes} bytes and 256 KiB is the most");
    assert!(refused.message().contains(&wanted), "{}", refused.message());
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t2", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
}

#[tokio::test]
async fn a_framework_info_that_is_too_large_is_refused_with_the_figures_and_nothing_is_kept_of_it() {
    let cluster = Cluster::start().await;
    let _scheduler = cluster.scheduler("batch").await;
    let mut large = framework_info("greedy");
    large.hostname = Some("x".repeat(256 << 10));
    let bytes = large.encoded_len();
    let refused = FakeScheduler::subscribe(&cluster, FRAMEWORK, large).await.err().expect("it is too large");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let wanted = format!("subscribe.framework_info: it has {bytes} bytes and 256 KiB is the most");
    assert!(refused.message().contains(&wanted), "{}", refused.message());
    let connection = cluster.connect(OPERATOR).await;
    let listed = within(connection.operator().list_frameworks(ListFrameworksRequest::default())).await;
    let names: Vec<String> = listed
        .expect("answered")
        .into_inner()
        .frameworks
        .into_iter()
        .map(|framework| framework.name)
        .collect();
    assert_eq!(names, ["batch"]);
}

#[tokio::test]
async fn a_reconciliation_of_too_many_tasks_is_refused_with_the_figures_and_one_of_the_most_is_answered() {
    let cluster = Cluster::start().await;
    let mut scheduler = cluster.scheduler("batch").await;
    let reconcile = |count: usize| {
        let asked = |n| call::reconcile::Task { task_id: Some(task_id(&format!("t{n}"))), agent_id: None };
        let reconcile = call::Reconcile { tasks: (0..count).map(asked).collect() };
        carrier::Call { reconcile: Some(reconcile), ..scheduler.blank(Type::Reconcile) }
    };
    let (too_many, most) = (reconcile(10_001), reconcile(10_000));
    let refused = scheduler.call(too_many).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let wanted = "reconcile.tasks: there are 10001 and 10000 is the most; ask by several calls";
    assert!(refused.message().contains(wanted), "{}", refused.message());
    scheduler.call(most).await.expect("taken");
    assert_eq!(state(&scheduler.update_of("t9999").await), "TASK_UNKNOWN");
}

#[tokio::test]
async fn more_roles_than_a_framework_may_have_are_refused_with_the_figures_wherever_they_are_named() {
    let cluster = Cluster::start().await;
    let roles = |count: usize| (0..count).map(|n| format!("r{n}")).collect::<Vec<_>>();
    let with = |count| v1::FrameworkInfo { roles: roles(count), ..framework_info("greedy") };
    let wanted = |path: &str| format!("{path}: there are 1001 and 1000 is the most that a framework has");
    let refused =
        FakeScheduler::subscribe(&cluster, FRAMEWORK, with(1_001)).await.err().expect("it has too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains(&wanted("subscribe.framework_info.roles")), "{}", refused.message());

    let scheduler = FakeScheduler::subscribe(&cluster, FRAMEWORK, with(1_000)).await.expect("the most");
    let mut info = with(1_000);
    info.id = Some(framework_id(&scheduler.framework));
    let update = |info, suppressed_roles| carrier::UpdateFramework {
        framework_info: Some(info),
        suppressed_roles,
        ..carrier::UpdateFramework::default()
    };
    let larger = v1::FrameworkInfo { roles: roles(1_001), ..info.clone() };
    let calls = [
        (
            "suppress.roles",
            carrier::Call {
                suppress: Some(call::Suppress { roles: roles(1_001) }),
                ..scheduler.blank(Type::Suppress)
            },
        ),
        (
            "revive.roles",
            carrier::Call {
                revive: Some(call::Revive { roles: roles(1_001) }),
                ..scheduler.blank(Type::Revive)
            },
        ),
        (
            "update_framework.framework_info.roles",
            carrier::Call {
                update_framework: Some(update(larger, Vec::new())),
                ..scheduler.blank(Type::UpdateFramework)
            },
        ),
        (
            "update_framework.suppressed_roles",
            carrier::Call {
                update_framework: Some(update(info, vec!["r0".to_owned(); 1_001])),
                ..scheduler.blank(Type::UpdateFramework)
            },
        ),
    ];
    for (path, call) in calls {
        let refused = scheduler.call(call).await.expect_err(path);
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}");
        assert!(refused.message().contains(&wanted(path)), "{}", refused.message());
    }
    let suppress = call::Suppress { roles: roles(1_000) };
    let call = carrier::Call { suppress: Some(suppress), ..scheduler.blank(Type::Suppress) };
    scheduler.call(call).await.expect("the subscription goes on");
}

#[tokio::test]
async fn a_registration_of_several_pages_is_admitted_once_the_last_one_is_there() {
    let cluster = Cluster::start().await;
    let connection = cluster.connect(OPERATOR).await;
    let offer =
        v1::Offer { agent_id: Some(v1::AgentId { value: Some("m-S0".into()) }), ..Default::default() };
    let framework = v1::FrameworkInfo {
        id: Some(v1::FrameworkId { value: Some("m-0000".into()) }),
        ..framework_info("batch")
    };
    let report = |id: &str| {
        let info = task(&offer, id, "cpus:1; mem:64");
        link::TaskReport {
            framework_id: "m-0000".into(),
            role: "*".into(),
            resources: info.resources.clone(),
            latest: Some(v1::TaskStatus {
                task_id: info.task_id.clone(),
                state: Some(v1::TaskState::TaskRunning as i32),
                source: Some(v1::task_status::Source::Executor as i32),
                timestamp: Some(1_700_000_000.0),
                ..Default::default()
            }),
            task_info: info.encode_to_vec().into(),
            ..Default::default()
        }
    };
    let page = |id: &str, more| link::RegisterPage { tasks: vec![report(id)], frameworks: vec![], more };

    let (say, mut hear) = open_link(&cluster, AGENT).await.expect("opened");
    let tell = async |message| say.send(link::FromAgent { message: Some(message) }).await.expect("open");
    let register = link::Register {
        agent_id: Some("m-S0".into()),
        tasks: vec![report("t1")],
        frameworks: vec![framework],
        more: true,
        ..registration("host-a", "cpus:4; mem:1024")
    };
    tell(Said::Register(register)).await;
    tell(Said::RegisterPage(page("t2", true))).await;
    assert_eq!(agents_listed(&connection).await, 0);
    tell(Said::RegisterPage(page("t3", false))).await;
    let answer = within(hear.message()).await.expect("an answer").and_then(|answer| answer.message);
    let Some(Told::Registered(registered)) = answer else { panic!("the answer is {answer:?}") };
    let mut known: Vec<&str> = registered.known_tasks.iter().map(|known| known.task_id.as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, ["t1", "t2", "t3"]);
    assert_eq!(agents_listed(&connection).await, 1);

    // What follows a page that says `more` is a page.
    let (say, mut hear) = open_link(&cluster, AGENT).await.expect("opened");
    let half = link::Register { more: true, ..registration("host-b", "cpus:4; mem:1024") };
    for message in [Said::Register(half), Said::Heartbeat(link::Heartbeat {})] {
        say.send(link::FromAgent { message: Some(message) }).await.expect("open");
    }
    assert_eq!(within(hear.message()).await.expect_err("refused").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_link_that_begins_with_anything_but_a_registration_is_refused() {
    let cluster = Cluster::start().await;
    let (say, mut hear) = open_link(&cluster, AGENT).await.expect("opened");
    say.send(link::FromAgent { message: Some(Said::Heartbeat(link::Heartbeat {})) }).await.expect("open");
    let refused = within(hear.message()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);

    // A registration that lacks what it needs says by path what that is.
    let (say, mut hear) = open_link(&cluster, AGENT).await.expect("opened");
    let empty = link::FromAgent { message: Some(Said::Register(link::Register::default())) };
    say.send(empty).await.expect("open");
    let refused = within(hear.message()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("register.info"), "{}", refused.message());
}

#[tokio::test]
async fn bytes_that_are_no_message_end_a_link_with_an_invalid_argument() {
    let cluster = Cluster::start().await;
    let connection = cluster.connect(AGENT).await;
    let mut client = tonic::client::Grpc::new(connection.service());
    within(client.ready()).await.expect("the connection holds");
    let (say, said) = tokio::sync::mpsc::channel(4);
    let path = "/bourse.agent.v1.AgentLink/Link".parse().expect("a path");
    let answer = client.streaming(Request::new(ReceiverStream::new(said)), path, Raw);
    say.send(Bytes::from_static(b"\xff\xff\xff")).await.expect("open");
    let mut answer = within(answer).await.expect("opened").into_inner();
    let refused = within(answer.next()).await.expect("an end").expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn an_update_that_makes_no_sense_is_passed_over_and_the_link_goes_on() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;
    let status = v1::TaskStatus { timestamp: Some(f64::NAN), ..agent.status("t1", TaskState::Running) };
    let update =
        link::StatusUpdate { framework_id: scheduler.framework.clone(), status: Some(status), latest: None };
    agent.say(Said::Update(update)).await;
    agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    assert_eq!(state(&scheduler.update().await), "TASK_RUNNING");
}

#[tokio::test]
async fn a_task_that_is_no_message_is_refused_by_its_path_and_the_offer_still_stands() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let good = Bytes::from(task(&offer, "t1", "cpus:1; mem:64").encode_to_vec());

    let call = scheduler.accept(&[&offer], vec![good.clone(), Bytes::from_static(b"\xff\xff")]);
    let refused = scheduler.call(call).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().starts_with("accept.operations[0].launch.task_infos[1]: "),
        "{}",
        refused.message()
    );

    let nameless = v1::TaskInfo { task_id: None, ..task(&offer, "t1", "cpus:1; mem:64") };
    let refused = scheduler.launch(&offer, &nameless).await.expect_err("refused");
    assert!(
        refused.message().starts_with("accept.operations[0].launch.task_infos[0].task_id: "),
        "{}",
        refused.message()
    );

    scheduler.call(scheduler.accept(&[&offer], vec![good])).await.expect("the offer stands");
    agent.run_task().await;
}

#[tokio::test]
async fn a_task_that_can_not_run_is_an_error_of_its_own_and_the_rest_of_the_call_goes_on() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let silent = v1::TaskInfo { command: None, ..task(&offer, "bad", "cpus:1; mem:64") };
    let tasks = [silent, task(&offer, "good", "cpus:1; mem:64")];
    let tasks = tasks.iter().map(|task| Bytes::from(task.encode_to_vec())).collect();
    scheduler.call(scheduler.accept(&[&offer], tasks)).await.expect("taken");
    assert_eq!(agent.run_task().await.task_info, task(&offer, "good", "cpus:1; mem:64").encode_to_vec());
    let status = scheduler.update().await;
    assert_eq!((state(&status), status.task_id), ("TASK_ERROR", Some(task_id("bad"))));
    assert!(status.message.expect("a reason").contains("command"));
}

#[tokio::test]
async fn somebody_elses_offer_can_not_be_accepted_and_its_holder_can_still_use_it() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut holder = cluster.scheduler("holder").await;
    let offer = holder.offer().await;
    let mut thief =
        FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, framework_info("thief")).await.expect("admitted");

    thief.launch(&offer, &task(&offer, "stolen", "cpus:1; mem:64")).await.expect("understood");
    let status = thief.update().await;
    assert_eq!(state(&status), "TASK_DROPPED");
    assert_eq!(status.reason, Some(v1::task_status::Reason::InvalidOffers as i32));

    holder.launch(&offer, &task(&offer, "mine", "cpus:1; mem:64")).await.expect("taken");
    let run = v1::TaskInfo::decode(agent.run_task().await.task_info).expect("a task");
    assert_eq!(run.task_id, Some(task_id("mine")));
}

#[tokio::test]
async fn an_offer_accepted_twice_launches_once() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    scheduler.launch(&offer, &task(&offer, "t2", "cpus:1; mem:64")).await.expect("understood");
    let status = scheduler.update().await;
    assert_eq!((state(&status), status.task_id), ("TASK_DROPPED", Some(task_id("t2"))));
    agent.run_task().await;
}

#[tokio::test]
async fn more_than_was_offered_and_a_live_id_again_are_errors_of_the_task() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    agent.run_task().await;

    let rest = scheduler.offer().await;
    scheduler.launch(&rest, &task(&rest, "huge", "cpus:4; mem:64")).await.expect("understood");
    let status = scheduler.update().await;
    assert_eq!((state(&status), status.task_id), ("TASK_ERROR", Some(task_id("huge"))));

    let rest = scheduler.offer().await;
    scheduler.launch(&rest, &task(&rest, "t1", "cpus:1; mem:64")).await.expect("understood");
    let status = scheduler.update().await;
    assert_eq!((state(&status), status.task_id), ("TASK_ERROR", Some(task_id("t1"))));

    // And the first one never noticed.
    agent.update(&scheduler.framework, "t1", TaskState::Running).await;
    assert_eq!(state(&scheduler.update().await), "TASK_RUNNING");
}

#[tokio::test]
async fn what_this_release_does_not_do_is_said_so_and_the_offers_still_stand() {
    let cluster = Cluster::start().await;
    let mut agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let mut call = scheduler.accept(&[&offer], Vec::new());
    let kind = v1::offer::operation::Type::Reserve as i32;
    let operation = carrier::Operation { r#type: Some(kind), ..Default::default() };
    call.accept.as_mut().expect("an accept").operations = vec![operation.encode_to_vec().into()];
    let refused = scheduler.call(call).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unimplemented);

    let refused = scheduler.call(scheduler.blank(Type::Unknown)).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    scheduler.launch(&offer, &task(&offer, "t1", "cpus:1; mem:64")).await.expect("taken");
    match agent.hear().await {
        Some(Told::RunTask(_)) => {}
        other => panic!("instead of a task came {other:?}"),
    }
}

#[tokio::test]
async fn a_scheduler_that_does_not_read_is_cut_off_and_hears_why_when_it_reads_again() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:100; mem:100000").await;
    let mut scheduler = cluster.scheduler("batch").await;
    let offer = scheduler.offer().await;
    let tasks = (0..1_000).map(|n| task(&offer, &format!("t{n}"), "cpus:0.01; mem:1").encode_to_vec().into());
    scheduler.call(scheduler.accept(&[&offer], tasks.collect())).await.expect("taken");
    // Each is answered by an update of each task.
    let reconcile =
        || carrier::Call { reconcile: Some(call::Reconcile::default()), ..scheduler.blank(Type::Reconcile) };
    let mut asked = 0;
    while scheduler.call(reconcile()).await.is_ok() {
        asked += 1;
        assert!(asked < 1_000, "it is never cut off");
    }
    let operator = cluster.connect(OPERATOR).await;
    eventually(|| async {
        let request = bourse_proto::operator::ListFrameworksRequest::default();
        let listed = operator.operator().list_frameworks(request).await.expect("an answer").into_inner();
        (listed.frameworks[0].state != "active").then_some(())
    })
    .await;
    let ended = scheduler.end().await.expect("a reason");
    assert_eq!(ended.code(), Code::ResourceExhausted);
    assert!(ended.message().contains("subscribe again"), "{}", ended.message());
}
