use std::fs::{self, File};
use std::future::pending;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bourse_agent_core::{Event, Launch, TaskKey};
use bourse_containerizer::{
    Check, CheckEnd, ContainerError, ContainerSpec, Containerizer, Ended, Filters, LaunchError, Launched,
    Limits, LogLimits, RecoverError, Recovered, Usage,
};
use bourse_types::{AgentId, Command, FrameworkId, TaskId, TaskSpec};
use tar::{Builder, Header};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::driver::Input;
use crate::launcher::{LAUNCHES_AT_ONCE, Launcher, Mountable};

/// What is waited for comes within this, or the test has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn habits(roots: Vec<PathBuf>, hide: Vec<PathBuf>) -> Habits {
    Habits {
        isolation: Isolation::Linux,
        hostname: "host".into(),
        filters: Filters::default(),
        enforce_disk: true,
        allow_root: false,
        pids_limit: 1,
        logs: LogLimits::NONE,
        show: vec![],
        mountable: Mountable::default(),
        roots,
        hide,
        endpoint: String::new(),
    }
}

fn rootfs(path: &Path) -> Rootfs {
    Rootfs::new(&path.display().to_string()).expect("absolute")
}

/// A tar with one file that has its path as its content.
fn write_tar(path: &Path) {
    let mut builder = Builder::new(File::create(path).expect("writable"));
    let text = path.display().to_string();
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, "from", text.as_bytes()).expect("writable");
    builder.finish().expect("writable");
}

/// The directory, once it is there.
async fn directory(found: Result<Root, String>) -> Result<PathBuf, String> {
    match found? {
        Root::There(directory) => Ok(directory),
        Root::Packed(mut packed) => {
            packed.unpacked().await?;
            packed.take()
        }
    }
}

#[tokio::test]
async fn a_task_has_the_root_that_is_allowed_by_where_its_path_leads() {
    let folder = tempfile::tempdir().expect("a folder");
    let top = folder.path().canonicalize().expect("there");
    for path in ["images/web", "images/secret", "images2", "work"] {
        fs::create_dir_all(top.join(path)).expect("writable");
    }
    symlink(top.join("images2"), top.join("images/out")).expect("writable");
    symlink(top.join("images"), top.join("link")).expect("writable");
    nix::unistd::mkfifo(&top.join("images/pipe"), nix::sys::stat::Mode::S_IRWXU).expect("writable");
    fs::write(top.join("images/text"), "no tar").expect("writable");
    let habits = habits(vec![top.join("images")], vec![top.join("images/secret")]);
    let container = ContainerId::new("c1").expect("valid");
    let ask = async |path: &str| {
        directory(find(&habits, &rootfs(&top.join(path)), &top.join("work"), &container)).await
    };
    for path in ["images/web", "link/web"] {
        assert_eq!(ask(path).await, Ok(top.join("images/web")), "{path}");
    }
    for path in ["images2", "images/out", "work"] {
        let why = ask(path).await.expect_err("it is not allowed");
        assert!(why.contains("--rootfs") && why.contains("/images)"), "{why}");
    }
    for (path, said) in [
        ("images/none", "has no "),
        ("images/secret", "hidden from tasks"),
        ("images/pipe", "neither a directory nor a tar file"),
        ("images/text", "unpacking"),
    ] {
        let why = ask(path).await.expect_err("it is none");
        assert!(why.starts_with("the task cannot have the root /") && why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn a_root_is_refused_when_the_way_to_it_became_a_link_after_it_was_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let top = folder.path().canonicalize().expect("there");
    for path in ["images/mine", "outside"] {
        fs::create_dir_all(top.join(path).join("web")).expect("writable");
        write_tar(&top.join(path).join("web.tar"));
    }
    let habits = habits(vec![top.join("images")], vec![]);
    let judged = ["web", "web.tar"]
        .map(|name| on_machine(&habits, &top.join("images/mine").join(name)).expect("it is allowed"));
    let container = ContainerId::new("c1").expect("valid");
    let work = top.join("work");
    for real in &judged {
        assert!(at(real, &work, &container).is_ok(), "nothing was changed yet");
    }
    fs::rename(top.join("images/mine"), top.join("images/was")).expect("writable");
    symlink(top.join("outside"), top.join("images/mine")).expect("writable");
    for real in &judged {
        let why = at(real, &work, &container).expect_err("a link leads out");
        assert!(why.contains("replaced by a link"), "{why}");
    }
}

/// A container that starts at once and never ends.
#[derive(Clone)]
struct AtOnce;

impl Containerizer for AtOnce {
    async fn launch(&self, _: &ContainerSpec) -> Result<Launched, LaunchError> {
        Ok(Launched { pid: 1, start_time: 1 })
    }

    async fn wait(&self, _: &ContainerId) -> Result<Ended, ContainerError> {
        pending().await
    }

    async fn recover(&self) -> Result<Vec<Recovered>, RecoverError> {
        unreachable!("nothing is recovered")
    }

    async fn terminate(&self, _: &ContainerId) -> Result<(), ContainerError> {
        unreachable!("nothing is ended")
    }

    async fn kill_all(&self, _: &ContainerId) -> Result<(), ContainerError> {
        unreachable!("nothing is ended")
    }

    async fn destroy(&self, _: &ContainerId) -> Result<(), ContainerError> {
        unreachable!("nothing is ended")
    }

    async fn usage(&self, _: &ContainerId) -> Result<Usage, ContainerError> {
        unreachable!("nothing is measured")
    }

    async fn resize(&self, _: &ContainerId, _: &Limits) -> Result<(), ContainerError> {
        unreachable!("nothing is resized")
    }

    async fn exec(&self, _: &ContainerId, _: &Check) -> Result<CheckEnd, ContainerError> {
        unreachable!("nothing is checked")
    }
}

fn launch(task: &str, rootfs: Option<Rootfs>) -> Launch {
    let framework = FrameworkId::new("F").expect("valid");
    let id = TaskId::new(task).expect("valid");
    let agent = AgentId::new("S1").expect("valid");
    let resources = "cpus:1; mem:64".parse().expect("valid");
    let command = Command::shell("true");
    let plain = TaskSpec::plain(id.clone(), framework.clone(), agent.clone(), resources, command);
    let spec = TaskSpec { rootfs, ..plain };
    Launch {
        container: ContainerId::new(task).expect("valid"),
        task: TaskKey { framework, task: id },
        spec,
        framework_user: "daemon".into(),
        agent,
        cores: None,
    }
}

/// The next container that was launched.
async fn launched(inputs: &mut mpsc::Receiver<Input>) -> String {
    match timeout(DEADLINE, inputs.recv()).await.expect("a launch ends in time") {
        Some(Input::Event(Event::Launched { container, .. })) => container.to_string(),
        other => panic!("not launched: {other:?}"),
    }
}

#[test]
fn tasks_that_wait_for_one_tar_take_neither_turns_nor_threads_from_others_and_it_is_unpacked_once() {
    // One thread for all that blocks.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().canonicalize().expect("there");
        let (images, work) = (top.join("images"), top.join("work"));
        fs::create_dir(&images).expect("writable");
        write_tar(&images.join("slow.tar"));
        let (inbox, mut inputs) = mpsc::channel(LAUNCHES_AT_ONCE);
        let mut launcher = Launcher::new(AtOnce, work.clone(), habits(vec![images.clone()], vec![]), inbox);
        let nothing_is_unpacked = unpacked::hold().await;
        for number in 0..=LAUNCHES_AT_ONCE {
            launcher.launch(launch(&format!("waits-{number}"), Some(rootfs(&images.join("slow.tar")))));
        }
        launcher.launch(launch("plain", None));
        assert_eq!(launched(&mut inputs).await, "plain");
        drop(nothing_is_unpacked);
        for _ in 0..=LAUNCHES_AT_ONCE {
            assert!(launched(&mut inputs).await.starts_with("waits-"));
        }
        assert_eq!(fs::read_dir(work.join("rootfs")).expect("there").count(), 1);
    });
}
