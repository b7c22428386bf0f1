//! A launch runs the task's program, or says which step failed, why, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Instant;

use bourse_containerizer::{Bind, ContainerSpec, Containerizer, Isolation, LaunchError};
use bourse_types::Exit;

use super::ends::SmallDisk;
use super::lab::{Lab, groups_of};

/// Launches in vain; nothing may be left of it.
async fn refused(lab: &Lab, spec: &ContainerSpec) -> String {
    let error = lab.containerizer.launch(spec).await.expect_err("it cannot be launched");
    lab.assert_nothing_is_left();
    error.to_string()
}

fn assert_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_exist_is_named_with_its_error() {
    let lab = Lab::new();
    let by_name = refused(&lab, &lab.spec("c1", &["no-such-command"])).await;
    assert_all(&by_name, &["container c1", "`exec`", "no-such-command", "No such file", "PATH"]);
    let by_path = refused(&lab, &lab.spec("c1", &["/no/such/command"])).await;
    assert_all(&by_path, &["`exec`", "/no/such/command", "No such file"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_may_not_be_executed_is_told_from_one_that_does_not_exist() {
    let lab = Lab::new();
    let spec = lab.spec("c1", &["./script"]);
    fs::write(spec.sandbox.join("script"), "#!/bin/sh\n").expect("it is writable");
    assert_all(&refused(&lab, &spec).await, &["`exec`", "./script", "Permission denied"]);
    fs::set_permissions(spec.sandbox.join("script"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    assert_eq!(lab.run(&spec).await, Exit::Code(0), "after a failed launch the id is free again");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_does_not_exist_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.user = Some("nobody-of-that-name".into());
    assert_all(&refused(&lab, &spec).await, &["nobody-of-that-name", "create it on every agent"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_that_is_missing_or_closed_to_the_user_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.cwd = Some("/no/such/directory".into());
    assert_all(&refused(&lab, &spec).await, &["`cwd`", "/no/such/directory", "No such file"]);
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    spec.volumes = vec![Bind { source: lab.root().into(), target: "/closed".into(), writable: false }];
    spec.cwd = Some("/closed".into());
    spec.user = Some("nobody".into());
    assert_all(&refused(&lab, &spec).await, &["`cwd`", "/closed", "Permission denied"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_missing_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.sandbox = lab.work.join("sandboxes/none");
    assert_all(&refused(&lab, &spec).await, &["sandbox", "sandboxes/none", "No such file"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_is_refused_and_its_container_lives_on() {
    let lab = Lab::new();
    let spec = lab.spec("c1", &["sleep", "1000"]);
    lab.launch(&spec).await;
    let again = lab.containerizer.launch(&spec).await;
    assert!(matches!(again, Err(LaunchError::Exists(_))), "{again:?}");
    assert!(lab.containerizer.usage(&spec.container_id).await.expect("it lives").pids > 0);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_out_says_what_this_machine_can_do_and_leaves_nothing() {
    let lab = Lab::new();
    for isolation in [Isolation::Linux, Isolation::Process] {
        // What an agent left that was killed while it tried.
        fs::create_dir(lab.work.join("run/probe")).expect("it is writable");
        let since = Instant::now();
        let can = lab.containerizer.try_out(isolation).await.expect("these tests run where tasks can be run");
        println!("{isolation:?}: {can:?} in {:?}", since.elapsed());
        assert_eq!(can.is_some(), isolation == Isolation::Linux);
        lab.assert_nothing_is_left();
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_say_that_no_container_can_be_run() {
    let disk = SmallDisk::mount();
    let lab = Lab::at(disk.folder.path(), &format!("test-{}-no-room", std::process::id()));
    let full = fs::write(lab.work.join("fill"), vec![0; 1 << 20]).expect_err("it does not fit");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    for isolation in [Isolation::Linux, Isolation::Process] {
        lab.containerizer.try_out(isolation).await.expect("the machine can");
        assert!(groups_of(&lab.instance).is_empty());
        assert_eq!(fs::read_dir(lab.work.join("run")).expect("it is there").count(), 0);
    }
}

/// The programs of this thread lack a capability from now on, whoever they run as.
pub fn without(capability: libc::c_int) {
    // SAFETY: no memory involved; the set belongs to this thread.
    assert_eq!(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }, 0);
}

/// Does something in a lab on a thread of its own, whose programs lack a capability whoever they run as.
fn without_capability<F: Future<Output = ()>>(capability: libc::c_int, work: impl FnOnce(Lab) -> F + Send) {
    let on_thread = || {
        without(capability);
        // Threads for what blocks are made by this one, and lack the same.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("it can be made").block_on(async { work(Lab::new()).await });
    };
    let done = thread::scope(|scope| scope.spawn(on_thread).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn trying_out_finds_the_step_that_would_fail_for_every_task() {
    const CAP_SYS_ADMIN: libc::c_int = 21;
    without_capability(CAP_SYS_ADMIN, async |lab| {
        let error = lab.containerizer.try_out(Isolation::Linux).await.expect_err("nothing can be mounted");
        let text = error.to_string();
        assert!(text.contains("cannot isolate") && text.contains("step `mount`"), "{text}");
        assert!(text.contains("--isolation=process"), "{text}");
        lab.assert_nothing_is_left();
        lab.containerizer.try_out(Isolation::Process).await.expect("that needs no right");
        lab.finish().await;
    });
}

/// Takes a capability from this thread itself, and not only from the programs it starts.
fn give_up(capability: libc::c_int) {
    // _LINUX_CAPABILITY_VERSION_3, and this thread.
    let mut header = [0x2008_0522_u32, 0];
    // Twice the effective, permitted and inheritable set, of which the first three hold the lower 32.
    let mut sets = [0_u32; 6];
    // SAFETY: both are as large as capget(2) says, and outlive the calls.
    let done = unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()), 0);
        sets[0] &= !(1 << capability);
        libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr())
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn trying_out_names_the_capability_that_only_health_checks_would_miss() {
    for (capability, name) in [(18, "CAP_SYS_CHROOT"), (19, "CAP_SYS_PTRACE")] {
        without_capability(capability, async move |lab| {
            lab.finish().await;
            give_up(capability);
            let lab = Lab::new();
            let error = lab.containerizer.try_out(Isolation::Linux).await.expect_err("no check can be run");
            assert_all(&error.to_string(), &["cannot isolate", name, "--isolation=process"]);
            lab.finish().await;
        });
    }
}

#[test]
fn where_device_files_cannot_be_made_the_machine_lends_its_own() {
    const CAP_MKNOD: libc::c_int = 27;
    without_capability(CAP_MKNOD, async |lab| {
        let script = "echo gone > /dev/null && head -c 3 /dev/zero | wc -c && grep -c ' /dev/full ' /proc/self/mountinfo";
        let mut spec = lab.shell("c1", script);
        spec.user = Some("nobody".into());
        assert_eq!(lab.output(&spec).await, "3\n1\n");
        lab.finish().await;
    });
}
