//! What steers the machine or the task's standing on it.

use super::{USERS, answers, assert_only_outside, script_as};
use crate::lab::Lab;

/// Programs that the kernel starts as root of the machine when something happens, and other levers of it: opened for
/// writing, and left as they are.
const LEVERS: &str = r#"
print('core_pattern', attempt(os.open, '/proc/sys/kernel/core_pattern', os.O_WRONLY))
print('panic', attempt(os.open, '/proc/sys/kernel/panic', os.O_WRONLY))
print('overcommit', attempt(os.open, '/proc/sys/vm/overcommit_memory', os.O_WRONLY))
print('kmsg', attempt(os.open, '/proc/kmsg', os.O_RDONLY | os.O_NONBLOCK))
print('cpus of interrupts', attempt(os.open, '/proc/irq/default_smp_affinity', os.O_WRONLY))
"#;

/// Everything in the trees that steer; told are only those that can be opened.
const TREES: &str = r#"
tried = 0
named = {'/proc/sysrq-trigger', '/sys/kernel/uevent_helper', '/proc/sys/kernel/modprobe'}
for top in '/proc/sys', '/proc/irq', '/proc/fs', '/proc/bus', '/proc/acpi', '/proc/scsi', '/sys/kernel', '/sys/fs', \
        '/sys/power', '/sys/module', '/sys/firmware', '/sys/hypervisor':
    for folder, _, files in os.walk(top):
        named.update(os.path.join(folder, name) for name in files)
for path in sorted(named):
    if not os.path.islink(path):
        tried += 1
        if attempt(os.open, path, os.O_WRONLY | os.O_NONBLOCK) == 'done':
            print(path)
print(tried > 100)
"#;

/// A container that can mount a hierarchy of control groups, or write to one, can have the machine start a program
/// (`release_agent`), or lift its own limits.
const CONTROL_GROUPS: &str = r#"
for kind, which in (b'cgroup', b'memory'), (b'cgroup', b'none,name=bourse-test'), (b'cgroup2', b''):
    print(kind, call(MOUNT, b'none', b'/tmp', kind, 0, which))
found = [
    os.path.join(folder, name)
    for top in ('/sys', '/dev', '/run', '/mnt', '/tmp')
    for folder, _, files in os.walk(top)
    for name in files
    if name in ('release_agent', 'cgroup.procs', 'notify_on_release', 'tasks')
]
print('found', found, os.listdir('/sys/fs/cgroup') if os.path.exists('/sys/fs/cgroup') else [])
"#;

/// A better place in the queue of processes and among those that are killed when memory is short, and more than was given:
/// what a process can give away and not take.
const STANDING: &str = r#"
import resource

def be_killed(score):
    with open('/proc/self/oom_score_adj', 'w') as own:
        own.write(score)

def limit(most):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
    except ValueError as error:
        raise PermissionError(errno.EPERM, str(error))

print('given: turns', attempt(os.nice, 1))
print('taken: turns', attempt(os.nice, -1))
print('given: life', attempt(be_killed, '1'))
print('taken: life', attempt(be_killed, '-1'))
print('given: files', attempt(limit, 65))
print('taken: files', attempt(limit, 66))
"#;

/// Typing into a terminal as if its user did: what stands there is read by whoever reads it next.
const TYPING: &str = r#"
import fcntl, termios
_, terminal = os.openpty()
assert attempt(fcntl.ioctl, terminal, termios.TIOCGWINSZ, bytes(8)) == 'done'
print('typing', call(IOCTL, terminal, termios.TIOCSTI, b'x'))
print('typing with a larger number', call(IOCTL, terminal, termios.TIOCSTI + (1 << 32), b'x'))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_lever_of_the_kernel_is_open_to_a_task() {
    assert_only_outside(LEVERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_trees_that_steer_the_machine_can_be_opened_for_writing() {
    let lab = Lab::new();
    for user in USERS {
        assert_eq!(lab.output(&script_as(&lab, user, user, TREES)).await, "True\n", "{user}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_neither_sees_nor_mounts_control_groups_so_that_none_starts_a_program_for_it() {
    let lab = Lab::new();
    for user in USERS {
        let output = lab.output(&script_as(&lab, user, user, CONTROL_GROUPS)).await;
        let mounts = "b'cgroup' EPERM\nb'cgroup' EPERM\nb'cgroup2' EPERM\n";
        assert_eq!(output, format!("{mounts}found [] []\n"), "{user}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_raises_its_priority_its_limits_or_its_chance_to_survive() {
    let lab = Lab::new();
    for user in USERS {
        let output = lab.output(&script_as(&lab, user, user, STANDING)).await;
        for (what, answer) in answers(&output) {
            assert_eq!(answer == "done", what.starts_with("given: "), "{what}, by {user}: {answer}");
        }
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_types_into_a_terminal_not_even_with_a_number_of_which_the_kernel_looks_at_a_half() {
    assert_only_outside(TYPING).await;
}
