use std::time::Duration;

use bourse_proto::v1::{TaskState::*, TaskStatus};
use bourse_types::{Command, HealthCheck, HealthKind, Scheme, TaskSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lab::{Lab, shell};

fn checked(task: &str, line: &str, kind: HealthKind) -> TaskSpec {
    let mut check = HealthCheck::new(kind);
    (check.delay, check.grace_period) = (Duration::ZERO, Duration::ZERO);
    (check.interval, check.timeout) = (Duration::from_millis(50), Duration::from_secs(5));
    TaskSpec { health: Some(check), ..shell(task, line) }
}

async fn until_healthy(lab: &Lab, task: &str) {
    let healthy = |status: &TaskStatus| status.healthy == Some(true);
    lab.until("the task is healthy", |master| master.statuses(task).iter().any(healthy)).await;
}

/// Waits until the task was killed for its health; its end says so.
async fn until_killed(lab: &Lab, task: &str, why: &str) {
    let end = lab.until_state(task, TaskKilled).await;
    assert_eq!(end.healthy, Some(false));
    assert!(end.message().contains("health check failed 3 times in a row"), "{}", end.message());
    let told = lab.master.statuses(task);
    assert!(told.iter().any(|status| status.message().contains(why)), "{why} is not in {told:?}");
}

/// A server that answers every request with what it is told to.
async fn answers(status: tokio::sync::watch::Receiver<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            // A check that only connects says nothing.
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", *status.borrow());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn an_http_check_follows_the_status_and_kills_after_three_failures() {
    let lab = Lab::new().await;
    let (status, now) = tokio::sync::watch::channel("302 Found");
    let port = answers(now).await;
    let kind = HealthKind::Http { port, path: "/health".into(), scheme: Scheme::Http, statuses: vec![] };
    lab.run(&checked("t1", "exec sleep 1000", kind));
    until_healthy(&lab, "t1").await;
    status.send_replace("503 Service Unavailable");
    until_killed(&lab, "t1", &format!("GET /health on port {port} answered 503")).await;
    lab.clean().await;
}

#[tokio::test]
async fn a_tcp_check_wants_a_connection() {
    let lab = Lab::new().await;
    let (_status, now) = tokio::sync::watch::channel("200 OK");
    let port = answers(now).await;
    lab.run(&checked("t1", "exec sleep 1000", HealthKind::Tcp { port }));
    until_healthy(&lab, "t1").await;
    let closed =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").port();
    lab.run(&checked("t2", "exec sleep 1000", HealthKind::Tcp { port: closed }));
    until_killed(&lab, "t2", &format!("could not connect to port {closed}")).await;
    lab.clean().await;
}

#[tokio::test]
async fn a_command_check_runs_inside_the_container() {
    let lab = Lab::new().await;
    // Only inside is the file in the working directory.
    let kind = HealthKind::Command(Command::shell("test -f ok"));
    lab.run(&checked("t1", "touch ok; exec sleep 1000", kind));
    until_healthy(&lab, "t1").await;
    std::fs::remove_file(lab.sandbox("t1").join("ok")).expect("there");
    until_killed(&lab, "t1", "the command exited with 1").await;
    lab.clean().await;
}
