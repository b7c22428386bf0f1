//! The first process of a container, and those outside.

use std::time::Instant;

use bourse_containerizer::{Check, CheckEnd, Containerizer};
use bourse_types::Exit;

use super::{USERS, answers, script_as};
use crate::lab::{DEADLINE, Lab, exit_of, read, until};

/// What a task tries on a child of its own, on the first process of its container, and on a process by the number that it
/// has outside.
const REACH: &str = r#"
import resource

class Part(ctypes.Structure):
    _fields_ = [('start', ctypes.c_void_p), ('length', ctypes.c_size_t)]

word = ctypes.create_string_buffer(8)
part = Part(ctypes.addressof(word), 8)

# The same address in a child, which has a copy of it.
def copy(how, pid):
    how.restype = ctypes.c_ssize_t
    one, count, none = ctypes.byref(part), ctypes.c_ulong(1), ctypes.c_ulong(0)
    return said(how(pid, one, count, one, count, none))

def take_descriptor(pid):
    process = made(PIDFD_OPEN, pid, 0)
    return said(process) if process == -1 else call(PIDFD_GETFD, process, 0, 0)

def reach(who, pid):
    here = f'/proc/{pid}'
    tried = {
        'seize': said(libc.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), None, None)),
        'read memory': copy(libc.process_vm_readv, pid),
        'write memory': copy(libc.process_vm_writev, pid),
        'open memory': attempt(os.open, f'{here}/mem', os.O_RDWR),
        'take a descriptor': take_descriptor(pid),
        'see a descriptor': attempt(os.readlink, f'{here}/fd/0'),
        'see the variables': attempt(lambda: open(f'{here}/environ').read()),
        'see the memory': attempt(lambda: open(f'{here}/maps').read()),
        'open the program': attempt(os.open, f'{here}/exe', os.O_PATH),
        'enter the root': attempt(os.listdir, f'{here}/root'),
        'enter the directory': attempt(os.listdir, f'{here}/cwd'),
        'name a namespace': attempt(os.readlink, f'{here}/ns/mnt'),
        'limit': attempt(resource.prlimit, pid, resource.RLIMIT_CORE, (0, 0)),
        'slow down': attempt(os.setpriority, os.PRIO_PROCESS, pid, 19),
        'move': attempt(os.sched_setaffinity, pid, os.sched_getaffinity(0)),
    }
    for what, answer in tried.items():
        print(who, what, answer)

own = os.fork()
if own == 0:
    try:
        signal.pause()
    finally:
        os._exit(0)
reach('own', own)
reach('first', 1)
reach('other', int(os.environ['OTHER']))
print('other kill', attempt(os.kill, int(os.environ['OTHER']), signal.SIGKILL))
os.kill(own, signal.SIGKILL)
os.waitpid(own, 0)
"#;

/// Looks at every process that comes up, and says so when it was refused, or saw what is not meant for it.
const WATCH: &str = r#"
known = set(os.listdir('/proc'))
print('ready', flush=True)
said_so = False
while True:
    for pid in set(os.listdir('/proc')) - known:
        try:
            program = os.readlink(f'/proc/{pid}/exe')
        except PermissionError:
            if not said_so:
                print('refused', flush=True)
            said_so = True
        except OSError:
            pass
        else:
            if 'bourse-init' in program:
                print('seen', flush=True)
"#;

/// Gets hold of the program of the first process: a script whose interpreter is the program that starts it becomes that
/// program, and the task may look into its own processes (as in CVE-2019-5736).
const OVERWRITE: &str = r#"
with open('again', 'w') as script:
    script.write('#!/proc/self/exe\n')
os.chmod('again', 0o755)
known = set(os.listdir('/proc'))
print('ready', flush=True)
held = None
while held is None:
    for pid in set(os.listdir('/proc')) - known:
        try:
            found = os.open(f'/proc/{pid}/exe', os.O_PATH)
        except OSError:
            continue
        if 'bourse-init' in os.readlink(f'/proc/self/fd/{found}'):
            held = found
        else:
            os.close(found)

def overwrite(path):
    os.write(os.open(path, os.O_WRONLY), b'#!/bin/sh')

own = os.memfd_create('own')
os.write(own, b'own')
for who, held in ('own', own), ('first', held):
    print(who, 'overwrite', attempt(overwrite, f'/proc/self/fd/{held}'))
    print(who, 'truncate', attempt(os.truncate, f'/proc/self/fd/{held}', 0))
"#;

fn check(program: &str) -> Check {
    Check { argv: vec![program.into()], env: Vec::new(), timeout: DEADLINE }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_neither_looks_into_nor_steers_the_first_process_or_any_outside() {
    let lab = Lab::new();
    let other = lab.spec("other", &["sleep", "1000"]);
    let pid = lab.launch(&other).await.pid;
    for user in USERS {
        let mut spec = script_as(&lab, user, user, REACH);
        spec.env.push(("OTHER".into(), pid.to_string()));
        let output = lab.output(&spec).await;
        for (what, answer) in answers(&output) {
            let expected: &[&str] = match what.split(' ').next() {
                Some("own") => &["done"],
                Some("first") => &["EPERM", "EACCES"],
                _ => &["ESRCH", "ENOENT"],
            };
            assert!(expected.contains(&answer), "{what}, by {user}: {answer}");
        }
    }
    assert!(lab.containerizer.usage(&other.container_id).await.expect("it is known").pids > 0, "it lives");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_is_closed_to_its_task_until_it_has_become_its_program() {
    let lab = Lab::new();
    // As root it would have the rights to look.
    let spec = script_as(&lab, "c1", "root", WATCH);
    lab.launch(&spec).await;
    until("it watches", || read(&spec, "stdout").contains("ready")).await;
    let since = Instant::now();
    let mut checks = 0;
    while checks < 50 || !read(&spec, "stdout").contains("refused") {
        assert!(since.elapsed() < DEADLINE, "of {checks} checks none was met on its way");
        let end = lab.containerizer.exec(&spec.container_id, &check("true")).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
        checks += 1;
    }
    lab.containerizer.kill_all(&spec.container_id).await.expect("it runs");
    lab.wait(&spec).await;
    assert!(!read(&spec, "stdout").contains("seen"), "{}", read(&spec, "stdout"));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_the_first_process_cannot_be_overwritten_by_a_task_that_gets_hold_of_it() {
    let lab = Lab::new();
    for user in USERS {
        let spec = script_as(&lab, user, user, OVERWRITE);
        lab.launch(&spec).await;
        until("it watches", || read(&spec, "stdout").contains("ready")).await;
        let since = Instant::now();
        while read(&spec, "stdout").lines().count() < 5 {
            assert!(since.elapsed() < DEADLINE, "{}", read(&spec, "stderr"));
            // An error is that of a task which has just ended, having seen enough.
            let Ok(end) = lab.containerizer.exec(&spec.container_id, &check("./again")).await else { break };
            assert_ne!(end, CheckEnd::Exited(Exit::Code(0)), "nobody but the agent starts it for anything");
        }
        assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(0), "{}", read(&spec, "stderr"));
        let output = read(&spec, "stdout");
        let answers = answers(output.trim_start_matches("ready\n"));
        assert_eq!(answers.len(), 4, "{output}");
        for (what, answer) in answers {
            let expected: &[&str] = match what.starts_with("own ") {
                true => &["done"],
                false => &["EPERM", "ETXTBSY"],
            };
            assert!(expected.contains(&answer), "{what}, by {user}: {answer}");
        }
    }
    assert_eq!(lab.run(&lab.spec("later", &["true"])).await, Exit::Code(0), "it is as it was");
    lab.finish().await;
}
