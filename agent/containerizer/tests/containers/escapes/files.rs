//! Ways out by the file system: other roots, devices, programs that change the user, links.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use bourse_containerizer::{Bind, Check, CheckEnd, ContainerSpec, Containerizer};
use bourse_types::Exit;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::chroot;

use super::{USERS, answers, script_as};
use crate::lab::{DEADLINE, Lab, read, until};

/// From a root inside the root, which whoever may change its root gets out of; by a directory that was moved away from
/// under its mount; and by an open directory. All lead to the container's root at most.
const ROOTS: &str = r#"
machine = os.environ['MACHINE']

def place(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino

root = place('/')

def up(times=50):
    for _ in range(times):
        os.chdir('..')

def from_inner_root():
    os.makedirs('jail', exist_ok=True)
    above = os.open('/', os.O_RDONLY)
    os.chroot('jail')
    os.fchdir(above)
    up()
    return 'at the root' if place('.') == root else 'elsewhere'

def from_moved_directory():
    os.makedirs('/tmp/moved/inner')
    os.chdir('/tmp/moved/inner')
    # The sandbox and /tmp are mounts of the same file system.
    os.rename('/mnt/mesos/sandbox/tmp/moved', '/mnt/mesos/sandbox/moved')
    try:
        up()
    except FileNotFoundError:
        return 'nowhere'
    return 'at the root' if place('.') == root else 'elsewhere'

def from_open_directory():
    at = os.open('/mnt/mesos/sandbox', os.O_PATH)
    for _ in range(50):
        at = os.open('..', os.O_PATH, dir_fd=at)
        if place(f'/proc/self/fd/{at}') == root:
            return 'at the root'
    return 'elsewhere'

for way in from_inner_root, from_moved_directory, from_open_directory:
    def go():
        try:
            return way() + (', and sees the machine' if os.path.exists('.' + machine) else '')
        except PermissionError:
            return 'not allowed'
    print(way.__name__ + ':', apart(go))
print('machine:', os.path.exists(machine), os.path.exists('/proc/self/root' + machine))
"#;

/// Device files, by whatever means: made, or found where the machine's root has left them.
const DEVICES: &str = r#"
import stat
letters, blocks = stat.S_IFCHR, stat.S_IFBLK
kinds = [('mem', letters, 1, 1), ('kmsg', letters, 1, 11), ('null', letters, 1, 3), ('disk', blocks, 254, 0)]
for folder in '/mnt/mesos/sandbox', '/tmp', '/data', '/dev/shm', '/dev':
    for name, kind, major, minor in kinds:
        print('make', f'{folder}/{name}', attempt(os.mknod, f'{folder}/{name}', kind | 0o600, os.makedev(major, minor)))
for path in 'left', '/data/left', '/proc/self/cwd/left':
    print('open', path, attempt(os.open, path, os.O_RDWR))
print('replace', attempt(os.unlink, '/dev/null'))
"#;

/// Another name for a file of the machine would outlive its mount, and be written as the task's own.
const NAMES: &str = r#"
def linked_by_descriptor():
    return os.link('/proc/self/fd/' + str(os.open('/etc/passwd', os.O_PATH)), 'by descriptor', follow_symlinks=True)

print('link', attempt(os.link, '/etc/passwd', 'by name'))
print('link a program', attempt(os.link, '/usr/bin/env', 'program'))
print('link a process', attempt(os.link, '/proc/self/exe', 'process', follow_symlinks=True))
print('link by descriptor', attempt(linked_by_descriptor))
print('rename', attempt(os.rename, '/etc/passwd', 'passwd'))
print('write its own program', attempt(os.open, '/proc/self/exe', os.O_WRONLY))
print('write a library', attempt(os.open, next(
    line.split()[-1] for line in open('/proc/self/maps') if '.so' in line), os.O_WRONLY))
"#;

fn with_data(spec: ContainerSpec, data: &Path) -> ContainerSpec {
    let volumes = vec![Bind { source: data.into(), target: "/data".into(), writable: true }];
    ContainerSpec { volumes, ..spec }
}

/// A directory of the machine's that everybody may enter and write to.
fn open_to_all(lab: &Lab) -> PathBuf {
    let data = lab.root().canonicalize().expect("it is there").join("data");
    fs::create_dir(&data).expect("it is writable");
    for path in [lab.root(), data.as_path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it is ours");
    }
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_up_leads_out_of_the_root_of_a_task() {
    let lab = Lab::new();
    for user in USERS {
        let mut spec = script_as(&lab, user, user, ROOTS);
        spec.env.push(("MACHINE".into(), lab.work.display().to_string()));
        // Whoever may not change its root has no inner one to get out of.
        let inner = if user == "root" { "at the root" } else { "not allowed" };
        let expected = format!(
            "from_inner_root: {inner}\nfrom_moved_directory: nowhere\nfrom_open_directory: at the root\n\
             machine: False False\n"
        );
        assert_eq!(lab.output(&spec).await, expected, "{user}");
    }
    lab.finish().await;
}

/// Takes this thread, and those that it makes from now on, to a chroot in a mount namespace of their own: the machine's tree
/// once more, at a folder of it.
fn enter_chroot(folder: &Path) {
    // SAFETY: no memory involved; what is this thread's own from now on is no other's.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "{}", std::io::Error::last_os_error());
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("we are root");
    mount(Some("/"), folder, none, MsFlags::MS_REC | MsFlags::MS_BIND, none).expect("we are root");
    chroot(folder).expect("we are root");
    std::env::set_current_dir("/").expect("it is there");
}

/// Plan: the mount namespace of such a container has the machine's tree above the agent's root, where a task of root gets to
/// by chroot(2) unless it is let go of; and a check enters that namespace by its root.
#[test]
fn no_way_up_leads_out_of_the_root_of_a_task_whose_agent_is_in_a_chroot_and_checks_have_the_same_root() {
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let on_thread = || {
        enter_chroot(folder.path());
        // Threads for what blocks are made by this one, and are in there, too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("it can be made").block_on(async {
            let lab = Lab::new();
            let mut spec = script_as(&lab, "root", "root", ROOTS);
            spec.env.push(("MACHINE".into(), lab.work.display().to_string()));
            let expected = "from_inner_root: at the root\nfrom_moved_directory: nowhere\n\
                            from_open_directory: at the root\nmachine: False False\n";
            assert_eq!(lab.output(&spec).await, expected);

            let spec = lab.shell("checked", "stat -c %d:%i / > root; exec sleep 1000");
            lab.launch(&spec).await;
            until("it has looked", || read(&spec, "root").ends_with('\n')).await;
            let script = "[ \"$(stat -c %d:%i /)\" = \"$(cat root)\" ]";
            let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
            let check = Check { argv, env: Vec::new(), timeout: DEADLINE };
            let end = lab.containerizer.exec(&spec.container_id, &check).await.expect("it can be run");
            assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
            lab.finish().await;
        });
    };
    let done = thread::scope(|scope| scope.spawn(on_thread).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_device_file_can_be_made_or_opened_but_those_that_are_given() {
    let lab = Lab::new();
    let data = open_to_all(&lab);
    for user in USERS {
        let spec = with_data(script_as(&lab, user, user, DEVICES), &data);
        // The null device, left by the machine's root.
        let in_sandbox = spec.sandbox.join("left");
        let left = data.join("left");
        for path in [&in_sandbox, &left] {
            let _ = fs::remove_file(path);
            mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("root may");
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        }
        if !has(&left, FsFlags::ST_NODEV) {
            fs::File::options().write(true).open(&left).expect("outside it is a device");
        }
        let output = lab.output(&spec).await;
        for (what, answer) in answers(&output) {
            assert!(["EPERM", "EACCES", "EROFS", "EEXIST"].contains(&answer), "{what}, by {user}: {answer}");
        }
        assert!(output.contains("open left EACCES\nopen /data/left EACCES\n"), "{output}");
    }
    lab.finish().await;
}

/// Whether the file system that a file is on is mounted so.
fn has(path: &Path, flag: FsFlags) -> bool {
    statvfs(path).expect("it is there").flags().contains(flag)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_root_that_changes_the_user_does_not_change_that_of_a_task() {
    let lab = Lab::new();
    let data = open_to_all(&lab);
    let nobody =
        nix::unistd::User::from_name("nobody").expect("users can be looked up").expect("it is there");
    let mut spec =
        with_data(lab.shell("c1", "./id -u; /data/id -u; cp id own; chmod 4755 own; ./own -u"), &data);
    spec.user = Some("nobody".into());
    for folder in [&spec.sandbox, &data] {
        // By a program of its own: one that this one had open for writing could not be started for a moment.
        let made = Command::new("install").args(["-m", "4755", "/usr/bin/id"]).arg(folder).status();
        assert!(made.expect("install can be started").success());
    }
    // It does what it is for where nothing keeps it from it.
    if !has(&data, FsFlags::ST_NOSUID) {
        let mut outside = Command::new(data.join("id"));
        let ran = outside.arg("-u").uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).output();
        assert_eq!(ran.expect("it can be started").stdout, b"0\n");
    }
    let uid = nobody.uid;
    assert_eq!(lab.output(&spec).await, format!("{uid}\n{uid}\n{uid}\n"));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_machine_gets_another_name_or_is_written_by_a_way_of_its_own() {
    let lab = Lab::new();
    for user in USERS {
        let output = lab.output(&script_as(&lab, user, user, NAMES)).await;
        let answers = answers(&output);
        assert_eq!(answers.len(), 7, "{output}");
        for (what, answer) in answers {
            let refusals = ["EACCES", "EPERM", "EROFS", "ETXTBSY", "EXDEV"];
            assert!(refusals.contains(&answer), "{what}, by {user}: {answer}");
        }
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_sandbox_leads_to_what_the_task_sees_and_one_in_the_place_of_its_tmp_is_refused() {
    let lab = Lab::new();
    let secret = lab.root().canonicalize().expect("it is there").join("secret");
    fs::create_dir(&secret).expect("it is writable");
    fs::write(secret.join("file"), "s3cret").expect("it is writable");
    let spec = lab.shell("c1", "cat link/file 2> /dev/null || echo nothing; grep -c ^root: own");
    symlink(&secret, spec.sandbox.join("link")).expect("it is writable");
    symlink("/etc/passwd", spec.sandbox.join("own")).expect("it is writable");
    assert_eq!(lab.output(&spec).await, "nothing\n1\n");

    let spec = lab.spec("c2", &["touch", "/tmp/file"]);
    symlink(&secret, spec.sandbox.join("tmp")).expect("it is writable");
    let refused = lab.containerizer.launch(&spec).await.expect_err("it would be followed").to_string();
    assert!(refused.contains("make the task's /tmp") && refused.contains("File exists"), "{refused}");
    let names: Vec<_> =
        fs::read_dir(&secret).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["file"]);
    lab.finish().await;
}
