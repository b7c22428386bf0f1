//! What is read of files that others may have written, or that a disk has damaged: plans, records, profiles, the kernel's
//! figures. Each is refused in words or read, and read again as it is written.

use std::path::Path;

use bourse_hostile::{damaged, judged, soon, text};
use bourse_init::plan::{Bind, Identity, LogLimits, Logs, Place, Plan, Root, UserRange};
use bourse_init::record::{Failure, Record};
use bourse_init::step::Step;
use proptest::prelude::*;
use proptest::sample::select;

use crate::process::parse_stat;
use crate::runtime_dir::parse_started;
use crate::{Cores, Filters};

fn plan(place: Place) -> Vec<u8> {
    let limits = LogLimits { file_bytes: 1 << 20, files: 2, bytes_per_second: 3 };
    let plan = Plan {
        place,
        argv: vec!["sh".into(), "-c".into(), "true".into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/tmp".into(),
        identity: Some(Identity { uid: 1, gid: 2, groups: vec![3, 4], capabilities: 1 << 40 }),
        open_files: 1 << 33,
        filters: vec![vec![6, 0, 0, 0, 0, 0, 255, 127], vec![]],
        logs: Some(Logs { directory: "/s".into(), limits }),
        record: Some("/r/exit".into()),
        init_groups: vec![],
        task_groups: vec!["/sys/fs/cgroup/cgroup.procs".into()],
        oom_score: 300,
        own_network: true,
        users: Some(UserRange { first: 8 << 16 }),
        task_group: Some("/sys/fs/cgroup/c/task".into()),
    };
    plan.encode()
}

/// One for each place.
fn plans() -> Vec<Vec<u8>> {
    let container = Place::Container {
        hostname: Some("h".into()),
        root: Some(Root { lower: "/image".into(), upper: "/s/u".into(), work: "/s/w".into() }),
        sandbox: "/s".into(),
        shm_bytes: 1 << 20,
        volumes: vec![Bind { source: "/v".into(), target: "/data".into(), writable: true }],
        hide: vec!["/a".into(), "/b".into()],
    };
    vec![plan(container), plan(Place::Host), plan(Place::Inside { namespaces: true, in_sandbox: false })]
}

fn records() -> Vec<Vec<u8>> {
    let failure = Failure { step: Step::Exec, errno: 2, detail: "/usr/bin/nginy".into() };
    vec![
        Record::Exited { code: 3, wall_ms: 1_700_000_000_123 }.encode(),
        Record::Signaled { signal: 9, wall_ms: 1 }.encode(),
        Record::Failed(failure).encode(),
    ]
}

const STAT: &str =
    "42 (a) b (c) S 1 42 42 0 -1 0 0 0 0 0 7 18446744073709551615 0 0 20 0 3 0 12345 1000 250 0";

const LISTS: &[&str] = &["0-3,8\n", "0-8191", "7"];

const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8", "arches": ["amd64"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
         "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "personality", "action": "SCMP_ACT_KILL", "errnoRet": 1, "comment": "x"}
    ]
}"#;

proptest! {
    #[test]
    fn a_damaged_plan_is_refused_in_words_or_comes_back(bytes in damaged(select(plans()))) {
        if let Some(plan) = judged(|| Plan::decode(&bytes)) {
            prop_assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
        }
    }

    #[test]
    fn a_damaged_exit_record_is_none_or_comes_back(bytes in damaged(select(records()))) {
        if let Some(record) = soon(|| Record::decode(&bytes)) {
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn a_damaged_line_of_processes_is_none_or_refused_in_words(
        line in text(Just("1 6f2b1f0c-5a4e-4d53-9f3a 4321 987654 4322 987655\n".to_owned())),
    ) {
        judged(|| parse_started(&line));
    }

    #[test]
    fn damaged_figures_of_a_process_are_none(line in text(Just(STAT.to_owned()))) {
        soon(|| parse_stat(&line));
    }

    #[test]
    fn a_damaged_list_of_cpus_is_refused_in_words_or_comes_back(
        list in text(select(LISTS).prop_map(str::to_owned)),
    ) {
        if let Some(cores) = judged(|| list.parse::<Cores>()) {
            prop_assert_eq!(cores.to_string().parse(), Ok(cores));
        }
    }

    #[test]
    fn a_damaged_profile_of_system_calls_is_refused_in_words_or_compiled(profile in text(Just(PROFILE.to_owned()))) {
        judged(|| Filters::parse(profile.as_bytes(), Path::new("profile.json")));
    }
}

#[test]
fn the_undamaged_profile_is_a_good_one() {
    Filters::parse(PROFILE.as_bytes(), Path::new("profile.json")).expect("it is one");
}

/// The figures are the kernel's, and still nothing to add up without a look.
#[test]
fn times_of_a_process_that_are_no_times_are_as_long_as_can_be() {
    let stat = parse_stat(STAT).expect("it is a stat line");
    assert_eq!(stat.cpu_ticks, u64::MAX);
}

#[test]
fn a_list_that_names_the_same_cpus_again_and_again_is_read_at_once() {
    let list = "0-8191,".repeat(100_000) + "0";
    assert_eq!(judged(|| list.parse::<Cores>()).map(|cores| cores.to_string()).as_deref(), Some("0-8191"));
}
