//! A part that stands still for a while, and goes on: a machine that swaps, a disk that takes long, a debugger.

use std::process::Child;

use bourse_tests::{PATIENCE, Plan, wait_for};
use nix::sys::signal::Signal;

/// The task's call of `bourse run` does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_master_that_stood_still_for_longer_than_its_agent_timeout_gives_up_no_agent_and_no_task() {
    // Twice what the plan of every cluster allows an agent.
    let stall = std::time::Duration::from_secs(10);
    let mut cluster = Plan::agents(2).start();
    let _running = Running(cluster.cli().command(["run", "--", "sleep", "1000"]).spawn().expect("it starts"));
    wait_for("the task to run", PATIENCE, || {
        let running = cluster.api.running().map_err(|status| status.message().to_owned())?;
        if running.is_empty() { Err("none runs".to_owned()) } else { Ok(()) }
    });
    let before = cluster.processes("");
    let epoch = cluster.api.cluster().expect("it answers").epoch;

    // The stall itself, not a wait for something.
    cluster.part("master").signal(Signal::SIGSTOP);
    std::thread::sleep(stall);
    cluster.part("master").signal(Signal::SIGCONT);

    // Whatever was overdue has been decided when a new task has come to its end.
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    cluster.wait_ready(2, false);
    let events = cluster.cli().ok(["events", "-o", "json"]).stdout;
    assert!(!events.to_lowercase().contains("unreachable"), "{events}");
    assert!(before.values().all(|process| process.is_alive()), "the task runs on");
    assert_eq!(cluster.api.cluster().expect("it answers").epoch, epoch, "it is the same master");
}
