//! Whoever wants more than its part gets that and no more, and nobody else waits for it.

use std::time::Duration;

use bourse_client::Connection;
use bourse_proto::operator::{ListAgentsRequest, ListFrameworksRequest};
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler::call::Type;
use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::harness::*;
use crate::hostile::Raw;

/// How many frameworks one principal may have.
const MOST: usize = 1_000;

async fn frameworks(operator: &Connection) -> usize {
    let listed = within(operator.operator().list_frameworks(ListFrameworksRequest::default())).await;
    listed.expect("answered").into_inner().frameworks.len()
}

#[tokio::test]
async fn a_principal_has_a_thousand_subscriptions_and_no_more_and_another_ones_is_taken_at_once() {
    const CONNECTIONS: usize = 20;
    let cluster = Cluster::start().await;
    let operator = cluster.connect(OPERATOR).await;
    let mut subscribing = JoinSet::new();
    for n in 0..CONNECTIONS {
        let connection = cluster.connect(FRAMEWORK).await;
        subscribing.spawn(async move {
            let mut schedulers = Vec::new();
            for m in 0..MOST / CONNECTIONS {
                let info = framework_info(&format!("greedy-{n}-{m}"));
                let scheduler = FakeScheduler::subscribe_by(connection.clone(), info).await;
                schedulers.push(scheduler.expect("there is room"));
            }
            schedulers
        });
    }
    let subscribed = tokio::time::timeout(6 * SOON, subscribing.join_all()).await.expect("within minutes");
    assert_eq!(frameworks(&operator).await, MOST);

    let one_more = FakeScheduler::subscribe(&cluster, FRAMEWORK, framework_info("one-more")).await;
    let refused = one_more.err().expect("it has the most already");
    let wanted = "principal batch has 1000 frameworks, and may not have more";
    assert!(refused.message().contains(wanted), "{}", refused.message());
    let rival = FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, framework_info("rival"));
    let rival = tokio::time::timeout(Duration::from_secs(5), rival).await.expect("at once");
    let rival = rival.expect("it has none yet");

    let mut leaving = JoinSet::new();
    for schedulers in subscribed {
        leaving.spawn(async move {
            for scheduler in schedulers {
                scheduler.call(scheduler.blank(Type::Teardown)).await.expect("it may leave");
            }
        });
    }
    tokio::time::timeout(6 * SOON, leaving.join_all()).await.expect("within minutes");
    eventually(|| async { (frameworks(&operator).await == 1).then_some(()) }).await;
    FakeScheduler::subscribe(&cluster, FRAMEWORK, framework_info("again")).await.expect("there is room");
    rival.call(rival.blank(Type::Revive)).await.expect("it goes on");
}

#[tokio::test]
async fn a_thousand_calls_at_once_by_one_connection_wait_for_each_other_and_are_all_answered() {
    let cluster = Cluster::start().await;
    let _agent = cluster.agent("host-a", "cpus:4; mem:1024").await;
    let connection = cluster.connect(OPERATOR).await;
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let connection = connection.clone();
        calls.spawn(async move {
            let listed = connection.operator().list_agents(ListAgentsRequest::default()).await;
            listed.map(|listed| listed.into_inner().agents.len())
        });
    }
    for answer in within(calls.join_all()).await {
        assert_eq!(answer.expect("answered"), 1);
    }
}

/// A call of so many bytes of which the end does not come.
async fn endless(connection: Connection, bytes: usize) -> Status {
    let mut client = tonic::client::Grpc::new(connection.service());
    client.ready().await.expect("the connection holds");
    let call = carrier::Call {
        framework_id: Some(framework_id(&"x".repeat(bytes))),
        r#type: Some(Type::Revive as i32),
        ..carrier::Call::default()
    };
    let (say, said) = mpsc::channel(1);
    say.send(Bytes::from(call.encode_to_vec())).await.expect("there is room");
    let path = "/bourse.v1.scheduler.Scheduler/Call".parse().expect("a path");
    let answer = client.streaming(Request::new(ReceiverStream::new(said)), path, Raw).await;
    drop(say);
    answer.map(drop).expect_err("it is refused")
}

#[tokio::test]
async fn calls_that_do_not_end_hold_a_bounded_amount_together_and_are_given_up_when_nothing_more_comes() {
    let cluster = Cluster::start().await;
    let connection = cluster.connect(FRAMEWORK).await;
    let mut calls = JoinSet::new();
    // Four of these may be held, of a bound of 64 MiB.
    for _ in 0..5 {
        calls.spawn(endless(connection.clone(), 15 << 20));
    }
    let first = within(calls.join_next()).await.expect("one of five").expect("no panic");
    assert_eq!(first.code(), Code::Unavailable, "{first:?}");
    assert!(first.message().contains("more than 64 MiB together"), "{}", first.message());
    // The same principal goes on with what it has room for, and everybody else does.
    let info = framework_info("batch");
    let scheduler = FakeScheduler::subscribe_by(connection.clone(), info).await.expect("admitted");
    let rival = FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, framework_info("rival")).await;
    let large = endless(cluster.connect(OTHER_FRAMEWORK).await, 15 << 20);
    let (large, rest) = within(async { tokio::join!(large, calls.join_all()) }).await;
    for given_up in rest.iter().chain([&large]) {
        assert_eq!(given_up.code(), Code::DeadlineExceeded, "{given_up:?}");
        assert!(given_up.message().contains("nothing more of this call came for 10 s"), "{given_up:?}");
    }
    assert_eq!(rest.len(), 4);
    scheduler.call(scheduler.blank(Type::Revive)).await.expect("it goes on");
    let rival = rival.expect("admitted");
    rival.call(rival.blank(Type::Revive)).await.expect("it goes on");
}
