//! Which system calls a task may make.

use std::fs;

use bourse_containerizer::{Check, CheckEnd, Containerizer, Filters};
use bourse_types::Exit;

use super::lab::{DEADLINE, Lab, read, until};

/// Makes a call with six arguments and prints the error that it ends with, 0 for none.
const CALL: &str = r#"
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ended = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    return ctypes.get_errno() if ended == -1 else 0
"#;

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_reach_beyond_a_task_are_refused_and_those_that_nobody_knows_are_not_there() {
    let lab = Lab::new();
    let namespaces =
        "[call(libc_clone, flag | 17, 0, 0, 0, 0) for flag in (0x20000, 0x10000000, 0x40000000)]";
    let clone = if cfg!(target_arch = "aarch64") { 220 } else { 56 };
    let script = format!(
        "{CALL}
libc_clone = {clone}
print(call(9999), call(435, 0, 0), {namespaces})
print(libc.unshare(0x10000000), ctypes.get_errno(), libc.setns(0, 0), ctypes.get_errno())
import threading, subprocess, socket
thread = threading.Thread(target=lambda: print('thread'), daemon=True); thread.start(); thread.join()
print(subprocess.run(['echo', 'process'], capture_output=True, text=True).stdout.strip())
try: socket.socket(40, socket.SOCK_STREAM)
except OSError as error: print(error.errno)
socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
print([line for line in open('/proc/self/status') if line.startswith('Seccomp:')])
"
    );
    let output = lab.output(&lab.spec("c1", &["python3", "-c", &script])).await;
    let expected = "38 38 [1, 1, 1]\n-1 1 -1 1\nthread\nprocess\n97\n['Seccomp:\\t2\\n']\n";
    assert_eq!(output, expected);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_gets_no_subvolumes_and_no_projects_whatever_it_lies_on() {
    let lab = Lab::new();
    let ioctl = if cfg!(target_arch = "aarch64") { 29 } else { 16 };
    // Those of btrfs and FS_IOC_FSSETXATTR, and the first once more with what the kernel does not look at; then what any
    // file system answers to a folder that is no terminal. Without a filter no file system would answer EPERM: these
    // have no arguments (EFAULT), or are not known (ENOTTY).
    let script = format!(
        "{CALL}
import os
here = os.open('.', os.O_RDONLY)
refused = (0x50009401, 0x5000940e, 0x50009417, 0x50009418, 0x4008941a, 0x401c5820, 0xff50009401)
print([call({ioctl}, here, request, 0) for request in refused], call({ioctl}, here, 0x5401, 0))
print(call(469, here, 0, 0, 0, 0))
"
    );
    let output = lab.output(&lab.spec("c1", &["python3", "-c", &script])).await;
    assert_eq!(output, "[1, 1, 1, 1, 1, 1, 1] 25\n1\n");
    lab.finish().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_its_number_of_x32_is_killed_also_where_a_profile_allows_what_it_does_not_name() {
    let lab = Lab::new();
    let file = lab.root().join("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(&file, profile).expect("it is writable");
    // getpid, without and with the bit; then what is no call at all, as kernels without x32 would answer to both.
    let script = format!(
        "{CALL}
import os
def status(number):
    pid = os.fork()
    if pid == 0:
        os._exit(call(number))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(status(39), status(0x40000000 | 39), status(-1))
"
    );
    let mut spec = lab.spec("c1", &["python3", "-c", &script]);
    spec.filters = Filters::of_file(&file).expect("it is a profile");
    assert_eq!(lab.output(&spec).await, "0 -31 38\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_filtered_as_its_task_is() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "echo up; sleep 1000");
    lab.launch(&spec).await;
    until("the task runs", || read(&spec, "stdout").contains("up")).await;
    let argv =
        ["/bin/sh", "-c", "grep Seccomp: /proc/self/status > seen; ! unshare -U true"].map(str::to_owned);
    let check = Check { argv: argv.to_vec(), env: Vec::new(), timeout: DEADLINE };
    let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
    assert_eq!((end, read(&spec, "seen").as_str()), (CheckEnd::Exited(Exit::Code(0)), "Seccomp:\t2\n"));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_of_the_operators_own_is_kept_to_and_none_is_none() {
    let lab = Lab::new();
    let file = lab.root().join("profile.json");
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#;
    fs::write(&file, profile).expect("it is writable");
    let script = "grep Seccomp: /proc/self/status; mkdir a 2>&1 || true";
    let mut spec = lab.shell("c1", script);
    spec.filters = Filters::of_file(&file).expect("it is a profile");
    assert_eq!(
        lab.output(&spec).await,
        "Seccomp:\t2\nmkdir: cannot create directory 'a': Permission denied\n"
    );
    let mut spec = lab.shell("c2", script);
    spec.filters = Filters::default();
    assert_eq!(lab.output(&spec).await, "Seccomp:\t0\n");

    // One with which no program can be started is told as that.
    fs::write(
        &file,
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["prctl", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]}"#,
    )
    .expect("it is writable");
    let mut spec = lab.shell("c3", script);
    spec.filters = Filters::of_file(&file).expect("it is a profile");
    let refused = lab.containerizer.launch(&spec).await.expect_err("nothing can be executed").to_string();
    assert!(refused.contains("`exec`") && refused.contains("Operation not permitted"), "{refused}");
    lab.finish().await;
}
