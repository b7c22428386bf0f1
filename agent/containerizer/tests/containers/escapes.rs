//! Ways out of a container, each tried for real from inside, by a task of root and by one of another user.
//!
//! An attempt that is made in a wrong way fails, too, and proves nothing. So each is made a second time where it has to
//! work: by the machine's root outside, or on what is the task's own.

use std::process::Command;

use bourse_containerizer::ContainerSpec;

use super::lab::Lab;

#[path = "escapes/calls.rs"]
mod calls;
#[path = "escapes/files.rs"]
mod files;
#[path = "escapes/inheritance.rs"]
mod inheritance;
#[path = "escapes/processes.rs"]
mod processes;
#[path = "escapes/settings.rs"]
mod settings;

/// Who tries.
const USERS: [&str; 2] = ["root", "nobody"];

/// Before each script. An attempt ends with "done" or the name of its error.
const TOOLS: &str = r#"
import ctypes, errno, os, signal
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# What a system call returns. Bytes are passed as memory.
def made(number, *arguments):
    passed = [
        ctypes.create_string_buffer(one, len(one) + 1) if isinstance(one, bytes) else ctypes.c_long(one)
        for one in arguments
    ]
    return libc.syscall(ctypes.c_long(number), *passed)

def said(result):
    return errno.errorcode[ctypes.get_errno()] if result == -1 else 'done'

def call(number, *arguments):
    return said(made(number, *arguments))

def attempt(what, *arguments, **options):
    try:
        what(*arguments, **options)
        return 'done'
    except OSError as error:
        return errno.errorcode[error.errno]

# The answer of a process of its own, with which all effects end.
def apart(what):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(theirs, what().encode())
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(ours) as answer:
        return answer.read()
"#;

/// Numbers of system calls that the scripts make by number.
fn numbers() -> String {
    format!(
        "CLONE, IOCTL, KEYCTL, MOUNT, PIDFD_GETFD, PIDFD_OPEN, UMOUNT2 = {}, {}, {}, {}, {}, {}, {}\n",
        libc::SYS_clone,
        libc::SYS_ioctl,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_open,
        libc::SYS_umount2
    )
}

/// A task that runs a script as a user.
fn script_as(lab: &Lab, name: &str, user: &str, script: &str) -> ContainerSpec {
    let text = format!("{}{TOOLS}{script}", numbers());
    ContainerSpec { user: Some(user.into()), ..lab.spec(name, &["python3", "-c", &text]) }
}

/// What a script says that the machine's root runs outside.
fn outside(script: &str) -> String {
    let text = format!("{}{TOOLS}{script}", numbers());
    let ran = Command::new("python3").args(["-c", text.as_str()]).output().expect("python3 can be started");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("it writes text")
}

/// What was tried, and how that ended: one a line, the answer last.
fn answers(output: &str) -> Vec<(&str, &str)> {
    output.lines().map(|line| line.rsplit_once(' ').expect("a name and an answer")).collect()
}

/// Nothing that a script tries is done inside, whoever tries it, and all of it outside.
async fn assert_only_outside(script: &str) {
    for (what, answer) in answers(&outside(script)) {
        assert_eq!(answer, "done", "{what}, by the machine's root");
    }
    let lab = Lab::new();
    for user in USERS {
        let output = lab.output(&script_as(&lab, user, user, script)).await;
        let answers = answers(&output);
        assert!(!answers.is_empty());
        for (what, answer) in answers {
            assert!(answer != "done" && !answer.is_empty(), "{what}, by {user}: {output}");
        }
    }
    lab.finish().await;
}
