//! What a task may use is all that it gets.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bourse_containerizer::cgroup::{Extra, LimitsError};
use bourse_containerizer::{
    Check, CheckEnd, ContainerError, ContainerSpec, Containerizer, Cores, Ended, HugePages, Isolation,
    Limitation, Limits, LogLimits, Usage,
};
use bourse_types::{Exit, Milli};

use super::lab::{DEADLINE, Lab, exit_of, groups_of, has, parent_of, processes_marked, read, until};

async fn usage(lab: &Lab, spec: &ContainerSpec) -> Usage {
    lab.containerizer.usage(&spec.container_id).await.expect("it is known")
}

/// Waits for what a task uses to be so.
async fn until_used(lab: &Lab, spec: &ContainerSpec, is: impl Fn(&Usage) -> bool) -> Usage {
    let since = Instant::now();
    loop {
        let used = usage(lab, spec).await;
        if is(&used) {
            return used;
        }
        assert!(since.elapsed() < DEADLINE, "still not so: {used:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is in a file of the container's control groups, by its names in version 1 and version 2; `None` where this machine
/// does not have it.
fn in_group(lab: &Lab, group: &str, names: [&str; 2]) -> Option<String> {
    let bases = groups_of(&lab.instance).into_iter();
    let text = bases
        .flat_map(|base| names.map(|name| base.join(group).join(name)))
        .find_map(|path| fs::read_to_string(path).ok());
    text.map(|text| text.trim().to_owned())
}

/// The cpus that a process may run on.
fn allowed(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is told");
    line.trim().to_owned()
}

fn first_core() -> Cores {
    "0".parse().expect("a list of cpus")
}

fn check(script: &str) -> Check {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).into();
    Check { argv, env: vec![], timeout: Duration::from_secs(10) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_over_its_memory_is_killed_and_the_end_says_so_with_figures() {
    let lab = Lab::new();
    // tail keeps the last line, and this one never ends.
    let spec = lab.spec("c1", &["tail", "/dev/zero"]);
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!(exit_of(&ended), Exit::Signal(libc::SIGKILL));
    let limitation = ended.limitation.expect("the limit ended it");
    assert!(matches!(limitation, Limitation::Memory { limit_bytes, .. } if limit_bytes == 64 << 20));
    assert!(limitation.to_string().starts_with("memory limit 64 MiB exceeded"), "{limitation}");
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known until it is destroyed");
    assert!(usage.oom_kills >= 1);
    assert!(usage.memory_peak_bytes.is_none_or(|peak| peak > 60 << 20 && peak <= 64 << 20), "{usage:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_lost_a_process_to_its_limit_is_told_so_whatever_its_own_status_is() {
    let lab = Lab::new();
    for (name, script) in [("c1", "tail /dev/zero; exit 1"), ("c2", "tail /dev/zero; exit 0")] {
        let spec = lab.shell(name, script);
        lab.launch(&spec).await;
        let ended = lab.wait(&spec).await;
        assert!(matches!(ended.limitation, Some(Limitation::Memory { .. })), "{script}: {ended:?}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_starts_its_lost_process_again_and_again_is_ended_as_a_whole() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "while :; do tail /dev/zero; done");
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!(exit_of(&ended), Exit::Signal(libc::SIGKILL));
    assert!(matches!(ended.limitation, Some(Limitation::Memory { .. })), "{ended:?}");
    lab.finish().await;
}

/// Gives all tasks of a lab together less memory than one of them may have.
fn limit_all(lab: &Lab) {
    // The limit with swap may not be below that without.
    let limits = [
        ("memory.limit_in_bytes", "25165824"),
        ("memory.memsw.limit_in_bytes", "25165824"),
        ("memory.swap.max", "0"),
        ("memory.max", "25165824"),
    ];
    let mut is_set = false;
    for base in groups_of(&lab.instance) {
        for (file, limit) in limits {
            let path = base.join(file);
            if path.exists() {
                fs::write(&path, limit).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                is_set = true;
            }
        }
    }
    assert!(is_set, "one hierarchy has memory");
}

/// Loses a process for want of memory again and again, once it is told to begin.
const LOSES: &str = "until [ -e begin ]; do sleep 0.01; done; while :; do tail /dev/zero; done";

fn assert_lost_for_others(ended: &Ended) {
    assert_eq!(exit_of(ended), Exit::Signal(libc::SIGKILL));
    let Some(limitation) = ended.limitation else { panic!("it lost a process: {ended:?}") };
    assert!(
        matches!(limitation, Limitation::OthersMemory { limit_bytes: Some(limit), .. } if limit == 64 << 20),
        "{limitation:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_loses_a_process_for_the_memory_of_others_is_ended_as_a_whole() {
    let lab = Lab::new();
    let spec = lab.shell("c1", LOSES);
    lab.launch(&spec).await;
    limit_all(&lab);
    fs::write(spec.sandbox.join("begin"), "").expect("it is writable");
    assert_lost_for_others(&lab.wait(&spec).await);
    lab.finish().await;
}

/// Plan: nobody waits for the task, so nothing is told by the kernel; as nothing is, of control groups of version 1, when the
/// whole machine is out of memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_which_the_kernel_killed_a_process_unheard_is_ended_when_it_is_measured() {
    let lab = Lab::new();
    let spec = lab.shell("c1", LOSES);
    let pid = lab.launch(&spec).await.pid;
    limit_all(&lab);
    fs::write(spec.sandbox.join("begin"), "").expect("it is writable");
    until_used(&lab, &spec, |used| used.oom_kills > 0).await;
    until("its main process is ended, too", || !Path::new("/proc").join(pid.to_string()).exists()).await;
    assert_lost_for_others(&lab.wait(&spec).await);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_within_its_memory_has_no_limitation() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/null; exit 1");
    lab.launch(&spec).await;
    let ended = lab.wait(&spec).await;
    assert_eq!((exit_of(&ended), ended.limitation), (Exit::Code(1), None));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_loop_with_half_a_cpu_gets_half_a_cpu_and_is_seen_throttled() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "while :; do :; done & while :; do :; done");
    spec.limits.cpu_quota = Some(Milli::new(500));
    lab.launch(&spec).await;
    let usage = async || lab.containerizer.usage(&spec.container_id).await.expect("it runs");
    // A window of a fixed length is what is measured.
    let (before, since) = (usage().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, window) = (usage().await, since.elapsed());
    let cpus = (after.cpu - before.cpu).as_secs_f64() / window.as_secs_f64();
    println!("{cpus:.3} cpus, {after:?}");
    assert!(cpus <= 0.55, "it had {cpus:.3} cpus");
    // On a machine that has less than half a cpu left for it, it takes a while to meet its quota.
    while usage().await.cpu_periods_throttled == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", usage().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lab.finish().await;
}

/// Writes one MiB to its log again and again, for next to no cpu time of its own.
const SPLICES: &str = r#"
import os
open("file", "wb").write(bytes(1 << 20))
file = os.open("file", os.O_RDONLY)
while True:
    os.splice(file, 1, 1 << 20, offset_src=0)
"#;

/// In how many periods a container, its first process included, wanted more than it may have.
fn throttled_as_a_whole(lab: &Lab, container: &str) -> u64 {
    let bases = groups_of(&lab.instance).into_iter();
    let stats = bases.filter_map(|base| fs::read_to_string(base.join(container).join("cpu.stat")).ok());
    let count =
        |stat: String| stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok());
    stats.filter_map(count).max().unwrap_or(0)
}

/// Plan: it begins without a limit, as on a slow machine its program would take long to start with one so low.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_has_its_first_process_do_for_its_log_is_counted_and_limited_with_it() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["python3", "-c", SPLICES]);
    spec.logs = LogLimits { file_bytes: 1 << 20, files: 1, ..LogLimits::NONE };
    lab.launch(&spec).await;
    let log = spec.sandbox.join("stdout");
    until("it writes", || fs::metadata(&log).is_ok_and(|about| about.len() > 0)).await;
    assert_eq!(throttled_as_a_whole(&lab, "c1"), 0, "there is no limit yet");

    let limits = Limits { cpu_quota: Some(Milli::new(50)), ..spec.limits.clone() };
    lab.containerizer.resize(&spec.container_id, &limits).await.expect("it runs");
    // A window of a fixed length is what is measured.
    let (before, since) = (usage(&lab, &spec).await, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (after, window) = (usage(&lab, &spec).await, since.elapsed());
    let cpus = (after.cpu - before.cpu).as_secs_f64() / window.as_secs_f64();
    println!("{cpus:.3} cpus, {after:?}");
    assert!(cpus <= 0.2, "with 0.05 cpus, and 0.1 for its first process, it had {cpus:.3}");
    // On a machine that has less than that left for it, it takes a while.
    until("it has met its limit", || throttled_as_a_whole(&lab, "c1") > 0).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_its_limit_and_can_be_killed() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "bomb() { bomb & bomb & wait; }; bomb");
    spec.limits.pids = Some(32);
    spec.limits.cpu_quota = Some(Milli::new(500));
    lab.launch(&spec).await;
    until("the bomb has met its limit", || read(&spec, "stderr").contains("fork")).await;
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known");
    assert!(usage.pids <= 32, "{usage:?}");
    assert_eq!(usage.pids_limit, Some(32));
    assert!(usage.pids_refused.is_none_or(|times| times > 0), "{usage:?}");
    lab.containerizer.kill_all(&spec.container_id).await.expect("it is known");
    lab.wait(&spec).await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_has_used_can_be_asked_after_its_end() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    let usage = lab.containerizer.usage(&spec.container_id).await.expect("it is known until it is destroyed");
    assert!(usage.cpu > Duration::ZERO, "{usage:?}");
    let (user, system) = usage.cpu_user.zip(usage.cpu_system).expect("every kernel tells them apart");
    // Version 1 tells them in ticks, of 10 ms.
    assert!(
        user + system > Duration::ZERO && user + system < usage.cpu + Duration::from_millis(20),
        "{usage:?}"
    );
    assert_eq!((usage.pids, usage.oom_kills, usage.memory_limit_bytes), (0, 0, Some(64 << 20)));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_on_the_cores_that_it_asked_for_if_the_machine_has_them() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "grep Cpus_allowed_list /proc/self/status");
    spec.limits.cores = Some(first_core());
    let mut elsewhere = lab.shell("c2", "true");
    elsewhere.limits.cores = Some("8191".parse().expect("a list of cpus"));
    let error = lab.containerizer.launch(&elsewhere).await.expect_err("no machine has so many").to_string();
    if has(Extra::Cpuset) {
        assert!(error.contains("the cores 8191 were asked for, and this machine has 0"), "{error}");
        assert_eq!(lab.output(&spec).await, "Cpus_allowed_list:\t0\n");
    } else {
        assert!(error.contains("no cpuset controller"), "{error}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_huge_pages_is_set_or_refused_with_what_is_missing() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "sleep 1000");
    spec.limits.hugepages = vec![HugePages { page_bytes: 2 << 20, bytes: 4 << 20 }];
    let launched = lab.containerizer.launch(&spec).await;
    if has(Extra::Hugetlb) {
        launched.unwrap_or_else(|error| panic!("{error}"));
        let limit = in_group(&lab, "c1/task", ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"]);
        assert_eq!(limit, Some((4 << 20).to_string()));
    } else {
        let error = launched.expect_err("it cannot be limited").to_string();
        assert!(error.contains("no hugetlb controller"), "{error}");
    }
    let mut odd = lab.shell("c2", "true");
    odd.limits.hugepages = vec![HugePages { page_bytes: 32 << 10, bytes: 0 }];
    let error = lab.containerizer.launch(&odd).await.expect_err("no machine has such pages").to_string();
    assert!(error.contains("no hugetlb controller") || error.contains("huge pages of 32KB"), "{error}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_saved_up_and_shared_is_what_was_asked_for() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "sleep 1000");
    spec.limits.cpu_quota = Some(Milli::new(500));
    spec.limits.cpu_burst = Some(Milli::new(250));
    spec.limits.memory_request_bytes = Some(32 << 20);
    spec.limits.io_weight = has(Extra::Io).then_some(200);
    lab.launch(&spec).await;
    // Linux 5.14 has it.
    let burst = in_group(&lab, "c1/task", ["cpu.cfs_burst_us", "cpu.max.burst"]);
    assert!(burst.as_ref().is_none_or(|burst| burst == "25000"), "{burst:?}");
    let kept = (32 << 20).to_string();
    assert_eq!(
        in_group(&lab, "c1/task", ["memory.soft_limit_in_bytes", "memory.low"]).as_ref(),
        Some(&kept),
        "what is kept"
    );
    // Version 2 keeps no more than the groups above do.
    for group in ["c1", ""] {
        let above = in_group(&lab, group, ["memory.low", "memory.low"]);
        assert!(above.as_ref().is_none_or(|above| *above == kept), "{group:?}: {above:?}");
    }
    // Where something of the kernel shares disks by weight.
    let weight = in_group(&lab, "c1", ["blkio.bfq.weight", "io.weight"]);
    assert!(weight.as_ref().is_none_or(|weight| weight.ends_with("200")), "{weight:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_and_its_checks_go_sooner_by_their_score_when_the_machine_is_out_of_memory() {
    let lab = Lab::new();
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("/proc is mounted");
    let own: i32 = own.trim().parse().expect("a number");
    let expected = (own.max(0) + 300).min(1000);
    let mut spec = lab.shell("c1", "cat /proc/self/oom_score_adj; sleep 1000");
    spec.limits.oom_score = 300;
    lab.launch(&spec).await;
    until("it tells its score", || read(&spec, "stdout").ends_with('\n')).await;
    assert_eq!(read(&spec, "stdout"), format!("{expected}\n"));
    let check = check(&format!("[ $(cat /proc/self/oom_score_adj) = {expected} ]"));
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
    lab.finish().await;
}

/// Plan: where the agent may lower a score, as in the machine of `make test-cgroup2`, the first process has the lowest; where
/// it may not, that of the agent, and the agent says what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_is_kept_from_the_oom_killer_where_its_agent_may_do_so_and_its_task_is_not() {
    const CAP_SYS_RESOURCE: u32 = 24;
    let lab = Lab::new();
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("it has some");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a set");
    let may = effective & (1 << CAP_SYS_RESOURCE) != 0;
    let score = |who: &str| -> i32 {
        let score = fs::read_to_string(format!("/proc/{who}/oom_score_adj")).expect("it runs");
        score.trim().parse().expect("a number")
    };
    let own = score("self");
    let mut spec = lab.spec("c1", &["sleep", "1000"]);
    spec.limits.oom_score = 300;
    let task = lab.launch(&spec).await.pid;
    assert_eq!(score(&parent_of(task).to_string()), if may { -1000 } else { own });
    assert_eq!(score(&task.to_string()), (own.max(0) + 300).min(1000));

    let can =
        lab.containerizer.try_out(Isolation::Linux).await.expect("these tests run where tasks can be run");
    let can = can.expect("it isolates");
    assert_eq!(can.oom_protection, may);
    assert_eq!(can.lacking.iter().any(|lacking| lacking.contains("CAP_SYS_RESOURCE")), !may, "{can:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_gets_more_memory_and_less_and_keeps_what_it_uses() {
    let lab = Lab::new();
    // tail keeps the last 20 MiB, and waits for more.
    let script = "{ head -c 22020096 /dev/zero; echo up > up; sleep 1000; } | tail -c 20971520 > /dev/null";
    let spec = lab.shell("c1", script);
    lab.launch(&spec).await;
    until("it has its memory", || !read(&spec, "up").is_empty()).await;
    let resize = async |mebibytes: u64| {
        let limits = Limits { memory_bytes: Some(mebibytes << 20), ..spec.limits.clone() };
        lab.containerizer.resize(&spec.container_id, &limits).await
    };
    resize(30).await.expect("it uses less");
    assert_eq!(usage(&lab, &spec).await.memory_limit_bytes, Some(30 << 20));
    let error = resize(10).await.expect_err("it uses more");
    let ContainerError::Limits { error: LimitsError::MemoryInUse { used_bytes, wanted_bytes }, .. } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*wanted_bytes, 10 << 20);
    assert!((20 << 20..=30 << 20).contains(used_bytes), "{error}");
    assert_eq!(usage(&lab, &spec).await.memory_limit_bytes, Some(30 << 20));
    resize(100).await.expect("there is no reason against more");
    let after = usage(&lab, &spec).await;
    assert_eq!((after.memory_limit_bytes, after.oom_kills), (Some(100 << 20), 0));
    assert!(after.memory_bytes >= 20 << 20, "{after:?}");

    lab.containerizer.kill_all(&spec.container_id).await.expect("it is known");
    assert_eq!(lab.wait(&spec).await.limitation, None);
    let late = resize(100).await;
    assert!(matches!(late, Err(ContainerError::Ended(_))), "{late:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_is_throttled_by_the_quota_that_it_gets_and_runs_freely_without() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "while :; do :; done");
    lab.launch(&spec).await;
    let resize = async |cpu_quota: Option<Milli>| {
        let limits = Limits { cpu_quota, ..spec.limits.clone() };
        lab.containerizer.resize(&spec.container_id, &limits).await.expect("it runs");
    };
    resize(Some(Milli::new(100))).await;
    until_used(&lab, &spec, |used| used.cpu_periods_throttled > 0).await;
    // By more than a container has beyond its task: on version 1 the kernel refuses a task more than its container has.
    for quota in [900, 50] {
        resize(Some(Milli::new(quota))).await;
    }
    resize(None).await;
    let before = usage(&lab, &spec).await;
    // With the quota it would take three seconds, and thirty periods.
    let enough = before.cpu + Duration::from_millis(300);
    let after = until_used(&lab, &spec, |used| used.cpu >= enough).await;
    assert!(after.cpu_periods <= before.cpu_periods + 1, "{before:?} {after:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_and_its_checks_move_to_other_cores_and_back() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "sleep 1000 & echo up; wait");
    let launched = lab.launch(&spec).await;
    until("it runs", || read(&spec, "stdout").contains("up")).await;
    let before = allowed(launched.pid);
    let resize = async |cores: Option<Cores>| {
        let limits = Limits { cores, ..spec.limits.clone() };
        lab.containerizer.resize(&spec.container_id, &limits).await
    };
    let resized = resize(Some(first_core())).await;
    if has(Extra::Cpuset) {
        resized.unwrap_or_else(|error| panic!("{error}"));
        let all = processes_marked(&format!("LAB={}", lab.instance));
        assert!(all.len() >= 2, "a shell and what it waits for: {all:?}");
        for pid in all {
            assert_eq!(allowed(pid), "0");
        }
        let check = check("grep -q '^Cpus_allowed_list:.0$' /proc/self/status");
        let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
        resize(None).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(allowed(launched.pid), before);
    } else {
        let error = resized.expect_err("there is no controller for it").to_string();
        assert!(error.contains("no cpuset controller"), "{error}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_uses_is_told_by_kind_as_far_as_the_kernel_counts_it() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "head -c 10485760 /dev/zero > /dev/shm/f; sleep 1000");
    spec.limits.io_weight = has(Extra::Io).then_some(100);
    lab.launch(&spec).await;
    // The kernel adds its figures up in batches.
    let shared = |used: &Usage| used.memory_kinds.map_or(0, |kinds| kinds.shared_bytes);
    let used = until_used(&lab, &spec, |used| shared(used) >= 10 << 20).await;
    let kinds = used.memory_kinds.expect("it was just told");
    assert!(kinds.file_bytes >= kinds.shared_bytes && used.memory_bytes >= 10 << 20, "{used:?}");
    assert_eq!(used.io.is_some(), has(Extra::Io), "{used:?}");
    let is_counted = |file| in_group(&lab, "c1", [file, file]).is_some();
    assert_eq!(used.cpu_pressure.is_some(), is_counted("cpu.pressure"), "{used:?}");
    assert_eq!(used.memory_pressure.is_some(), is_counted("memory.pressure"), "{used:?}");
    lab.finish().await;
}
