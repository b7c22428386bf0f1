//! Users of a task's own: its root is root of the container and nobody outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use bourse_containerizer::{
    Bind, Check, CheckEnd, ContainerSpec, Containerizer, Filters, LaunchError, UsersError,
};
use bourse_types::{Exit, Namespaces, Network, Users};

use super::lab::{DEADLINE, Lab, read, until};
use super::rootfs::image_in;

/// How many users a container has.
const COUNT: u32 = 65_536;

fn with_own_users(lab: &Lab, name: &str, script: &str) -> ContainerSpec {
    let namespaces = Namespaces { users: Users::Own, ..Namespaces::default() };
    ContainerSpec { namespaces, ..lab.shell(name, script) }
}

/// Whom a file belongs to, as the machine counts.
fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").uid()
}

/// The users that a process acts as, as the machine counts: real, effective, saved, of files.
fn users_of(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("it has users");
    line.split_whitespace().map(|text| text.parse().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_task_with_users_of_its_own_is_nobody_of_the_machine_and_of_no_other_task() {
    let lab = Lab::new();
    let script = "id -u; id -g; touch mine; mkdir -p dir/deep; touch other; chown 1000:1000 other; echo t > /tmp/t; \
                  stat -c %u:%g /mnt/mesos/sandbox /tmp /; cp /bin/sh .; chmod 6755 sh; exec sleep 1000";
    let mut roots = Vec::new();
    for name in ["c1", "c2"] {
        let spec = with_own_users(&lab, name, script);
        let pid = lab.launch(&spec).await.pid;
        until("it has written", || {
            read(&spec, "stdout").lines().count() == 5 && spec.sandbox.join("sh").exists()
        })
        .await;
        assert_eq!(read(&spec, "stdout"), "0\n0\n0:0\n0:0\n65534:65534\n", "{}", read(&spec, "stderr"));
        let root = owner(&spec.sandbox);
        assert!(root >= COUNT && root.is_multiple_of(COUNT), "{root}");
        for name in ["mine", "dir", "dir/deep", "tmp", "tmp/t", "stdout", "stderr", "sh"] {
            assert_eq!(owner(&spec.sandbox.join(name)), root, "{name}");
        }
        assert_eq!(owner(&spec.sandbox.join("other")), root + 1000);
        // It becomes another program a moment after it has written.
        until("it sleeps", || fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs") == "sleep\n")
            .await;
        assert_eq!(users_of(pid), [root; 4]);
        roots.push(root);
    }
    assert!(roots[0].abs_diff(roots[1]) >= COUNT, "{roots:?}");

    // Somebody else, whose number is beyond none of them.
    let nobody =
        ContainerSpec { user: Some("65534".into()), ..with_own_users(&lab, "c3", "id -u; touch mine") };
    assert_eq!(lab.output(&nobody).await, "65534\n");
    let last = owner(&nobody.sandbox.join("mine"));
    assert_eq!(last % COUNT, 65_534);
    assert!(!roots.contains(&(last - 65_534)), "{last} of {roots:?}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_given_in_turn_and_to_nobody_else_while_files_of_theirs_are_kept_also_over_a_restart() {
    let lab = Lab::new();
    let sleeping = |name: &str| with_own_users(&lab, name, "sleep 1000");
    let (first, second) = (sleeping("c1"), sleeping("c2"));
    lab.launch(&first).await;
    lab.launch(&second).await;
    // One that cannot be started leaves a sandbox as well.
    let failing = ContainerSpec { argv: vec!["no-such-command".into()], ..sleeping("failing") };
    lab.containerizer.launch(&failing).await.expect_err("there is no such command");
    let third = sleeping("c3");
    lab.launch(&third).await;
    assert_eq!(owner(&third.sandbox), owner(&second.sandbox) + 2 * COUNT);

    // The next agent knows whose turn it is, whoever is gone.
    let next = Lab::at(lab.root(), &lab.instance);
    next.containerizer.recover().await.expect("the runtime directory is readable");
    next.containerizer.destroy(&first.container_id).await.expect("it can be destroyed");
    let fourth = sleeping("c4");
    next.launch(&fourth).await;
    assert_eq!(owner(&fourth.sandbox), owner(&third.sandbox) + COUNT);

    // One that has lost count knows who runs and what is kept.
    fs::remove_file(lab.work.join("last-users")).expect("it is there");
    let later = Lab::at(lab.root(), &lab.instance);
    later.containerizer.recover().await.expect("the runtime directory is readable");
    for kept in [&first, &failing] {
        later.containerizer.sandbox_found(&kept.sandbox);
    }
    let fifth = sleeping("c5");
    later.launch(&fifth).await;
    assert_eq!(owner(&fifth.sandbox), owner(&fourth.sandbox) + COUNT);

    // Of a sandbox that was removed nothing is left.
    fs::remove_file(lab.work.join("last-users")).expect("it is there again");
    let last = Lab::at(lab.root(), &lab.instance);
    last.containerizer.recover().await.expect("the runtime directory is readable");
    for kept in [&first, &failing] {
        last.containerizer.sandbox_found(&kept.sandbox);
    }
    last.containerizer.sandbox_removed(&first.sandbox);
    let again = sleeping("again");
    last.launch(&again).await;
    assert_eq!(owner(&again.sandbox), owner(&first.sandbox));
    drop((next, later, last));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_task_with_users_of_its_own_has_no_power_over_what_is_the_machines() {
    let lab = Lab::new();
    let data = lab.root().canonicalize().expect("it is there").join("data");
    fs::create_dir(&data).expect("it is writable");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("it is ours");
    for (name, mode) in [("open", 0o644), ("secret", 0o600)] {
        fs::write(data.join(name), format!("{name}\n")).expect("it is writable");
        fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let script = r#"
        refused() { if "$@" 2> /dev/null; then echo "allowed: $*"; fi; }
        write() { echo 1 > "$1"; }
        cat /data/open; stat -c %u:%g /data/open
        refused cat /data/secret
        refused write /data/open
        refused touch /data/new
        refused chmod 666 /data/open
        refused chown 0:0 /data/open
        refused cat /etc/shadow
        refused mount -t tmpfs none /tmp
        refused mount --bind /data /tmp
        refused umount /tmp
        refused umount /proc/sys
        refused hostname other
        refused kill -0 1
        refused cat /proc/1/environ
        refused ls /proc/1/root/
        refused write /proc/sys/kernel/core_pattern
        refused write /proc/sysrq-trigger
        refused mknod disk b 254 0
        grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status
    "#;
    let mut said = Vec::new();
    // Also where nothing is filtered: it is the kernel that refuses it to the users.
    for (name, filters) in [("c1", Filters::usual().expect("it can be compiled")), ("c2", Filters::default())]
    {
        let volumes = vec![Bind { source: data.clone(), target: "/data".into(), writable: true }];
        let spec = ContainerSpec { volumes, filters, ..with_own_users(&lab, name, script) };
        said.push(lab.output(&spec).await);
    }
    // What a root of the machine's users may, among its own.
    let machines = lab.output(&lab.shell("c3", "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status")).await;
    assert_eq!(said, [format!("open\n65534:65534\n{machines}"), format!("open\n65534:65534\n{machines}")]);
    // Nor has another of its users any.
    let spec = with_own_users(&lab, "c4", "grep -E 'CapEff|CapPrm' /proc/self/status");
    let none = "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n";
    assert_eq!(lab.output(&ContainerSpec { user: Some("nobody".into()), ..spec }).await, none);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_has_the_users_of_its_task_also_after_a_restart_of_the_agent() {
    let lab = Lab::new();
    let mut spec = with_own_users(&lab, "c1", "echo up; exec sleep 1000");
    spec.namespaces.network = Network::Loopback;
    lab.launch(&spec).await;
    until("it runs", || read(&spec, "stdout") == "up\n").await;
    let next = Lab::at(lab.root(), &lab.instance);
    next.containerizer.recover().await.expect("the runtime directory is readable");
    for (name, containerizer) in [("before", &lab.containerizer), ("after", &next.containerizer)] {
        // Who is of the same users looks into the task.
        let script = format!("[ $(id -u) = 0 ] && touch {name} && readlink /proc/2/exe && kill -0 2");
        let argv = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
        let end = containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)), "{name}");
        assert_eq!(owner(&spec.sandbox.join(name)), owner(&spec.sandbox));
    }
    drop(next);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_tasks_root_are_those_of_its_own_users() {
    let lab = Lab::new();
    // Not every file system can: the memory of the machine's /tmp could not before Linux 6.3.
    let folder = tempfile::tempdir_in("/var/tmp").expect("it is writable");
    let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder.path()).output();
    let kind = kind.expect("it is there").stdout;
    let is_able = ["ext2/ext3\n", "xfs\n", "btrfs\n"].iter().any(|able| able.as_bytes() == kind);
    let image = image_in(folder.path(), "image");
    let script =
        "stat -c %u:%g / /bin /release; cat /release; echo new > /release; touch /more; cat /release";
    let rooted = |name: &str, script: &str| ContainerSpec {
        root: Some(image.clone()),
        ..with_own_users(&lab, name, script)
    };
    let spec = rooted("c1", script);
    if is_able {
        assert_eq!(lab.output(&spec).await, "0:0\n0:0\n0:0\nimage\nnew\n");
        let root = owner(&spec.sandbox);
        for name in ["release", "more"] {
            assert_eq!(owner(&spec.sandbox.join(".rootfs/upper").join(name)), root, "{name}");
        }
        let others = ContainerSpec {
            user: Some("1000".into()),
            ..rooted("c2", "echo x 2> /dev/null > /release || echo no; touch /x 2> /dev/null || echo no")
        };
        assert_eq!(lab.output(&others).await, "no\nno\n");
        assert_eq!(fs::read_to_string(image.join("release")).expect("it is there"), "image\n");
        assert_eq!(owner(&image.join("release")), 0, "the directory stays as it is");
    } else if let Err(error) = lab.containerizer.launch(&spec).await {
        let error = error.to_string();
        assert!(error.contains("`rootfs`") && error.contains("whose owners can be mapped"), "{error}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_none_of_the_tasks_own_is_refused() {
    let lab = Lab::new();
    let spec = ContainerSpec { user: Some("70000".into()), ..with_own_users(&lab, "c1", "true") };
    let refused = lab.containerizer.launch(&spec).await.expect_err("there is no such user");
    assert!(matches!(refused, LaunchError::Users { error: UsersError::Beyond { uid: 70_000, .. }, .. }));
    assert!(refused.to_string().contains("from 0 to 65535"), "{refused}");
    lab.finish().await;
}
