//! Frameworks that take more than their part of the master's memory: they get that part and no more.
//!
//! By the real process, whose peak the kernel counts: in a test's own process others would count along.

use std::time::Instant;

use bourse_client::Connection;
use bourse_proto::v1::carrier;
use bourse_proto::v1::scheduler::call::{self, Type};
use bourse_proto::v1::{FrameworkId, TaskId};
use bourse_tests::{Cluster, PATIENCE, Plan, process};
use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::hostile::{Bare, Raw};

/// Lets frameworks do something to the master, and tells how many MiB it grew by at most. It is the same one afterwards
/// and does its work.
fn grown_by(act: impl AsyncFnOnce(&Cluster)) -> u64 {
    let mut cluster = Plan::agents(1).start();
    let master = cluster.part("master").pid().expect("it runs");
    let before = process::peak_memory(master);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("threads").block_on(act(&cluster));
    let grown = process::peak_memory(master) - before;
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    assert_eq!(cluster.part("master").ended(), None);
    grown
}

#[test]
fn schedulers_that_read_nothing_have_a_bounded_part_of_the_masters_memory_together() {
    const SCHEDULERS: usize = 30;
    let grown = grown_by(async |cluster| {
        let mut schedulers = Vec::new();
        for _ in 0..SCHEDULERS {
            schedulers.push(Bare::subscribe(cluster, "stranger").await);
        }
        // Each of these tasks is answered by an event that nobody reads, until the scheduler is cut off.
        let asked = |n| {
            let task_id = Some(TaskId { value: Some(format!("t{n}")) });
            call::reconcile::Task { task_id, agent_id: None }
        };
        let reconcile = call::Reconcile { tasks: (0..10_000).map(asked).collect() };
        let began = Instant::now();
        while !schedulers.is_empty() {
            assert!(began.elapsed() < 2 * PATIENCE, "{} are not cut off", schedulers.len());
            let mut left = Vec::new();
            for scheduler in schedulers {
                let reconcile = Some(reconcile.clone());
                let call = carrier::Call { reconcile, ..scheduler.call(Type::Reconcile) };
                match scheduler.send(call).await {
                    Ok(()) => left.push(scheduler),
                    // It asks faster than it is answered.
                    Err(status) if status.code() == Code::Unavailable => left.push(scheduler),
                    Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}"),
                }
            }
            schedulers = left;
        }
    });
    // Each alone may have some 40 MiB of events.
    assert!(grown < 450, "{grown} MiB");
}

/// A call of so many bytes whose end does not come.
async fn endless(connection: Connection, call: Bytes) -> Status {
    let mut client = tonic::client::Grpc::new(connection.service());
    client.ready().await.expect("the connection is open");
    let (say, said) = tokio::sync::mpsc::channel(1);
    say.send(call).await.expect("there is room");
    let path = "/bourse.v1.scheduler.Scheduler/Call".parse().expect("a path");
    let answer = client.streaming(Request::new(ReceiverStream::new(said)), path, Raw).await;
    drop(say);
    answer.map(drop).expect_err("it is refused")
}

#[test]
fn calls_without_an_end_have_a_bounded_part_of_the_masters_memory_together() {
    const CALLS: usize = 24;
    let grown = grown_by(async |cluster| {
        let scheduler = Bare::subscribe(cluster, "stranger").await;
        let framework_id = Some(FrameworkId { value: Some("x".repeat(15 << 20)) });
        let call = carrier::Call { framework_id, ..scheduler.call(Type::Revive) };
        let call = Bytes::from(call.encode_to_vec());
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            calls.spawn(endless(scheduler.connection.clone(), call.clone()));
        }
        let answers = timeout(2 * PATIENCE, calls.join_all()).await.expect("none of them is held for long");
        let is_refused = |status: &&Status| status.message().contains("more than 64 MiB together");
        let refused = answers.iter().filter(is_refused).count();
        let given_up = answers.iter().filter(|status| status.code() == Code::DeadlineExceeded).count();
        assert!(refused > 0 && given_up > 0 && refused + given_up == CALLS, "{answers:?}");
        scheduler.send(scheduler.call(Type::Revive)).await.expect("its subscription goes on");
    });
    // Of 360 MiB that were sent 64 may be held, twice while they are read.
    assert!(grown < 250, "{grown} MiB");
}
