//! What a task sees, and what it must not.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use bourse_containerizer::{Bind, Check, CheckEnd, Containerizer, Isolation, SANDBOX};
use bourse_types::Exit;

use super::lab::{DEADLINE, Lab, parent_of, read, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_its_variables_and_no_others() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["env"]);
    spec.env.push(("GREETING".into(), "hello world".into()));
    let output = lab.output(&spec).await;
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "GREETING=hello world");
    assert!(lines[1].starts_with("LAB="));
    assert_eq!(
        lines[2],
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
    );
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_as_its_user_and_owns_its_sandbox() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "id -u; id -g; touch mine; grep -E 'NoNewPrivs|CapEff' /proc/self/status");
    spec.user = Some("nobody".into());
    let output = lab.output(&spec).await;
    let nobody =
        nix::unistd::User::from_name("nobody").expect("users can be looked up").expect("it is on Debian");
    let expected = format!("{}\n{}\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n", nobody.uid, nobody.gid);
    assert_eq!(output, expected);
    for file in ["", "mine", "stdout"] {
        let owner = fs::metadata(spec.sandbox.join(file)).expect("it is there").uid();
        assert_eq!(owner, nobody.uid.as_raw(), "the owner of {file:?}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_starts_in_its_sandbox_or_where_it_says_with_its_host_name() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "pwd; hostname; umask");
    spec.hostname = Some("box-7".into());
    assert_eq!(lab.output(&spec).await, format!("{SANDBOX}\nbox-7\n0022\n"));
    let mut spec = lab.shell("c2", "pwd");
    spec.cwd = Some("/usr".into());
    assert_eq!(lab.output(&spec).await, "/usr\n");
    let own = fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is mounted");
    assert_ne!(own.trim(), "box-7", "the machine keeps its own name");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_sees_its_own_processes_only() {
    let lab = Lab::new();
    let other = lab.shell("other", "sleep 1000");
    lab.launch(&other).await;
    let spec = lab.shell("c1", "echo $$; cat /proc/[0-9]*/comm | sort | uniq");
    let output = lab.output(&spec).await;
    assert!(output.starts_with("2\n"), "the first process is 1, the task's 2: {output}");
    assert!(output.contains("\nbourse-init\n"), "{output}");
    assert!(!output.contains("sleep"), "the other task is not seen: {output}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_sees_its_own_sandbox_and_nothing_else_of_the_agent() {
    let lab = Lab::new();
    let other = lab.spec("other", &["true"]);
    fs::write(other.sandbox.join("secret"), "s3cret").expect("it is writable");
    let mut spec = lab.shell(
        "c1",
        "ls -d $WORK $ROOT; find /mnt -mindepth 1; echo mine > mine; cut -d ' ' -f 5 /proc/self/mountinfo > mounts",
    );
    spec.env.push(("WORK".into(), lab.work.display().to_string()));
    spec.env.push(("ROOT".into(), lab.root().display().to_string()));
    let mut lines: Vec<String> = lab.output(&spec).await.lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "/mnt/mesos",
        "/mnt/mesos/sandbox",
        "/mnt/mesos/sandbox/stderr",
        "/mnt/mesos/sandbox/stdout",
        "/mnt/mesos/sandbox/tmp",
    ];
    assert_eq!(lines, expected);
    let beyond =
        |mount: &&str| !["/proc", "/sys", "/dev", "/usr", "/etc"].iter().any(|own| mount.starts_with(own));
    let mounts = read(&spec, "mounts");
    let mut mounts: Vec<&str> = mounts.lines().filter(beyond).collect();
    mounts.retain(|mount| !["/bin", "/sbin", "/opt", "/nix"].contains(mount) && !mount.starts_with("/lib"));
    mounts.sort_unstable();
    assert_eq!(mounts, ["/", "/mnt/mesos/sandbox", "/tmp", "/var/tmp"], "the machine's mounts are not there");
    assert_eq!(read(&spec, "mine"), "mine\n", "what the task writes is in its sandbox, outside too");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_a_root_of_its_own_and_may_write_in_its_sandbox_and_tmp_only() {
    let lab = Lab::new();
    // A directory of the machine's that no list names.
    fs::write(lab.root().join("of the machine"), "x").expect("it is writable");
    let mut spec = lab.shell(
        "c1",
        r#"
        for path in / /etc /usr /usr/bin /opt /home /run /sys /proc /dev /var /mnt; do
            touch "$path/x" 2> /dev/null && echo "writable: $path"
        done
        ls "$ROOT" 2> /dev/null
        find / -xdev -mindepth 1 -maxdepth 1 > roots
        echo a > /tmp/a && echo b > /var/tmp/b && ls /tmp
        head -c 20000000 /dev/zero > /dev/shm/a && echo shared
        head -c 40000000 /dev/zero > /dev/shm/b || echo full
        "#,
    );
    spec.env.push(("ROOT".into(), lab.root().display().to_string()));
    assert_eq!(lab.output(&spec).await, "a\nb\nshared\nfull\n");
    let known = "/bin /dev /etc /home /lib /lib32 /lib64 /libx32 /mnt /nix /opt /proc /root /run /sbin /sys /tmp /usr /var";
    let roots = read(&spec, "roots");
    let beyond: Vec<&str> =
        roots.lines().filter(|path| known.split(' ').all(|known| known != *path)).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    assert_eq!(fs::read_to_string(spec.sandbox.join("tmp/a")).expect("it is there"), "a\n");
    assert!(!std::path::Path::new("/tmp/a").exists(), "the machine has its own");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_root_cannot_undo_its_view_nor_reach_devices_settings_and_processes_of_the_machine() {
    let lab = Lab::new();
    let spec = lab.shell(
        "c1",
        r#"
        refused() { if "$@" 2>/dev/null; then echo "allowed: $*"; fi; }
        write() { echo 1 > "$1"; }
        refused umount /mnt/mesos/sandbox
        refused umount -l /proc
        refused mount -t tmpfs none /mnt
        refused mount -t proc proc /mnt
        refused mount -o remount,rw /
        refused mount -o remount,rw,bind /usr
        refused mknod disk b 254 0
        refused write /etc/passwd
        refused write /usr/bin/env
        refused write /proc/sys/kernel/printk
        refused write /proc/sysrq-trigger
        refused write /sys/kernel/mm/ksm/run
        refused ls /proc/1/root/
        refused cat /proc/1/fd/3
        refused readlink /proc/1/fd/3
        refused cat /proc/1/environ
        refused chroot /proc/1/root true
        refused nsenter -t 1 -m true
        refused unshare -m true
        refused hostname other
        refused chmod 600 /proc/self/fd/0
        refused chown 1000 /proc/self/fd/0
        refused chmod 600 /dev/null
        for file in $(find /etc -type f); do
            [ ! -s "$file" ] || ! cat "$file" > /dev/null 2>&1 || [ -n "$(find "$file" -perm -o=r)" ] || echo "secret: $file"
        done
        [ -z "$(cat /etc/shadow)" ] || echo "passwords are visible"
        [ -z "$(head -c 1 /proc/kcore 2>/dev/null)" ] || echo "memory is visible"
        [ -z "$(ls -A /sys/fs/cgroup)" ] || echo "control groups are visible"
        [ -z "$(find /dev -type b)" ] || echo "disks are visible"
        head -c 1 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; echo x > /dev/null; touch /dev/shm/x
        "#,
    );
    let null = || fs::metadata("/dev/null").map(|about| (about.mode(), about.uid())).expect("it is there");
    let before = null();
    let output = lab.output(&spec).await;
    assert_eq!(output, "1\n1\n", "stderr: {}", read(&spec, "stderr"));
    assert_eq!(null(), before, "the machine's own is as it was");
    let kind = Command::new("stat").args(["-f", "-c", "%T", "/etc"]).output().expect("it is there").stdout;
    if ["ext2/ext3\n", "xfs\n", "btrfs\n"].iter().any(|able| able.as_bytes() == kind) {
        let spec = lab.shell("c2", "stat -c %u:%g /etc /etc/passwd");
        assert_eq!(lab.output(&spec).await, "65534:65534\n65534:65534\n", "to root they are nobody's");
    }
    assert!(!std::path::Path::new("/dev/shm/x").exists(), "shared memory is the container's own");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_other_than_root_gets_into_its_sandbox_though_the_way_there_is_closed() {
    let lab = Lab::new();
    fs::set_permissions(lab.root(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    for (name, isolation) in [("c1", Isolation::Linux), ("c2", Isolation::Process)] {
        let mut spec = lab.shell(name, "echo x > file; exec sleep 1000");
        spec.isolation = isolation;
        spec.user = Some("nobody".into());
        lab.launch(&spec).await;
        until("the task writes into its sandbox", || read(&spec, "file") == "x\n").await;
        let argv = ["grep", "x", "file"].map(str::to_owned).to_vec();
        let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
        let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)), "{isolation:?}");
    }
    // Any other directory is entered with the task's own rights.
    let mut spec = lab.spec("c3", &["true"]);
    spec.user = Some("nobody".into());
    spec.volumes = vec![Bind { source: lab.root().into(), target: "/closed".into(), writable: true }];
    spec.hide.clear();
    spec.cwd = Some("/closed".into());
    let refused = lab.containerizer.launch(&spec).await.expect_err("that is root's alone").to_string();
    assert!(refused.contains("`cwd`") && refused.contains("Permission denied"), "{refused}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_inherits_no_descriptor() {
    let lab = Lab::new();
    // One that a careless library left open for children.
    let careless = fs::File::open("/dev/null").expect("it is there");
    nix::fcntl::fcntl(&careless, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
        .expect("it is open");
    assert!(careless.as_raw_fd() > 2);
    // The shell itself has no descriptor open while it lists; the list's own is the number of the directory.
    let spec = lab.shell("c1", "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done");
    let output = lab.output(&spec).await;
    let beyond: Vec<u32> = output.lines().filter_map(|line| line.parse().ok()).filter(|&fd| fd > 2).collect();
    // The shell opens the directory to list it, with the lowest free number.
    assert!(beyond.is_empty() || beyond == [3], "{output}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_is_small_and_out_of_reach() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "kill -9 1; echo $?; sleep 1000");
    let launched = lab.launch(&spec).await;
    until("the task tried", || read(&spec, "stdout").contains('\n')).await;
    let init = parent_of(launched.pid);
    // It lets go of what the set-up needed a moment after the task has begun.
    until("it is under 1 MB", || resident_kb(init) < 1024).await;
    println!("resident: {} kB", resident_kb(init));
    let open = fs::read_dir(format!("/proc/{init}/fd")).expect("we are root").count();
    let logs = 1 + 2 + 2;
    assert_eq!(open, 3 + 2 + logs, "standard, exit record, signals; of the logs the folder, files and pipes");
    lab.finish().await;
}

fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs still");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says how much");
    line.trim().strip_suffix(" kB").and_then(|text| text.parse().ok()).expect("in kB")
}
