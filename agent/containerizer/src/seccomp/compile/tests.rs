use seccompiler::{BpfProgram, SeccompFilter};

use super::*;

/// The kernel's side of it: the answer of a program to a call, as seccomp(2) numbers answers.
fn run(program: &[u8], number: u32, arguments: [u64; 6]) -> u32 {
    let arch: u32 = match ARCH.0 {
        TargetArch::x86_64 => 0xc000_003e,
        _ => 0xc000_00b7,
    };
    // `struct seccomp_data`: the call, the architecture, where from, the arguments.
    let mut data = [number.to_le_bytes(), arch.to_le_bytes()].concat();
    data.extend([0; 8]);
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let (mut at, mut register) = (0_usize, 0_u32);
    loop {
        let step = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([step[0], step[1]]);
        let (yes, no) = (usize::from(step[2]), usize::from(step[3]));
        let value = u32::from_ne_bytes([step[4], step[5], step[6], step[7]]);
        let jump = |holds: bool| if holds { yes } else { no };
        at += 1 + match code {
            0x20 => {
                let from = value as usize;
                register = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                0
            }
            0x54 => {
                register &= value;
                0
            }
            0x05 => value as usize,
            0x15 => jump(register == value),
            0x25 => jump(register > value),
            0x35 => jump(register >= value),
            0x45 => jump(register & value != 0),
            0x06 => return value,
            other => panic!("no such step: {other:#x}"),
        };
    }
}

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

/// What a task gets: the strictest of all answers, as signed numbers the smallest.
fn ask(filters: &Filters, name: &str, arguments: [u64; 6]) -> u32 {
    let number = Sysno::from_str(name).expect("known").id().cast_unsigned();
    ask_number(filters, number, arguments)
}

fn ask_number(filters: &Filters, number: u32, arguments: [u64; 6]) -> u32 {
    let answers = filters.0.iter().map(|program| run(program, number, arguments));
    let strictest = answers.min_by_key(|answer| (answer & 0xffff_0000).cast_signed());
    strictest.unwrap_or(ALLOW)
}

fn compiled(profile: &str) -> Filters {
    let profile = serde_json::from_str(profile).expect("a profile");
    compile(&profile, (6, 1)).expect("it can be compiled")
}

fn usual() -> Filters {
    compiled(include_str!("../default.json"))
}

const NONE: [u64; 6] = [0; 6];

fn first(argument: u64) -> [u64; 6] {
    [argument, 0, 0, 0, 0, 0]
}

#[test]
fn the_usual_profile_allows_what_programs_need_and_answers_what_it_does_not_know_as_an_old_kernel_does() {
    let filters = usual();
    for name in
        ["read", "openat", "mmap", "execve", "exit_group", "futex", "ptrace", "prctl", "seccomp", "chroot"]
    {
        assert_eq!(ask(&filters, name, NONE), ALLOW, "{name}");
    }
    for name in ["mount", "unshare", "setns", "keyctl", "bpf", "io_uring_setup", "kexec_load", "init_module"]
    {
        assert_eq!(ask(&filters, name, NONE), errno(1), "{name}");
    }
    // clone3 and whatever comes after it.
    assert_eq!(ask(&filters, "clone3", NONE), errno(38));
    assert_eq!(ask_number(&filters, 9999, NONE), errno(38));
}

#[test]
fn the_usual_profile_lets_nobody_make_namespaces_or_odd_sockets_or_type_for_others() {
    const THREAD: u64 = 0x003d_0f00;
    const NAMESPACES: [u64; 7] =
        [0x2_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    let filters = usual();
    assert_eq!(ask(&filters, "clone", first(THREAD)), ALLOW);
    assert_eq!(ask(&filters, "clone", first(17)), ALLOW, "a process");
    for namespace in NAMESPACES {
        assert_eq!(ask(&filters, "clone", first(namespace | 17)), errno(1), "{namespace:#x}");
    }
    for domain in [1, 2, 10, 16] {
        assert_eq!(ask(&filters, "socket", first(domain)), ALLOW, "{domain}");
    }
    for domain in [38, 40, 0x1_0000_0028] {
        assert_eq!(ask(&filters, "socket", first(domain)), errno(97), "{domain}");
    }
    assert_eq!(ask(&filters, "ioctl", [0, 0x5401, 0, 0, 0, 0]), ALLOW);
    for typing in [0x5412, 0x541c, 0xff_0000_5412] {
        assert_eq!(ask(&filters, "ioctl", [0, typing, 0, 0, 0, 0]), errno(1), "{typing:#x}");
    }
    for own in [0, 2, 17] {
        assert_eq!(ask(&filters, "prlimit64", first(own)), ALLOW, "{own}");
    }
    for of_the_first_process in [1, 0x5_0000_0001] {
        assert_eq!(ask(&filters, "prlimit64", first(of_the_first_process)), errno(1));
    }
    assert_eq!(ask(&filters, "personality", first(0xffff_ffff)), ALLOW);
    assert_eq!(ask(&filters, "personality", first(0x40_0000)), errno(38));
}

#[test]
fn the_usual_profile_lets_nobody_make_what_is_not_measured_nor_removed_as_other_files_are() {
    // `_IOW` of asm-generic/ioctl.h.
    let write = |kind: u8, number: u8, size: u64| {
        (1 << 30) | (size << 16) | (u64::from(kind) << 8) | u64::from(number)
    };
    let btrfs = |number: u8, size: u64| write(0x94, number, size);
    let filters = usual();
    for request in
        [btrfs(1, 4096), btrfs(14, 4096), btrfs(23, 4096), btrfs(24, 4096), btrfs(26, 8), write(b'X', 32, 28)]
    {
        // The kernel looks at the low half only.
        for request in [request, request | 0xff_0000_0000] {
            assert_eq!(ask(&filters, "ioctl", [3, request, 0, 0, 0, 0]), errno(1), "{request:#x}");
        }
    }
    assert_eq!(ask(&filters, "file_setattr", NONE), errno(1));
    // A subvolume is removed, a file is cloned, and its flags are set, as when it is not to be copied on write.
    for request in [btrfs(15, 4096), btrfs(9, 4), write(b'f', 2, 8)] {
        assert_eq!(ask(&filters, "ioctl", [3, request, 0, 0, 0, 0]), ALLOW, "{request:#x}");
    }
    assert_eq!(ask(&filters, "file_getattr", NONE), ALLOW);
}

#[test]
fn a_profile_with_several_answers_gives_each_call_its_own() {
    let filters = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW", "comment": "x", "args": []},
            {"name": "write", "action": "SCMP_ACT_LOG"},
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_GE"}]},
            {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_GT"}]},
            {"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_LT"}]},
            {"names": ["dup"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_NE"}]},
            {"names": ["sync"], "action": "SCMP_ACT_TRAP"}]}"#,
    );
    assert_eq!(ask(&filters, "read", NONE), ALLOW);
    assert_eq!(ask(&filters, "write", NONE), LOG);
    assert_eq!(ask(&filters, "close", NONE), errno(13));
    assert_eq!(ask(&filters, "sync", NONE), TRAP);
    assert_eq!(ask(&filters, "kill", [1, 9, 0, 0, 0, 0]), KILL_PROCESS);
    assert_eq!(ask(&filters, "kill", [6, 9, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&filters, "kill", [1, 8, 0, 0, 0, 0]), errno(1), "no rule is about it");
    assert_eq!(ask(&filters, "dup", first(7)), ALLOW, "whatever its arguments are");
    assert_eq!(ask(&filters, "openat", NONE), errno(1), "no rule is about it");
}

#[test]
fn what_a_rule_says_of_several_arguments_holds_together_and_what_it_says_twice_of_one_holds_each() {
    let denying = |arguments: &str| {
        compiled(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{arguments}]}}]}}"#
        ))
    };
    let equal =
        |index: u8, value: u64| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let two = |one: u64, other: u64| [one, other, 0, 0, 0, 0];

    let either = denying(&[equal(0, 38), equal(0, 40)].join(","));
    for (domain, expected) in [(38, errno(1)), (40, errno(1)), (39, ALLOW), (2, ALLOW)] {
        assert_eq!(ask(&either, "socket", first(domain)), expected, "{domain}");
    }
    let both = denying(&[equal(0, 38), equal(1, 3)].join(","));
    for (arguments, expected) in [(two(38, 3), errno(1)), (two(38, 1), ALLOW), (two(2, 3), ALLOW)] {
        assert_eq!(ask(&both, "socket", arguments), expected, "{arguments:?}");
    }
    // As in runc each condition stands alone then, also those of other arguments.
    let any = denying(&[equal(0, 38), equal(1, 3), equal(0, 40)].join(","));
    for (arguments, expected) in
        [(two(38, 1), errno(1)), (two(2, 3), errno(1)), (two(40, 1), errno(1)), (two(2, 1), ALLOW)]
    {
        assert_eq!(ask(&any, "socket", arguments), expected, "{arguments:?}");
    }

    let allowing = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let answers = [1, 2, 3].map(|domain| ask(&allowing, "socket", first(domain)));
    assert_eq!(answers, [ALLOW, ALLOW, errno(1)]);
}

#[test]
fn a_rule_that_answers_as_the_default_does_takes_nothing_from_those_that_allow() {
    let filters = compiled(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "write", "close"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read", "kill"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#,
    );
    assert_eq!((ask(&filters, "read", NONE), ask(&filters, "write", first(1))), (ALLOW, ALLOW));
    assert_eq!(ask(&filters, "kill", NONE), errno(1), "by the default");
    assert_eq!(ask(&filters, "close", NONE), errno(13), "another error is another answer");
    // A rule that only repeats the default leaves nothing to be filtered.
    let nothing = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(compiled(nothing), Filters::default());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_by_their_numbers_of_x32_are_killed_and_one_that_a_tracer_skips_is_not() {
    const X32_BIT: u32 = 0x4000_0000;
    let denying = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    let mkdir = Sysno::mkdir.id().cast_unsigned();
    assert_eq!(ask_number(&denying, mkdir, NONE), errno(1));
    for filters in [&denying, &usual()] {
        for number in [X32_BIT, X32_BIT | mkdir, X32_BIT | 514, u32::MAX - 1] {
            assert_eq!(ask_number(filters, number, NONE), KILL_PROCESS, "{number:#x}");
        }
    }
    assert_eq!(ask_number(&denying, X32_BIT - 1, NONE), ALLOW);
    assert_eq!(ask_number(&denying, u32::MAX, NONE), ALLOW);
}

#[test]
fn a_profile_that_forbids_some_calls_allows_all_others() {
    let filters = compiled(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
            {"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!((ask(&filters, "mkdirat", NONE), ask(&filters, "read", NONE)), (errno(1), ALLOW));
    assert_eq!(compiled(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), Filters::default(), "it forbids nothing");
}

#[test]
fn a_rule_holds_where_its_conditions_do() {
    let holds = |conditions: &str| {
        let profile = format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {{"names": ["sync"], "action": "SCMP_ACT_ALLOW", {conditions}}}]}}"#
        );
        ask(&compiled(&profile), "sync", NONE) == ALLOW
    };
    assert!(holds(r#""includes": {}, "excludes": {}"#));
    assert!(holds(r#""includes": {"caps": ["CAP_SYS_CHROOT"]}"#));
    assert!(!holds(r#""includes": {"caps": ["CAP_SYS_CHROOT", "CAP_SYS_ADMIN"]}"#));
    assert!(holds(r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#));
    assert!(!holds(r#""excludes": {"caps": ["CAP_KILL", "CAP_SYS_ADMIN"]}"#));
    assert!(holds(r#""includes": {"minKernel": "4.8"}"#) && !holds(r#""includes": {"minKernel": "6.10"}"#));
    assert!(!holds(r#""includes": {"arches": ["s390x"]}"#));
    assert!(holds(&format!(r#""includes": {{"arches": ["s390x", "{}"]}}"#, ARCH.1)));
}

#[test]
fn the_version_of_a_kernel_is_its_first_two_numbers() {
    let read = ["6.18.35+deb13-cloud", "5.12", "?"].map(version_of);
    assert_eq!(read, [(6, 18), (5, 12), (0, 0)]);
}

#[test]
fn a_program_answers_every_call_as_one_that_asks_for_each_number_in_a_row_does() {
    let condition = |value| {
        let equal = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value);
        SeccompRule::new(vec![equal.expect("an argument that there is")]).expect("a condition")
    };
    let alternatives = |number: i64| match number % 7 {
        0 => vec![condition(1), condition(2)],
        1 => vec![condition(3)],
        _ => vec![],
    };
    let named: [Vec<i64>; 6] = [
        vec![],
        vec![0],
        vec![2, 3, 5],
        (0..480).filter(|number| number % 3 == 0).collect(),
        (10..470).collect(),
        // So much with conditions that the halves are far from each other.
        (0..480).filter(|number| number % 7 < 2).collect(),
    ];
    let (others, those) = (SeccompAction::Errno(38), SeccompAction::Allow);
    for named in named {
        let calls: Calls = named.iter().map(|&number| (number, alternatives(number))).collect();
        let plain =
            SeccompFilter::new(calls.clone(), others.clone(), those.clone(), ARCH.0).expect("a filter");
        let plain: BpfProgram = plain.try_into().expect("it is small");
        let tree = tree::program(calls, &others, &those).expect("it is small");
        let [plain, tree] = [plain, tree].map(|program| bytes(&program));
        for number in (0..500).chain([9999, 0x3fff_ffff, u32::MAX]) {
            for argument in [0, 1, 2, 3, (1 << 32) | 1] {
                let answers = [&plain, &tree].map(|program| run(program, number, first(argument)));
                assert_eq!(answers[0], answers[1], "{number} of {named:?} with {argument}");
            }
        }
    }
}

#[test]
fn calls_of_other_architectures_are_killed_by_every_program() {
    for program in usual().0 {
        // Without what asks for it, the first step: whatever is loaded is not the number of this architecture.
        assert_eq!(run(&program[8..], 0, NONE), KILL_PROCESS);
    }
}

#[test]
fn what_the_kernel_has_to_translate_for_each_task_is_short() {
    let steps = usual().0.iter().map(|program| program.len() / 8).sum::<usize>();
    assert!(steps < 600, "{steps}: a number in a row for each call would be 2,400");
}
