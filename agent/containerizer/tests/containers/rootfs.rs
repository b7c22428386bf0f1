//! A directory of the machine as a task's root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bourse_containerizer::{Bind, Check, CheckEnd, ContainerSpec, Containerizer};
use bourse_types::Exit;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::lab::{DEADLINE, Lab, read, until};

/// What the scripts call.
const PROGRAMS: [&str; 13] =
    ["cat", "grep", "head", "id", "ls", "mkdir", "mv", "rm", "sh", "sleep", "stat", "test", "touch"];

pub fn image(lab: &Lab, name: &str) -> PathBuf {
    image_in(lab.root(), name)
}

/// A directory that has a shell and the programs above and a file `release`, and nothing else.
pub fn image_in(folder: &Path, name: &str) -> PathBuf {
    let image = folder.canonicalize().expect("it is there").join(name);
    fs::create_dir_all(image.join("bin")).expect("it is writable");
    fs::copy("/bin/busybox", image.join("bin/busybox"))
        .expect("busybox is there (scripts/install-missing test), linked statically");
    for program in PROGRAMS {
        symlink("busybox", image.join("bin").join(program)).expect("it is writable");
    }
    fs::write(image.join("release"), format!("{name}\n")).expect("it is writable");
    fs::set_permissions(image.join("release"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    image
}

fn in_root(lab: &Lab, name: &str, root: &Path, script: &str) -> ContainerSpec {
    ContainerSpec { root: Some(root.into()), ..lab.shell(name, script) }
}

/// All paths in a directory.
fn all_in(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it is readable").flatten() {
        found.push(entry.path());
        if entry.file_type().expect("it is there").is_dir() {
            found.extend(all_in(&entry.path()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_writes_to_its_root_is_its_own_and_the_directory_stays_as_it_is() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    let before = all_in(&image);
    let script = "cat /release; echo new > /release; echo more > /more; rm /bin/mv; mkdir /conf; cat /release; \
                  pwd; echo t > /tmp/t; echo s > s; exec sleep 1000";
    let writer = in_root(&lab, "c1", &image, script);
    lab.launch(&writer).await;
    until("it has written", || read(&writer, "s") == "s\n").await;
    until("that is in its log", || read(&writer, "stdout") == "image\nnew\n/mnt/mesos/sandbox\n").await;
    assert_eq!(read(&writer, "tmp/t"), "t\n");
    assert_eq!(
        read(&writer, ".rootfs/upper/more"),
        "more\n",
        "in the sandbox, so that it counts as its disk"
    );

    // At the same time.
    let other = in_root(&lab, "c2", &image, "cat /release; ls / /bin/mv");
    let seen = lab.output(&other).await;
    let seen: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(seen[..2], ["image", "/bin/mv"]);
    let mut top = seen[2..].to_vec();
    // `/etc` is made where the machine has something for it.
    top.retain(|name| !["/:", "etc"].contains(name));
    assert_eq!(top, ["bin", "dev", "mnt", "proc", "release", "sys", "tmp", "var"], "{seen:?}");
    assert_eq!(all_in(&image), before);
    assert_eq!(fs::read_to_string(image.join("release")).expect("it is there"), "image\n");

    // A user other than root writes where it may.
    let script =
        "echo x 2> /dev/null > /release || echo no; touch /x 2> /dev/null || echo no; echo y > y && cat y";
    let nobody = ContainerSpec { user: Some("nobody".into()), ..in_root(&lab, "c3", &image, script) };
    assert_eq!(lab.output(&nobody).await, "no\nno\ny\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_looked_up_in_the_tasks_own_root_and_so_is_that_of_a_check() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    let script = image.join("bin/only-here");
    fs::write(&script, "#!/bin/sh\ntouch started\nexec sleep 1000\n").expect("it is writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let spec = ContainerSpec { root: Some(image.clone()), ..lab.spec("c1", &["only-here"]) };
    lab.launch(&spec).await;
    until("it runs", || spec.sandbox.join("started").exists()).await;
    for (argv, code) in [(["grep", "image", "/release"], 0), (["test", "-e", "/usr"], 1)] {
        let argv = argv.map(str::to_owned).to_vec();
        let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
        let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(code)));
    }
    // One of the machine's.
    let spec = ContainerSpec { root: Some(image), ..lab.spec("c2", &["/usr/bin/env"]) };
    let refused = lab.containerizer.launch(&spec).await.expect_err("it is not in there").to_string();
    assert!(refused.contains("`exec`") && refused.contains("in the task's own root"), "{refused}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_machine_a_task_with_a_root_of_its_own_sees_how_to_use_the_network_and_its_volumes() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    let data = lab.root().canonicalize().expect("it is there").join("data");
    fs::create_dir(&data).expect("it is writable");
    fs::write(data.join("file"), "data\n").expect("it is writable");
    let mut spec = in_root(
        &lab,
        "c1",
        &image,
        "cat /etc/hosts > hosts; touch /etc/hosts 2> /dev/null || echo read-only; cat /volume/deep/file; \
         ls $ROOT 2> /dev/null; ls -A /mnt/mesos/sandbox/.rootfs; ls /etc; cat /proc/self/mountinfo > mounts",
    );
    spec.env.push(("ROOT".into(), lab.root().display().to_string()));
    spec.volumes = vec![Bind { source: data, target: "/volume/deep".into(), writable: false }];
    let output = lab.output(&spec).await;
    let hosts = fs::read_to_string("/etc/hosts").ok();
    assert_eq!(Some(read(&spec, "hosts")), hosts.or(Some(String::new())));
    if Path::new("/etc/hosts").exists() {
        assert!(output.starts_with("read-only\ndata\n"), "{output}");
    }
    let names = ["data", "hostname", "hosts", "read-only", "resolv.conf"];
    assert!(output.lines().all(|line| names.contains(&line)), "{output}");
    assert!(!image.join("volume").exists() && !image.join("etc").exists());
    let kept = lab.root().display().to_string();
    let root = read(&spec, "mounts");
    let root = root.lines().find(|line| line.contains(" / / ")).expect("there is a root");
    assert!(root.contains(" rw,nosuid,nodev") && root.contains(" - overlay "), "{root}");
    assert!(!root.contains(&kept), "where it is kept is not told: {root}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_tasks_root_stand_for_nothing_that_every_container_has() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    fs::create_dir_all(image.join("etc")).expect("it is writable");
    fs::create_dir_all(image.join("var")).expect("it is writable");
    fs::write(image.join("etc/own"), "own").expect("it is writable");
    let links = [
        ("proc", "/etc"),
        ("sys", "/proc"),
        ("dev", "../../../../../../dev"),
        ("tmp", "/nowhere"),
        ("mnt", "../../../../../../tmp"),
        ("var/tmp", "/"),
        ("etc/resolv.conf", "/proc/sys/kernel/core_pattern"),
        ("etc/hosts", "own"),
    ];
    for (link, target) in links {
        symlink(target, image.join(link)).expect("it is writable");
    }
    let script = r#"
        grep -c NoNewPrivs /proc/self/status; cat /etc/own; echo
        test -e /sys/kernel || echo "no sys"
        echo x > /dev/null; head -c 1 /dev/zero > zero
        echo a > /tmp/a; cat /var/tmp/a; echo done > done
        test -z "$(head -c 1 /proc/kcore 2> /dev/null)" || echo "memory is visible"
        (echo x > /proc/sys/kernel/core_pattern) 2> /dev/null && echo "written: settings"
        (echo x > /sys/kernel/mm/ksm/run) 2> /dev/null && echo "written: sys"
        true
    "#;
    let spec = in_root(&lab, "c1", &image, script);
    assert_eq!(lab.output(&spec).await, "1\nown\na\n", "{}", read(&spec, "stderr"));
    assert_eq!(read(&spec, "done"), "done\n", "the sandbox is at its place");
    for (link, target) in links {
        assert_eq!(fs::read_link(image.join(link)).expect("it stays"), Path::new(target));
    }

    for (name, target) in [("c2", "/proc"), ("c3", "/bin")] {
        let image = lab.root().canonicalize().expect("it is there").join(name);
        fs::create_dir_all(image.join("bin")).expect("it is writable");
        symlink(target, image.join("var")).expect("it is writable");
        let refused = lab.containerizer.launch(&in_root(&lab, name, &image, "true")).await;
        let refused = refused.expect_err("a link is on the way").to_string();
        assert!(refused.contains("`rootfs`") && refused.contains("no links"), "{refused}");
    }
    let link = image.with_file_name("link");
    symlink(&image, &link).expect("it is writable");
    for (name, root) in [("c4", &link), ("c5", &image.join("gone"))] {
        let refused = lab.containerizer.launch(&in_root(&lab, name, root, "true")).await;
        let refused = refused.expect_err("that is no directory").to_string();
        assert!(refused.contains("`rootfs`") && refused.contains("no link on the way"), "{refused}");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_devices_of_a_tasks_root_give_it_nothing_and_it_cannot_undo_its_view() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    let suid = image.join("bin/busybox-suid");
    fs::copy(image.join("bin/busybox"), &suid).expect("it is writable");
    fs::set_permissions(&suid, fs::Permissions::from_mode(0o6755)).expect("it is ours");
    let zero = makedev(1, 5);
    mknod(&image.join("zero"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), zero).expect("we are root");
    fs::create_dir(image.join("secret")).expect("it is writable");
    fs::write(image.join("secret/key"), "k3y").expect("it is writable");
    let script = "busybox-suid id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; head -c 1 /zero 2> /dev/null || echo no";
    let nobody = ContainerSpec { user: Some("nobody".into()), ..in_root(&lab, "c1", &image, script) };
    let user =
        nix::unistd::User::from_name("nobody").expect("users can be looked up").expect("it is on Debian");
    let expected = format!("{}\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nno\n", user.uid);
    assert_eq!(lab.output(&nobody).await, expected);

    let script = r#"
        refused() { if "$@" 2> /dev/null; then echo "allowed: $*"; fi; }
        layers=/mnt/mesos/sandbox/.rootfs
        refused busybox umount /proc
        refused busybox umount $layers
        refused busybox mount -t tmpfs none /etc
        refused busybox mount -o remount,suid,dev /
        refused busybox mknod /disk b 254 0
        refused busybox chroot /proc/1/root true
        refused mv $layers /mnt/mesos/sandbox/other
        refused rm -r $layers
        refused touch $layers/x
        refused head -c 1 /zero
        refused cat /secret/key
        ls -A /secret
        refused ls /proc/1/root/
    "#;
    let mut root = in_root(&lab, "c2", &image, script);
    root.hide.push(image.join("secret"));
    assert_eq!(lab.output(&root).await, "", "{}", read(&root, "stderr"));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_of_a_path_with_every_kind_of_character_is_had() {
    let lab = Lab::new();
    let image = image(&lab, "a:b,c\\d \"e\" ü=%");
    let spec = in_root(&lab, "c1", &image, "cat /release");
    assert_eq!(lab.output(&spec).await, "a:b,c\\d \"e\" ü=%\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_does_not_follow_what_a_task_put_in_the_way_to_its_sandbox() {
    let lab = Lab::new();
    let image = image(&lab, "image");
    let script =
        "mv /mnt/mesos /mnt/moved && mkdir /mnt/mesos && ln -s /proc/1/fd /mnt/mesos/fds; touch /moved
        i=3; while [ $i -lt 30 ]; do ln -s /proc/1/fd/$i /mnt/to-$i; i=$((i+1)); done; exec sleep 1000";
    let spec = in_root(&lab, "c1", &image, script);
    lab.launch(&spec).await;
    until("it has moved it", || spec.sandbox.join(".rootfs/upper/moved").exists()).await;
    let mnt = spec.sandbox.join(".rootfs/upper/mnt");
    for number in 3..30 {
        // As the task could, in turns with the checks.
        fs::remove_dir_all(mnt.join("mesos"))
            .or_else(|_| fs::remove_file(mnt.join("mesos")))
            .expect("it is there");
        std::os::unix::fs::symlink(format!("/proc/1/fd/{number}"), mnt.join("mesos")).expect("linked");
        let argv = ["/bin/sh", "-c", "cd ../../../../../..; ls"].map(str::to_owned).to_vec();
        let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
        let refused = lab.containerizer.exec(&spec.container_id, &check).await.expect_err("no such way");
        assert!(refused.to_string().contains("`cwd`"), "{number}: {refused}");
    }
    lab.finish().await;
}
