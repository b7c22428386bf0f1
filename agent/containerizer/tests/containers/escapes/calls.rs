//! System calls that reach beyond a task.

use bourse_containerizer::{ContainerSpec, Filters};

use super::{USERS, answers, outside, script_as};
use crate::lab::Lab;

/// A call: its name, its number, and its arguments as Python has them. Made by the machine's root they do no harm: they
/// name nothing that there is, or end with the process that makes them.
type Call = (&'static str, libc::c_long, &'static str);

/// Those that take a capability besides, which no task has. The kernel asks for it before it looks at the arguments.
const TWICE_REFUSED: &[Call] = &[
    ("mount", libc::SYS_mount, "b'none', b'/', b'no such file system', 0, 0"),
    ("umount2", libc::SYS_umount2, "b'/proc/self', 0"),
    ("pivot_root", libc::SYS_pivot_root, "b'/nowhere', b'/nowhere'"),
    ("open_tree", libc::SYS_open_tree, "-100, b'/proc', 1"),
    ("move_mount", libc::SYS_move_mount, "-100, b'/nowhere', -100, b'/nowhere', 0"),
    ("fsopen", libc::SYS_fsopen, "b'tmpfs', 1"),
    ("fsmount", libc::SYS_fsmount, "-1, 0, 0"),
    ("fspick", libc::SYS_fspick, "-100, b'/nowhere', 0"),
    ("mount_setattr", libc::SYS_mount_setattr, "-100, b'/nowhere', 0, bytes(32), 32"),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, "os.open('/etc', 0), handle, 0"),
    ("setns", libc::SYS_setns, "os.open('/proc/self/ns/uts', 0), 0"),
    ("unshare mounts", libc::SYS_unshare, "0x20000"),
    ("unshare processes", libc::SYS_unshare, "0x20000000"),
    ("acct", libc::SYS_acct, "b'/nowhere'"),
    ("reboot", libc::SYS_reboot, "0, 0, 0, 0"),
    ("sethostname", libc::SYS_sethostname, "b'', -1"),
    ("setdomainname", libc::SYS_setdomainname, "b'', -1"),
    ("swapoff", libc::SYS_swapoff, "b'/nowhere'"),
    ("swapon", libc::SYS_swapon, "b'/nowhere', 0"),
];

const REFUSED: &[Call] = &[
    ("unshare users", libc::SYS_unshare, "0x10000000"),
    ("unshare times", libc::SYS_unshare, "0x80"),
    ("unshare nothing", libc::SYS_unshare, "0"),
    ("fsconfig", libc::SYS_fsconfig, "-1, 0, 0, 0, 0"),
    ("add_key", libc::SYS_add_key, "b'user', b'bourse-test', b'x', 1, -2"),
    ("request_key", libc::SYS_request_key, "b'user', b'bourse-test', 0, 0"),
    ("keyctl", libc::SYS_keyctl, "0, -3, 1"),
    ("bpf", libc::SYS_bpf, "0, bytes(256), 128"),
    ("perf_event_open", libc::SYS_perf_event_open, "bytes(128), 0, -1, -1, 0"),
    ("userfaultfd", libc::SYS_userfaultfd, "0"),
    ("io_uring_setup", libc::SYS_io_uring_setup, "1, bytes(256)"),
    ("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0xffff"),
    ("init_module", libc::SYS_init_module, "b'', 0, b''"),
    ("finit_module", libc::SYS_finit_module, "-1, b'', 0"),
    ("delete_module", libc::SYS_delete_module, "b'bourse-test', 0o4000"),
    ("quotactl", libc::SYS_quotactl, "0, b'/nowhere', 0, 0"),
    ("settimeofday", libc::SYS_settimeofday, "bytes(8) + (2 * 10**6).to_bytes(8, 'little'), 0"),
    ("clock_settime", libc::SYS_clock_settime, "0, bytes(8) + (2 * 10**9).to_bytes(8, 'little')"),
    ("clock_adjtime", libc::SYS_clock_adjtime, "0, bytes(256)"),
    ("syslog", libc::SYS_syslog, "10, 0, 0"),
    ("kcmp", libc::SYS_kcmp, "os.getpid(), os.getpid(), 0, 1, 1"),
    ("process_madvise", libc::SYS_process_madvise, "-1, 0, 0, 0, 0"),
    ("fanotify_init", libc::SYS_fanotify_init, "0, 0"),
];

/// Those that a machine may be set to refuse to its own root, too.
const SET_BY_THE_MACHINE: &[&str] = &[
    "bpf",
    "delete_module",
    "finit_module",
    "init_module",
    "io_uring_setup",
    "kexec_load",
    "perf_event_open",
    "unshare users",
    "clone with users",
];

/// Flags of clone(2): each kind of namespace that it can make.
const NAMESPACES: [(&str, u32); 7] = [
    ("mounts", 0x2_0000),
    ("groups", 0x200_0000),
    ("names", 0x400_0000),
    ("queues", 0x800_0000),
    ("users", 0x1000_0000),
    ("processes", 0x2000_0000),
    ("network", 0x4000_0000),
];

/// A handle of a directory of the machine, which in the container is reached through a mount: with one for the root of
/// that file system all of it could be opened.
const HANDLE: &str = r#"
opened = ctypes.create_string_buffer((128).to_bytes(4, 'little') + bytes(132), 136)
libc.name_to_handle_at(-100, b'/etc', opened, ctypes.byref(ctypes.c_int()), 0)
handle = opened.raw
"#;

const CLONED: &str = r#"
def cloned(flags):
    child = made(CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
    return said(child)
"#;

/// Every mount that a task sees is taken away, made writable, and covered: its own, and what masks and protects.
const VIEW: &str = r#"
places = [line.split()[4] for line in open('/proc/self/mountinfo')]
assert len(places) > 10, places
for place in places:
    path = place.encode()
    print(place, 'unmounted', call(UMOUNT2, path, 0))
    print(place, 'detached', call(UMOUNT2, path, 2))
    print(place, 'writable', call(MOUNT, b'', path, b'', 0x1020, 0))
    print(place, 'covered', call(MOUNT, b'none', path, b'tmpfs', 0, 0))
    print(place, 'bound', call(MOUNT, path, b'/tmp', b'', 0x1000, 0))
"#;

/// Each call in a process of its own.
fn script(calls: &[Call]) -> String {
    let tried = calls.iter().map(|(name, number, arguments)| {
        format!("print('{name}', apart(lambda: call({number}, {arguments})))\n")
    });
    HANDLE.to_owned() + &tried.collect::<String>()
}

/// Each is refused with this error, whoever asks, and answered in another way where nothing is filtered.
async fn assert_refused(lab: &Lab, name: &str, script: &str, error: &str) {
    for (what, answer) in answers(&outside(script)) {
        let answered = answer != error && !answer.is_empty();
        assert!(answered || SET_BY_THE_MACHINE.contains(&what), "{what}, by the machine's root: {answer}");
    }
    for user in USERS {
        let output = lab.output(&script_as(lab, &format!("{name}-{user}"), user, script)).await;
        let answers = answers(&output);
        assert!(!answers.is_empty());
        for (what, answer) in answers {
            assert_eq!(answer, error, "{what}, by {user}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_mounts_or_makes_and_enters_namespaces_or_steers_the_machine_by_any_call() {
    let lab = Lab::new();
    assert_refused(&lab, "twice", &script(TWICE_REFUSED), "EPERM").await;
    assert_refused(&lab, "once", &script(REFUSED), "EPERM").await;
    let clones = NAMESPACES.map(|(kind, flag)| format!("print('clone with {kind}', cloned({flag}))\n"));
    assert_refused(&lab, "clone", &(CLONED.to_owned() + &clones.concat()), "EPERM").await;
    // Its flags are in memory, where a filter cannot look: so there is no such call.
    let clone3 = script(&[("clone3", libc::SYS_clone3, "bytes(64), 0")]);
    assert_refused(&lab, "clone3", &clone3, "ENOSYS").await;
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_filtered_a_task_lacks_the_capabilities_to_get_out() {
    let lab = Lab::new();
    for user in USERS {
        let filters = Filters::default();
        let spec = ContainerSpec { filters, ..script_as(&lab, user, user, &script(TWICE_REFUSED)) };
        for (what, answer) in answers(&lab.output(&spec).await) {
            assert_eq!(answer, "EPERM", "{what}, by {user}");
        }
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mount_of_a_tasks_view_is_taken_away_covered_or_made_writable_even_where_nothing_is_filtered() {
    let lab = Lab::new();
    for user in USERS {
        let usual = script_as(&lab, &format!("usual-{user}"), user, VIEW);
        let free = script_as(&lab, &format!("free-{user}"), user, VIEW);
        for spec in [usual, ContainerSpec { filters: Filters::default(), ..free }] {
            for (what, answer) in answers(&lab.output(&spec).await) {
                assert_eq!(answer, "EPERM", "{what}, by {user}");
            }
        }
    }
    lab.finish().await;
}
