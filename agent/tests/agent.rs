//! A real agent, as a process of its own with real containers, against a scripted master inside the test.
//!
//! The agent's process is this very test binary, started again for its one "test" below. It needs root, as isolating
//! does.

#[path = "../containerizer/tests/containers/delegated.rs"]
mod delegated;
#[path = "agent/lab.rs"]
mod lab;
#[path = "agent/master.rs"]
mod master;

#[path = "agent/disk.rs"]
mod disk;
#[path = "agent/failpoints.rs"]
mod failpoints;
#[path = "agent/full_disk.rs"]
mod full_disk;
#[path = "agent/health.rs"]
mod health;
#[path = "agent/killing.rs"]
mod killing;
#[path = "agent/logs.rs"]
mod logs;
#[path = "agent/namespaces.rs"]
mod namespaces;
#[path = "agent/quota.rs"]
mod quota;
#[path = "agent/recovery.rs"]
mod recovery;
#[path = "agent/registering.rs"]
mod registering;
#[path = "agent/resizing.rs"]
mod resizing;
#[path = "agent/rootfs.rs"]
mod rootfs;
#[path = "agent/rootless.rs"]
mod rootless;
#[path = "agent/running.rs"]
mod running;
#[path = "agent/stopping.rs"]
mod stopping;
#[path = "agent/tls.rs"]
mod tls;

/// Not a test: the agent's process. Without the variable that the lab sets, there is nothing to do.
#[test]
fn the_process_of_an_agent() {
    if let Some(arguments) = std::env::var_os(lab::ARGUMENTS) {
        lab::be_the_agent(&arguments.into_string().expect("the lab wrote text"));
    }
}
