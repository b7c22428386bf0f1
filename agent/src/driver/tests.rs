use super::*;
use std::fs;
use std::path::Path;

use bourse_agent_core::{Assignment, LinkId, Signal, Start, State, TaskKey, Work};
use bourse_client::Target;
use bourse_containerizer::{Config as ContainerConfig, Filters, Isolation, LinuxContainerizer};
use bourse_hostile::FragileDisk;
use bourse_types::{
    Address, AgentId, AgentInfo, Attributes, ContainerId, Epoch, FrameworkId, FrameworkInfo, HealthCheck,
    HealthKind, MasterId, Resources, Role, TaskId,
};
use bytes::Bytes;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::launcher::{Habits, Mountable};

fn driver(folder: &Path) -> Driver<LinuxContainerizer> {
    let (back, inbox) = mpsc::channel(INBOX_MAX);
    let (checkpoint, state) = Checkpoint::open(folder).expect("there is room");
    let config = bourse_agent_core::Config::new(AgentInfo {
        hostname: "host".into(),
        address: Address { host: "127.0.0.1".into(), port: 1 },
        attributes: Attributes::default(),
        total: Resources::new(),
        version: "0".into(),
    });
    let clock = Clock::new();
    let start = Start { config, boot: "b".into(), incarnation: 1, state, found: vec![] };
    let habits = Habits {
        isolation: Isolation::Process,
        hostname: "host".into(),
        filters: Filters::default(),
        allow_root: false,
        enforce_disk: true,
        pids_limit: 1,
        logs: bourse_containerizer::LogLimits::NONE,
        show: vec![],
        mountable: Mountable::default(),
        roots: vec![],
        hide: vec![],
        endpoint: String::new(),
    };
    // No task is launched here.
    let containers = ContainerConfig {
        runtime_dir: folder.join("run"),
        instance: "a1".into(),
        users: Default::default(),
        last_users: folder.join("last-users"),
    };
    let containers = LinuxContainerizer::open(&containers).expect("there is room");
    let mut first = Vec::new();
    let mut driver = Driver {
        agent: Agent::start(start, clock.now(), &mut first),
        clock,
        checkpoint,
        inbox,
        back: back.clone(),
        // Nothing listens there.
        master: Settings::master(Target::loopback(1)),
        launcher: Launcher::new(containers, folder.to_owned(), habits, back),
        views: watch::Sender::new(Arc::new(View::default())),
        kill_on_stop: None,
        link: None,
        master_away: false,
        held: vec![],
        disk_full: false,
    };
    driver.let_out(first).expect("there is room");
    driver
}

struct SmallDisk(tempfile::TempDir);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

impl Driver<LinuxContainerizer> {
    fn take(&mut self, event: Event) {
        let effects = self.apply(&mut [Input::Event(event)].into_iter());
        self.let_out(effects).expect("a full disk is no end");
    }

    fn hear(&mut self, message: FromMaster) {
        self.take(Event::FromMaster { link: LinkId(1), epoch: Epoch(1), message });
    }

    fn register(&mut self) {
        self.take(Event::Tick);
        self.take(Event::LinkOpened { link: LinkId(1) });
        self.hear(FromMaster::Registered {
            agent: AgentId::new("S1").expect("valid"),
            master: MasterId::new("M").expect("valid"),
            heartbeat: Duration::from_secs(1000),
            known: vec![],
            reconnect: None,
        });
    }
}

fn small_disk() -> SmallDisk {
    let folder = tempfile::tempdir().expect("a folder");
    mount(Some("small"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=6m"))
        .expect("these tests run as root");
    SmallDisk(folder)
}

#[tokio::test]
async fn checks_and_kills_do_not_wait_for_room_on_a_disk_that_is_full_to_the_last_byte() {
    let disk = small_disk();
    let mut driver = driver(disk.0.path());
    fs::write(disk.0.path().join("hog"), vec![0; 8 << 20]).expect_err("it does not fit");
    let record = Record::FrameworkForgotten { framework: FrameworkId::new("x".repeat(200)).expect("valid") };
    let full = loop {
        if let Err(error) = driver.checkpoint.append([&record]) {
            break error;
        }
    };
    assert!(full.is_blocked());
    let container = ContainerId::new("c1").expect("valid");
    // Nothing listens there.
    let check = Box::new(HealthCheck::new(HealthKind::Tcp { port: 1 }));
    let decided = vec![
        Effect::Checkpoint(record),
        Effect::Destroy { container: container.clone() },
        Effect::Probe { container: container.clone(), round: 1, check },
        Effect::Signal { container: container.clone(), signal: Signal::Term },
        Effect::KillAll { container },
    ];
    driver.let_out(decided.clone()).expect("a full disk is no end");
    assert_eq!(driver.held, decided[..2]);
    let mut answer = driver.inbox.recv().await;
    while !matches!(answer, Some(Input::Event(Event::Probed { round: 1, .. }))) {
        answer = driver.inbox.recv().await;
    }
}

#[tokio::test]
async fn on_a_disk_that_became_read_only_no_task_is_accepted_and_what_must_be_written_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = FragileDisk::new(&folder.path().join("disk"), 32);
    let mut driver = driver(disk.path());
    driver.register();
    disk.break_it();
    let key = |task: &str| TaskKey {
        framework: FrameworkId::new("F").expect("valid"),
        task: TaskId::new(task).expect("valid"),
    };
    // On a good disk even this is written down.
    let work = Work::Refuse("there are no such tasks".to_owned());
    let (role, resources, message) = (Role::any(), Resources::new(), Bytes::new());
    let assignment = Assignment { key: key("t1"), role, resources, message, work };
    let framework = Box::new(FrameworkInfo::new("f"));
    driver.hear(FromMaster::Run { framework, assignment: Box::new(assignment) });
    let refused = driver.held.len();
    assert!(driver.disk_full && refused > 0, "that it is refused is told when it can be written down");
    assert!(driver.agent.state().tasks.is_empty(), "{:?}", driver.agent.state().tasks);

    // A kill of a task that is not here makes it one that must never run.
    driver.hear(FromMaster::Kill { task: key("t2"), policy: None, reason: None });
    let waits = driver.held.len();
    assert!(waits > refused, "it was said and not written");
    // As every second.
    driver.checkpoint.make_room();
    driver.hear(FromMaster::HeartbeatAck);
    assert!(driver.disk_full && driver.held.len() == waits, "{:?}", driver.held);
}

#[tokio::test]
async fn what_finds_no_room_on_a_full_disk_waits_and_is_all_there_once_there_is_room() {
    let disk = small_disk();
    let folder = disk.0.path();
    let mut driver = driver(folder);
    driver.register();
    // Somebody takes all the rest.
    let hog = folder.join("hog");
    fs::write(&hog, vec![0; 8 << 20]).expect_err("it does not fit");
    let long = "x".repeat(200);
    let mut killed = 0;
    while driver.held.is_empty() {
        let task = TaskId::new(format!("{long}{killed}")).expect("valid");
        let task = TaskKey { framework: FrameworkId::new("F").expect("valid"), task };
        driver.hear(FromMaster::Kill { task, policy: None, reason: None });
        killed += 1;
    }
    assert!(killed > 10_000, "there was room for {killed}");
    assert!(driver.checkpoint.is_full());
    driver.hear(FromMaster::HeartbeatAck);
    assert!(!driver.held.is_empty());

    fs::remove_file(&hog).expect("there");
    driver.checkpoint.make_room();
    driver.hear(FromMaster::HeartbeatAck);
    assert!(driver.held.is_empty());
    let state: State = driver.agent.state().clone();
    drop(driver);
    let (_, read) = Checkpoint::open(folder).expect("readable");
    assert!(read == state, "all of it was written");
}
