//! An agent that is not root: in control groups that were given to its user, and without any.
//!
//! Each test starts this program again with that test alone, as a user of nobody's, who plays the agent. What he left would
//! show: his control groups could not be removed.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bourse_containerizer::failpoint::{Failpoint, observe};
use bourse_containerizer::{
    Check, CheckEnd, ContainerSpec, Containerizer, Isolation, Limitation, Outcome, RecoveredState, quota,
};
use bourse_hostile::quota_folder;
use bourse_types::{Exit, Namespaces, Network, Users};
use tempfile::TempDir;

use super::delegated::{Delegated, USER};
use super::failpoints::die;
use super::lab::{Lab, exit_of, read, until};
use super::recovery::{Agent, played_agent, recover, until_no_agent_is_left};
use super::rootfs::image;

/// Set for a process that plays the agent: the lab's root.
const ROOT: &str = "CONTAINERS_TEST_ROOTLESS_ROOT";
const INSTANCE: &str = "CONTAINERS_TEST_ROOTLESS_INSTANCE";

/// What a task of root keeps, as `user.rs` has it: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net_bind_service, sys_chroot, audit_write.
const KEPT: &str = "00000000200405fb";

/// A process that does not outlive its test.
struct Playing(Child);

impl Drop for Playing {
    fn drop(&mut self) {
        // It has been waited for, unless the test fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a test of this program run as the user, in control groups that are his or in those of root; it has to succeed.
async fn play(test: &str, with_groups: bool) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    assert!(nix::unistd::geteuid().is_root(), "this test becomes another user: run it with sudo");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let instance = format!("test-{}-rootless-{count}", std::process::id());
    let folder = TempDir::new().expect("a temporary directory");
    chown(folder.path(), Some(USER), Some(USER)).expect("we are root");
    // Opened before, as the user may not pass the way to it.
    let tests = File::open(env::current_exe().expect("it is running")).expect("it is there");
    let child = Command::new(format!("/proc/self/fd/{}", tests.as_raw_fd()))
        .args(["--exact", test, "--nocapture"])
        .env(ROOT, folder.path())
        .env(INSTANCE, &instance)
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .spawn()
        .expect("it can be started again");
    let mut playing = Playing(child);
    let groups = with_groups.then(|| Delegated::make(&instance));
    if let Some(groups) = &groups {
        groups.take_in(playing.0.id());
    }
    fs::write(folder.path().join("go"), "").expect("it is writable");
    let mut status = None;
    until("the agent has ended", || {
        status = playing.0.try_wait().expect("it is our child");
        status.is_some()
    })
    .await;
    assert!(status.is_some_and(|status| status.success()), "{status:?}; what it says is above");
    if let Some(groups) = groups {
        until("nothing is left in the groups", || groups.are_removed()).await;
    }
}

/// The lab of the agent that this process plays, once it is in its groups; `None` in the test itself.
async fn played() -> Option<Lab> {
    let root = PathBuf::from(env::var_os(ROOT)?);
    until("it is in its groups", || root.join("go").exists()).await;
    Some(Lab::at(&root, &env::var(INSTANCE).expect("set together with the root")))
}

fn check(script: &str) -> Check {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Check { argv, env: vec![], timeout: Duration::from_secs(10) }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_task_is_isolated_and_limited_in_groups_that_were_given_to_the_agents_user() {
    let Some(lab) = played().await else {
        return play(
            "rootless::without_root_a_task_is_isolated_and_limited_in_groups_that_were_given_to_the_agents_user",
            true,
        )
        .await;
    };
    let can = lab.containerizer.try_out(Isolation::Linux).await.expect("the groups are given");
    let can = can.expect("it isolates");
    assert!(!can.oom_protection && can.lacking[0].contains(&format!("uid {USER}")), "{can:?}");
    assert!(can.lacking.iter().any(|lacking| lacking.contains("CAP_SYS_RESOURCE")), "{can:?}");

    let script =
        "id -u; hostname; cat /proc/self/uid_map; set -- /proc/[0-9]*; echo $#; ls /sys/fs/cgroup | wc -l
        grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; touch made /tmp/made; echo up >&2
        until [ -e stop ]; do sleep 0.02; done; exit 3";
    let mut spec = lab.shell("c1", script);
    spec.hostname = Some("inside".into());
    let launched = lab.launch(&spec).await;
    until("it is up", || read(&spec, "stderr") == "up\n").await;
    let said = read(&spec, "stdout");
    let said: Vec<&str> = said.split_whitespace().collect();
    let user = USER.to_string();
    // Two processes: the first one and the shell.
    let expected = ["0", "inside", "0", &user, "1", "2", "0", "CapEff:", KEPT, "CapBnd:", KEPT];
    assert_eq!(said[..expected.len()], expected);
    assert_eq!(said[expected.len()..], ["NoNewPrivs:", "1", "Seccomp:", "2"]);
    for kind in ["user", "pid", "mnt", "uts", "ipc"] {
        let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{kind}")).expect("we may look at it");
        assert_ne!(of(&launched.pid.to_string()), of("self"), "{kind}");
    }
    for made in ["made", "tmp/made", "stdout"] {
        let about = fs::metadata(spec.sandbox.join(made)).expect("it was made");
        assert_eq!((about.uid(), about.gid()), (USER, USER), "{made}");
    }
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it runs");
    assert_eq!((usage.memory_limit_bytes, usage.pids_limit), (Some(64 << 20), Some(64)));
    assert!(usage.pids >= 1 && usage.memory_bytes > 0, "{usage:?}");
    fs::write(spec.sandbox.join("stop"), "").expect("it is writable");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(3));

    let hungry = lab.spec("c2", &["tail", "/dev/zero"]);
    lab.launch(&hungry).await;
    let ended = lab.wait(&hungry).await;
    assert!(matches!(ended.limitation, Some(Limitation::Memory { .. })), "{ended:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_task_is_checked_killed_and_found_again_by_the_next_agent() {
    let Some(lab) = played().await else {
        let test = "rootless::without_root_a_task_is_checked_killed_and_found_again_by_the_next_agent";
        return play(test, true).await;
    };
    let spec = lab.shell("c1", "trap 'echo saved; exit 4' TERM; echo up; while :; do sleep 0.02; done");
    let launched = lab.launch(&spec).await;
    until("it runs", || read(&spec, "stdout") == "up\n").await;
    let next = Lab::at(lab.root(), &lab.instance);
    let found = next.containerizer.recover().await.expect("the runtime directory is readable");
    let [found] = &found[..] else { panic!("one container: {found:?}") };
    assert_eq!(found.state, RecoveredState::Running(launched));

    let script = "[ $(id -u) = 0 ] && [ $PWD = /mnt/mesos/sandbox ] && [ -e stdout ] && kill -0 2 && exit 7";
    let end = next.containerizer.exec(&spec.container_id, &check(script)).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(7)));
    let usage = next.containerizer.usage(&spec.container_id).await.expect("it runs");
    assert_eq!(usage.memory_limit_bytes, Some(64 << 20), "its groups were found, too");
    next.containerizer.terminate(&spec.container_id).await.expect("it runs");
    assert_eq!(exit_of(&next.wait(&spec).await), Exit::Code(4));
    assert_eq!(read(&spec, "stdout"), "up\nsaved\n");
    next.finish().await;
    lab.assert_nothing_is_left();
}

/// Plan: who plays the agent of the user starts another one in its place, which is killed when its copy that is to become
/// the first process waits for its users.
#[tokio::test(flavor = "multi_thread")]
async fn without_root_an_agent_that_is_killed_before_a_first_process_has_its_users_leaves_nobody() {
    const TEST: &str =
        "rootless::without_root_an_agent_that_is_killed_before_a_first_process_has_its_users_leaves_nobody";
    if let Some(lab) = played_agent() {
        observe(|reached| {
            if reached == Failpoint::CopyWaits {
                die();
            }
        });
        lab.launch(&lab.shell("c1", "echo ran > ran")).await;
        return;
    }
    let Some(lab) = played().await else { return play(TEST, true).await };
    let signal = Agent::start(TEST, &lab, "0").until_ended().await;
    assert_eq!(signal, Some(libc::SIGKILL), "it does not come to the step");
    until_no_agent_is_left(&lab).await;
    let next = Lab::at(lab.root(), &lab.instance);
    let found = recover(&next.containerizer).await;
    let [one] = &found[..] else { panic!("one container: {found:?}") };
    assert!(
        matches!(&one.state, RecoveredState::Ended(ended) if ended.outcome == Outcome::CutShort),
        "{one:?}"
    );
    next.containerizer.destroy(&one.container_id).await.expect("it can be destroyed");
    next.assert_nothing_is_left();
    let spec = lab.shell("c1", "echo ran > ran");
    assert_eq!(read(&spec, "ran"), "");
    assert_eq!(next.run(&spec).await, Exit::Code(0));
    assert_eq!(read(&spec, "ran"), "ran\n");
    next.finish().await;
    lab.assert_nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_task_gets_nothing_that_its_agents_user_does_not_have() {
    let Some(lab) = played().await else {
        let test = "rootless::without_root_a_task_gets_nothing_that_its_agents_user_does_not_have";
        return play(test, true).await;
    };
    let other = ContainerSpec { user: Some("nobody".into()), ..lab.spec("c1", &["true"]) };
    let error = lab.containerizer.launch(&other).await.expect_err("only root may").to_string();
    for part in ["cannot switch to \"nobody\"", "name no user"] {
        assert!(error.contains(part), "{error}");
    }
    let namespaces = Namespaces { users: Users::Own, ..Namespaces::default() };
    let own = ContainerSpec { namespaces, ..lab.spec("c1", &["true"]) };
    let error = lab.containerizer.launch(&own).await.expect_err("nobody gave it a range").to_string();
    for part in ["users of its own", "no right to map", "/etc/subuid"] {
        assert!(error.contains(part), "{error}");
    }
    // Each would be a way out, or at least what only root of the machine may.
    let script = "cat /etc/shadow && echo read
        chown 1 stdout && echo given
        chmod 600 /dev/null && echo closed
        mknod device c 1 3 && echo made
        umount /sys/fs/cgroup && echo uncovered
        mount -t tmpfs none /tmp && echo mounted
        echo 1 > /proc/sys/kernel/panic && echo set
        touch /etc/made && echo written
        echo end";
    let spec = lab.shell("c2", script);
    assert_eq!(lab.output(&spec).await, "end\n", "{}", read(&spec, "stderr"));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_task_has_a_directory_as_its_root_and_writes_to_it_without_changing_it() {
    let Some(lab) = played().await else {
        let test =
            "rootless::without_root_a_task_has_a_directory_as_its_root_and_writes_to_it_without_changing_it";
        return play(test, true).await;
    };
    let image = image(&lab, "image");
    let script = "cat /release; echo new > /release; touch /more; rm /bin/mv; cat /release; id -u";
    let spec = ContainerSpec { root: Some(image.clone()), ..lab.shell("c1", script) };
    assert_eq!(lab.output(&spec).await, "image\nnew\n0\n");
    assert_eq!(fs::read_to_string(image.join("release")).expect("it is there"), "image\n");
    assert!(!image.join("more").exists() && fs::symlink_metadata(image.join("bin/mv")).is_ok());
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_task_has_a_network_of_its_own_and_its_checks_are_in_it() {
    let Some(lab) = played().await else {
        let test = "rootless::without_root_a_task_has_a_network_of_its_own_and_its_checks_are_in_it";
        return play(test, true).await;
    };
    let script =
        "cat /sys/class/net/lo/flags; ls -d /sys/fs/cgroup/*; readlink /proc/self/ns/net; echo up >&2
        until [ -e stop ]; do sleep 0.02; done";
    let namespaces = Namespaces { network: Network::Loopback, ..Namespaces::default() };
    let spec = ContainerSpec { namespaces, ..lab.shell("c1", script) };
    lab.launch(&spec).await;
    until("it is up", || read(&spec, "stderr").ends_with("up\n")).await;
    let said = read(&spec, "stdout");
    let said: Vec<&str> = said.lines().collect();
    let ours = fs::read_link("/proc/self/ns/net").expect("/proc is mounted").display().to_string();
    // Up and loopback (if.h), and nothing of control groups.
    assert!(said.len() == 2 && said[0] == "0x9" && said[1] != ours, "{said:?}");
    let same = format!("[ $(readlink /proc/self/ns/net) = '{}' ]", said[1]);
    let end = lab.containerizer.exec(&spec.container_id, &check(&same)).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    fs::write(spec.sandbox.join("stop"), "").expect("it is writable");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(0));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_and_groups_an_agent_says_what_it_lacks_and_runs_tasks_beside_itself() {
    let Some(lab) = played().await else {
        let test =
            "rootless::without_root_and_groups_an_agent_says_what_it_lacks_and_runs_tasks_beside_itself";
        return play(test, false).await;
    };
    let error = lab.containerizer.try_out(Isolation::Linux).await.expect_err("no group can be made");
    let error = error.to_string();
    for part in ["cannot isolate tasks", "Permission denied", "Delegate=yes", "--isolation=process"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert!(lab.containerizer.try_out(Isolation::Process).await.expect("that takes no right").is_none());
    let plain = ContainerSpec { isolation: Isolation::Process, ..lab.shell("c1", "id -u; pwd; exit 5") };
    assert_eq!(lab.run(&plain).await, Exit::Code(5));
    assert_eq!(read(&plain, "stdout"), format!("{USER}\n{}\n", plain.sandbox.display()));
    lab.finish().await;
}

/// Plan: root gives one of two sandboxes a quota, and the agent that is not root finds both.
#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_sandbox_gets_no_quota_and_its_task_runs_all_the_same() {
    const TEST: &str = "rootless::without_root_a_sandbox_gets_no_quota_and_its_task_runs_all_the_same";
    let Some(place) = quota_folder() else { return };
    let (own, given) = (place.join("rootless-own"), place.join("rootless-given"));
    let limit = Some(quota::Limit { bytes: 1 << 20, inodes: Some(8) });
    let Some(lab) = played().await else {
        for sandbox in [&own, &given] {
            fs::create_dir(sandbox).expect("it is writable");
            chown(sandbox, Some(USER), Some(USER)).expect("we are root");
        }
        assert!(quota::give(&given, limit).expect("it can be set"), "there are quotas");
        play(TEST, true).await;
        assert_eq!(quota::used(&own), None, "root finds none either");
        for sandbox in [own, given] {
            fs::remove_dir_all(sandbox).expect("it is there");
        }
        return;
    };
    for sandbox in [&own, &given] {
        assert!(!quota::give(sandbox, limit).expect("that is no error"), "only root may");
        assert!(!quota::change(sandbox, limit).expect("that is no error"), "only root may");
        assert_eq!(quota::used(sandbox), None, "what it holds is measured");
    }
    let script = "head -c 2M /dev/zero > big && mkdir -p 1/2/3/4/5/6/7/8/9 && echo whole";
    let spec = ContainerSpec { sandbox: own, ..lab.shell("c1", script) };
    assert_eq!(lab.output(&spec).await, "whole\n", "{}", read(&spec, "stderr"));
    lab.finish().await;
}
