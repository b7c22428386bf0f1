use bourse_proto::agent_link::LogStream;
use bourse_proto::v1::TaskState::*;
use tonic::Code;

use crate::lab::{DEADLINE, Lab, shell, text};

/// Reads the log again and again until it holds the words.
pub async fn until_log_holds(lab: &Lab, task: &str, words: &str) {
    let holds = async {
        loop {
            let log = lab.log(task, LogStream::Stdout, 0, false).await;
            if log.is_ok_and(|chunks| text(&chunks).contains(words)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, holds).await.expect("the words come in time");
}

#[tokio::test]
async fn a_log_is_followed_from_its_first_byte_to_its_last() {
    let lab = Lab::new().await;
    lab.run(&shell(
        "t1",
        "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.005; done; printf end",
    ));
    lab.until_running("t1").await;
    let chunks = lab.log("t1", LogStream::Stdout, 0, true).await.expect("a log");
    let expected: String = (0..200).map(|i| format!("line {i}\n")).chain(["end".to_owned()]).collect();
    assert_eq!(text(&chunks), expected);
    assert!(chunks.len() > 1, "it came while it grew");
    let mut at = 0;
    for chunk in &chunks {
        assert_eq!(chunk.offset, at);
        at += chunk.data.len() as u64;
    }
    lab.clean().await;
}

#[tokio::test]
async fn a_log_of_a_task_that_is_over_is_read_from_any_offset() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "echo 0123456789"));
    lab.until_state("t1", TaskFinished).await;
    for (offset, expected) in
        [(0, "0123456789\n"), (4, "456789\n"), (-3, "89\n"), (-100, "0123456789\n"), (100, "")]
    {
        let chunks = lab.log("t1", LogStream::Stdout, offset, true).await.expect("a log");
        assert_eq!(text(&chunks), expected, "from {offset}");
    }
    lab.clean().await;
}

#[tokio::test]
async fn a_log_goes_on_while_the_agent_is_down_and_is_read_over_all_its_files() {
    let mut lab = Lab::with(&["--log-max-size=64KiB", "--log-files=2"]).await;
    lab.run(&shell("t1", "echo begun; until [ -e go ]; do sleep 0.02; done; seq 1 50000"));
    until_log_holds(&lab, "t1", "begun\n").await;
    lab.kill_agent().await;
    std::fs::write(lab.sandbox("t1").join("go"), "").expect("the sandbox is there");
    lab.start().await;
    lab.until_state("t1", TaskFinished).await;
    let all: String = ["begun".to_owned()]
        .into_iter()
        .chain((1..=50_000).map(|i| i.to_string()))
        .map(|line| line + "\n")
        .collect();
    for (offset, gone) in [(0, true), (all.len() as i64 - 100_000, false), (-100_000, false)] {
        let chunks = lab.log("t1", LogStream::Stdout, offset, true).await.expect("a log");
        let (begin, text) = (chunks[0].offset as usize, text(&chunks));
        assert_eq!(text, all[begin..], "from {offset}");
        assert!(text.len() > 2 * 60_000 || !gone, "{} bytes are kept", text.len());
        assert!(gone || begin == all.len() - 100_000, "{begin}");
    }
    lab.clean().await;
}

#[tokio::test]
async fn a_log_needs_the_token_and_a_task_that_ran_here() {
    let lab = Lab::new().await;
    let unknown = lab.log("t9", LogStream::Stdout, 0, false).await.expect_err("never ran");
    assert_eq!(unknown.code(), Code::NotFound);
    let request = bourse_proto::agent_link::ReadLogRequest { task_id: "t9".into(), ..Default::default() };
    let refused = lab.api("another-token-than-the-agents").await.agent_api().read_log(request).await;
    assert_eq!(refused.expect_err("the wrong token").code(), Code::Unauthenticated);
    lab.clean().await;
}

#[tokio::test]
async fn a_link_in_the_place_of_a_log_is_not_followed() {
    let lab = Lab::new().await;
    lab.run(&shell("t1", "rm stdout; ln -s /etc/shadow stdout"));
    lab.until_state("t1", TaskFinished).await;
    let refused = lab.log("t1", LogStream::Stdout, 0, false).await.expect_err("not a log any more");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    lab.clean().await;
}

#[tokio::test]
async fn health_is_asked_without_a_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = Lab::new().await;
    let address = lab.master.registrations()[0].address.clone();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    lab.clean().await;
}

#[tokio::test]
async fn silent_connections_come_to_an_end_and_keep_no_reader_of_logs_out() {
    use tokio::io::AsyncReadExt;
    let lab = Lab::new().await;
    lab.run(&shell("t1", "echo hello"));
    lab.until_state("t1", TaskFinished).await;
    let address = lab.master.registrations()[0].address.clone();
    // More than the agent has room for.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(&address).await.expect("it listens"));
    }
    assert_eq!(lab.stdout("t1").await, "hello\n");
    // Closed or reset is the same to us.
    let ended = tokio::time::timeout(DEADLINE, silent[0].read_u8()).await.expect("the oldest has to go");
    ended.expect_err("nothing is said to it");
    lab.clean().await;
}

#[tokio::test]
async fn who_follows_a_log_is_told_that_the_agent_stops_and_reads_on_from_the_next_one() {
    let mut lab = Lab::new().await;
    lab.run(&shell("t1", "echo one; while [ ! -f go ]; do sleep 0.02; done; echo two"));
    lab.until_running("t1").await;
    let request = lab.log_request("t1", LogStream::Stdout, 0, true);
    let mut following =
        lab.api(crate::lab::TOKEN).await.agent_api().read_log(request).await.expect("a log").into_inner();
    let first = following.message().await.expect("it goes on").expect("a piece");
    assert_eq!(&*first.data, b"one\n");
    assert!(lab.stop_agent().await, "{}", lab.agent_log());
    let told = following.message().await.expect_err("it is not complete");
    assert_eq!(told.code(), Code::Unavailable, "{told:?}");
    assert!(told.message().contains("the agent is stopping"), "{told:?}");
    lab.start().await;
    std::fs::write(lab.sandbox("t1").join("go"), "").expect("written");
    let rest = lab.log("t1", LogStream::Stdout, 4, true).await.expect("a log");
    assert_eq!(text(&rest), "two\n");
    lab.clean().await;
}
