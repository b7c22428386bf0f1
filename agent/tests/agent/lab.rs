//! A folder, a master and an agent's process, and what tests do with them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bourse_client::{Connection, Settings, Target, Token, TokenSource};
use bourse_containerizer::failpoint::{self, Failpoint};
use bourse_proto::agent_link as link;
use bourse_proto::agent_link::{LogChunk, LogStream, ReadLogRequest, to_agent};
use bourse_proto::v1;
use bourse_types::{AgentId, Command, FrameworkId, FrameworkInfo, KillPolicy, Size, TaskId, TaskSpec};
use bourse_wire::Form;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prost::Message;
use tempfile::TempDir;
use tokio::process::{Child, Command as Process};
use tokio::time::timeout;
use tonic::Status;

use crate::delegated::{Delegated, USER};
use crate::master::Master;

/// Set for the process that is to be the agent: its arguments, one a line.
pub const ARGUMENTS: &str = "BOURSE_TEST_AGENT_ARGUMENTS";

/// Set with it: the file that names the step at which the agent's process dies. Without the file it goes on.
const DIES_AT: &str = "BOURSE_TEST_AGENT_DIES_AT";

/// Set with it: a file with the id of the machine's boot as this agent is to see it.
const BOOT_ID: &str = "BOURSE_TEST_AGENT_BOOT_ID";

/// Set with it for one that is not root: a file that is there once the process is in the control groups of its user.
const WAITS_FOR: &str = "BOURSE_TEST_AGENT_WAITS_FOR";

pub const FRAMEWORK: &str = "F";

/// Everything that a test waits for comes within this, or the test has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const TOKEN: &str = "a-token-of-the-lab-only";

/// What `bourse agent` does, in a process of its own.
pub fn be_the_agent(arguments: &str) {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        agent: bourse_agent::AgentArgs,
    }
    let parsed: Arguments = clap::Parser::parse_from(std::iter::once("agent").chain(arguments.lines()));
    if let Some(file) = std::env::var_os(WAITS_FOR) {
        while !Path::new(&file).exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    if let Some(file) = std::env::var_os(DIES_AT) {
        die_at(file.into());
    }
    if let Some(file) = std::env::var_os(BOOT_ID) {
        see_another_boot(Path::new(&file));
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("debug,h2=info").init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = runtime.block_on(async {
        let mut asked =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a handler");
        let config = parsed.agent.to_config()?;
        bourse_agent::run(config, None, async move {
            asked.recv().await;
        })
        .await
    });
    if let Err(error) = ended {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

/// As `kill -9` from outside, at the one moment that is wanted.
fn die_at(file: PathBuf) {
    failpoint::observe(move |step| {
        if std::fs::read_to_string(&file).is_ok_and(|named| named == format!("{step:?}")) {
            kill(Pid::this(), Signal::SIGKILL).expect("we may");
        }
    });
}

/// For this thread and those that it makes, which are all of the agent's.
fn see_another_boot(file: &Path) {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).expect("as root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("ours");
    mount(Some(file), "/proc/sys/kernel/random/boot_id", none, MsFlags::MS_BIND, none).expect("ours");
}

pub struct Lab {
    pub folder: TempDir,
    pub master: Master,
    /// What the agent is told to have.
    pub resources: String,
    /// What it is told to be.
    pub attributes: String,
    agent: Option<Child>,
    /// Absent: in the folder.
    work_dir: Option<PathBuf>,
    extra: Vec<String>,
    /// Those of the agent's user. Absent: it is root.
    groups: Option<Delegated>,
}

impl Lab {
    /// An agent that is registered, with more arguments than the usual ones.
    pub async fn with(extra: &[&str]) -> Lab {
        Lab::at(None, extra).await
    }

    /// The same, with a work directory somewhere else.
    pub async fn at(work_dir: Option<PathBuf>, extra: &[&str]) -> Lab {
        let mut lab = Lab::set_up(work_dir, extra).await;
        lab.start().await;
        lab
    }

    /// An agent that is registered, of a user who is not root and has control groups of his own.
    pub async fn rootless() -> Lab {
        let mut lab = Lab::set_up(None, &[]).await;
        for path in [lab.folder.path().to_owned(), lab.folder.path().join("token")] {
            chown(path, Some(USER), Some(USER)).expect("as root");
        }
        let folder = lab.folder.path().file_name().expect("it has a name").to_string_lossy();
        lab.groups = Some(Delegated::make(&format!("test-rootless-{}", folder.trim_start_matches('.'))));
        lab.start().await;
        lab
    }

    async fn set_up(work_dir: Option<PathBuf>, extra: &[&str]) -> Lab {
        assert!(nix::unistd::Uid::effective().is_root(), "these tests isolate tasks: run them as root");
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("token"), TOKEN).expect("written");
        let master = Master::start(TOKEN).await;
        let extra = extra.iter().map(|word| word.to_string()).collect();
        let (resources, attributes) = ("cpus:4; mem:1024".to_owned(), "rack:a".to_owned());
        Lab { folder, master, resources, attributes, agent: None, work_dir, extra, groups: None }
    }

    pub async fn new() -> Lab {
        Lab::with(&[]).await
    }

    pub fn work_dir(&self) -> PathBuf {
        let usual = || self.folder.path().canonicalize().expect("there").join("work");
        self.work_dir.clone().unwrap_or_else(usual)
    }

    pub fn sandbox(&self, task: &str) -> PathBuf {
        self.work_dir().join("slaves/m-S0/frameworks/F/executors").join(task).join("runs/latest")
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().and_then(Child::id).expect("the agent runs")
    }

    /// Starts the agent's process and waits for its registration.
    pub async fn start(&mut self) {
        let before = self.master.registrations().len();
        self.agent = Some(self.spawn());
        self.until("the agent registers", |master| master.registrations().len() > before).await;
    }

    /// Starts one more process with the same arguments.
    pub fn spawn(&self) -> Child {
        let mut arguments: Vec<String> = vec![
            format!("--master={}", self.master.address),
            "--listen=127.0.0.1:0".into(),
            "--hostname=lab".into(),
            format!("--work-dir={}", self.work_dir().display()),
            format!("--token-file={}", self.folder.path().join("token").display()),
            format!("--resources={}", self.resources),
            format!("--attributes={}", self.attributes),
            "--reconnect-wait=100ms".into(),
        ];
        arguments.extend(self.extra.iter().cloned());
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("agent.log"));
        let tests = std::env::current_exe().expect("this binary");
        // Opened before, as the user may not pass the way to it.
        let opened = File::open(&tests).expect("it is there");
        let mut process = match &self.groups {
            // With few open files, as services are started.
            None => {
                let mut shell = Process::new("/bin/sh");
                shell.args(["-c", "ulimit -S -n 512 && exec \"$0\" \"$@\""]).arg(&tests);
                shell
            }
            Some(_) => {
                let mut process = Process::new(format!("/proc/self/fd/{}", opened.as_raw_fd()));
                process.uid(USER).gid(USER).current_dir("/").env(WAITS_FOR, self.waits_for());
                process
            }
        };
        // Of the agent before.
        let _ = std::fs::remove_file(self.waits_for());
        let agent = process
            .args(["--exact", "the_process_of_an_agent", "--nocapture", "--test-threads=1"])
            .env(ARGUMENTS, arguments.join("\n"))
            .env("SECRET_OF_THE_AGENT", "not for tasks")
            .env(DIES_AT, self.folder.path().join("dies-at"))
            .envs(self.boot_id().map(|file| (BOOT_ID, file)))
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn()
            .expect("started");
        if let Some(groups) = &self.groups {
            groups.take_in(agent.id().expect("it runs"));
            std::fs::write(self.waits_for(), "").expect("written");
        }
        agent
    }

    fn waits_for(&self) -> PathBuf {
        self.folder.path().join("is-in-its-groups")
    }

    /// An agent that is at this step from now on, whether it runs already or is started later, is killed there.
    pub fn dies_at(&self, step: Failpoint) {
        // In one piece, as it is read at any moment.
        let (file, fresh) = (self.folder.path().join("dies-at"), self.folder.path().join("dies-at.new"));
        std::fs::write(&fresh, format!("{step:?}")).expect("written");
        std::fs::rename(fresh, file).expect("written");
    }

    /// Agents that are started from now on are killed at no step.
    fn dies_no_more(&self) {
        std::fs::remove_file(self.folder.path().join("dies-at")).expect("it was to die");
    }

    /// Waits until the agent has died at the step that was named.
    pub async fn until_dead(&mut self, step: Failpoint) {
        let mut agent = self.agent.take().expect("the agent runs");
        let ended = timeout(DEADLINE, agent.wait()).await;
        let Ok(status) = ended else { panic!("{step:?} is not reached; the log:\n{}", self.agent_log()) };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status.expect("its status"));
        assert_eq!(signal, Some(Signal::SIGKILL as i32), "at {step:?}; the log:\n{}", self.agent_log());
        // What it has said until then is heard.
        self.until("the link is down", |master| master.links() == 0).await;
        self.dies_no_more();
    }

    /// Starts an agent that does not come as far as to register: it dies at that step.
    pub async fn start_and_die(&mut self, step: Failpoint) {
        self.dies_at(step);
        self.agent = Some(self.spawn());
        self.until_dead(step).await;
    }

    /// Whether the agent's process has ended.
    pub fn is_dead(&mut self) -> bool {
        let agent = self.agent.as_mut().expect("it was started");
        agent.try_wait().expect("its status").is_some()
    }

    /// Agents that are started from now on see the machine as started again.
    pub fn machine_restarts(&self) {
        std::fs::write(self.folder.path().join("boot-id"), "00000000-0000-4000-8000-000000000001\n")
            .expect("written");
    }

    fn boot_id(&self) -> Option<PathBuf> {
        Some(self.folder.path().join("boot-id")).filter(|file| file.exists())
    }

    /// `kill -9` of the agent, and nothing else.
    pub async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        agent.kill().await.expect("killed");
    }

    /// SIGTERM to the agent; comes back when it has ended, with whether it says that all is well.
    pub async fn stop_agent(&mut self) -> bool {
        let mut agent = self.agent.take().expect("the agent runs");
        let pid = Pid::from_raw(agent.id().expect("it runs") as i32);
        kill(pid, Signal::SIGTERM).expect("there");
        timeout(DEADLINE, agent.wait()).await.expect("it ends in time").expect("its status").success()
    }

    /// Waits until the agent has ended by itself; whether it says that all is well.
    pub async fn end_of_agent(&mut self) -> bool {
        let mut agent = self.agent.take().expect("the agent runs");
        timeout(DEADLINE, agent.wait()).await.expect("it ends in time").expect("its status").success()
    }

    /// Kills every task and ends the agent, then looks for what was left.
    pub async fn clean(mut self) {
        if self.agent.is_none() {
            self.start().await;
        }
        self.master.say(to_agent::Message::ShutdownFramework(link::ShutdownFramework {
            framework_id: FRAMEWORK.into(),
        }));
        self.until_no_container_is_left().await;
        assert!(self.stop_agent().await, "{}", self.agent_log());
        self.assert_nothing_left();
        if let Some(groups) = &self.groups {
            wait_for("nothing is left in the groups of the agent's user", || groups.are_removed()).await;
        }
    }

    /// Waits until nothing is written down about any container.
    pub async fn until_no_container_is_left(&self) {
        let run = self.work_dir().join("run");
        wait_for("every container is removed", || containers_in(&run).is_empty()).await;
    }

    /// No mount, control group or process of this lab's tasks.
    pub fn assert_nothing_left(&self) {
        let ids: Vec<String> = self.master.heard().iter().filter_map(container_of).collect();
        let groups = groups_named(Path::new("/sys/fs/cgroup"), &ids);
        assert!(groups.is_empty(), "control groups are left: {groups:?}");
        let work = self.work_dir().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&work)).collect();
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
        let processes = processes_with(&work);
        assert!(processes.is_empty(), "processes are left: {processes:?}");
    }

    /// The most memory that the kernel lets a task have, in bytes.
    pub fn memory_limit(&self, task: &str) -> u64 {
        let container = |status: v1::TaskStatus| status.container_status?.container_id?.value;
        let id = self.master.statuses(task).into_iter().find_map(container).expect("it has a container");
        let groups = groups_named(Path::new("/sys/fs/cgroup"), &[id]);
        let mut files = groups.iter().flat_map(|group| {
            ["memory.limit_in_bytes", "memory.max"].map(|name| group.join("task").join(name))
        });
        let limit = files.find_map(|file| std::fs::read_to_string(file).ok());
        limit.expect("a control group of its memory").trim().parse().expect("a number of bytes")
    }

    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }

    pub fn run(&self, spec: &TaskSpec) {
        self.run_for(&framework(), spec);
    }

    pub fn run_for(&self, framework: &FrameworkInfo, spec: &TaskSpec) {
        let form = bourse_wire::task::write(spec, Form::Refined);
        self.master.say(to_agent::Message::RunTask(link::RunTask {
            framework: Some(bourse_wire::framework::write(framework)),
            role: spec.role.to_string(),
            resources: form.resources.clone(),
            task_info: form.encode_to_vec().into(),
        }));
    }

    /// A task that this agent cannot run, and so makes no container for, with this much to carry.
    pub fn run_refused(&self, task: &str, data: &[u8]) {
        let form = v1::TaskInfo {
            executor: Some(Default::default()),
            data: Some(data.to_vec().into()),
            ..bourse_wire::task::write(&shell(task, "true"), Form::Refined)
        };
        self.master.say(to_agent::Message::RunTask(link::RunTask {
            framework: Some(bourse_wire::framework::write(&framework())),
            role: "*".into(),
            resources: form.resources.clone(),
            task_info: form.encode_to_vec().into(),
        }));
    }

    pub fn resize_task(&self, task: &str, size: &Size) {
        self.master.say(to_agent::Message::ResizeTask(link::ResizeTask {
            framework_id: FRAMEWORK.into(),
            task_id: task.into(),
            size: Some(bourse_wire::size::write(size, Form::Refined)),
        }));
    }

    pub fn kill_task(&self, task: &str, grace: Option<Duration>) {
        let kill_policy = bourse_wire::health::write_kill_policy(KillPolicy { grace });
        self.master.say(to_agent::Message::KillTask(link::KillTask {
            framework_id: FRAMEWORK.into(),
            task_id: task.into(),
            kill_policy,
            reason: String::new(),
        }));
    }

    /// Waits until the master has heard enough.
    pub async fn until(&self, what: &str, enough: impl Fn(&Master) -> bool) {
        let mut changes = self.master.changes();
        let heard = timeout(DEADLINE, async {
            while !enough(&self.master) {
                changes.changed().await.expect("the master lives as long as the lab");
            }
        });
        if heard.await.is_err() {
            panic!("{what}: not within {DEADLINE:?}; the agent's log:\n{}", self.agent_log());
        }
    }

    pub async fn until_state(&self, task: &str, state: v1::TaskState) -> v1::TaskStatus {
        let found =
            |master: &Master| master.statuses(task).into_iter().find(|status| status.state() == state);
        self.until(&format!("{task} is {state:?}"), |master| found(master).is_some()).await;
        found(&self.master).expect("just seen")
    }

    /// Waits for the task to run, and gives the pid of its first process.
    pub async fn until_running(&self, task: &str) -> i32 {
        let status = self.until_state(task, v1::TaskState::TaskRunning).await;
        let pid = status.container_status.and_then(|container| container.executor_pid).expect("a pid");
        pid as i32
    }

    /// A connection to the agent's own API.
    pub async fn api(&self, token: &str) -> Connection {
        let address = self.master.registrations().last().expect("registered").address.clone();
        let target = Target::parse(&address, 5051).expect("an address");
        let token = TokenSource::Text(Token::new(token).expect("a token"));
        Connection::open(&Settings::agent(target).with_token(token)).await.expect("it answers")
    }

    pub fn log_request(&self, task: &str, stream: LogStream, offset: i64, follow: bool) -> ReadLogRequest {
        ReadLogRequest {
            framework_id: FRAMEWORK.into(),
            task_id: task.into(),
            stream: stream.into(),
            offset,
            follow,
        }
    }

    /// Reads a log to the end of the stream.
    pub async fn log(
        &self,
        task: &str,
        stream: LogStream,
        offset: i64,
        follow: bool,
    ) -> Result<Vec<LogChunk>, Status> {
        let request = self.log_request(task, stream, offset, follow);
        let mut chunks = Vec::new();
        let mut answer = self.api(TOKEN).await.agent_api().read_log(request).await?.into_inner();
        let read = async {
            while let Some(chunk) = answer.message().await? {
                chunks.push(chunk);
            }
            Ok(chunks)
        };
        timeout(DEADLINE, read).await.expect("the log ends in time")
    }

    pub async fn stdout(&self, task: &str) -> String {
        text(&self.log(task, LogStream::Stdout, 0, true).await.expect("a log"))
    }
}

pub fn text(chunks: &[LogChunk]) -> String {
    let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect();
    String::from_utf8(bytes).expect("the task writes text")
}

/// Root runs these tests, and its tasks run as nobody unless they name somebody.
pub fn framework() -> FrameworkInfo {
    let mut info = FrameworkInfo::new("lab");
    info.id = Some(FrameworkId::new(FRAMEWORK).expect("valid"));
    info.user = "nobody".into();
    info.checkpoint = true;
    info.capabilities.task_killing = true;
    info.capabilities.partition_aware = true;
    info
}

pub fn shell(task: &str, line: &str) -> TaskSpec {
    TaskSpec::plain(
        TaskId::new(task).expect("valid"),
        FrameworkId::new(FRAMEWORK).expect("valid"),
        AgentId::new("m-S0").expect("valid"),
        "cpus:0.1; mem:32".parse().expect("valid"),
        Command::shell(line),
    )
}

/// Asks again and again until it holds.
pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let asked = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, asked).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

pub fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// What names a process for good: when it started.
pub fn start_time(pid: i32) -> String {
    stat(pid, 22)
}

/// The process whose child this is.
pub fn parent_of(pid: i32) -> i32 {
    stat(pid, 4).parse().expect("a number")
}

/// A field as proc_pid_stat(5) counts them, from the third on.
fn stat(pid: i32, field: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after_name = stat.rsplit_once(')').expect("a stat line").1;
    after_name.split_whitespace().nth(field - 3).expect("it has the field").to_owned()
}

fn container_of(message: &link::from_agent::Message) -> Option<String> {
    let link::from_agent::Message::Update(update) = message else { return None };
    update.status.as_ref()?.container_status.as_ref()?.container_id.as_ref()?.value.clone()
}

/// What the containerizer still writes about.
fn containers_in(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(run) else { return vec![] };
    // The ids of this agent's containers are uuids.
    let is_container =
        |path: &PathBuf| path.is_dir() && path.file_name().is_some_and(|name| name.len() == 36);
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_container).collect()
}

fn groups_named(folder: &Path, ids: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir() && !path.is_symlink())
    {
        if path
            .file_name()
            .is_some_and(|name| ids.iter().any(|id| name.to_string_lossy().contains(id.as_str())))
        {
            found.push(path.clone());
        }
        found.extend(groups_named(&path, ids));
    }
    found
}

/// Processes whose environment or command line names this folder. The test's own does not.
fn processes_with(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("readable").filter_map(|entry| Some(entry.ok()?.path()));
    let names = |path: &Path| {
        ["environ", "cmdline"].iter().any(|file| {
            std::fs::read(path.join(file)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(folder))
        })
    };
    let is_process = |path: &PathBuf| {
        let pid = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        pid.is_some_and(|pid| pid != std::process::id())
    };
    let comm = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let found = entries.filter(is_process).filter(|path| names(path));
    found.map(|path| format!("{}: {}", path.display(), comm(&path).trim())).collect()
}
