//! A cluster of real processes: a master, agents, and where asked for the service framework.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bourse_hostile::FragileDisk;
use bourse_proto::operator::Task;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::api::Api;
use crate::cli::Cli;
use crate::clock::Clock;
use crate::disks::SmallDisk;
use crate::hosts::Hosts;
use crate::leaks::Traces;
use crate::ledger::Ledger;
use crate::part::Part;
use crate::plan::{Plan, words};
use crate::process::{self, Process};
use crate::room::MemoryRoom;
use crate::wait::{PATIENCE, wait_for};
use crate::{binary, place};

/// Who has a token, and of which kind. The token itself is made of the name: nobody guesses it from outside, and a test
/// that finds it in the wrong place can tell whose it was.
const PRINCIPALS: [(&str, &str); 5] = [
    ("operator", "operator"),
    ("agent", "agent"),
    ("framework", "framework"),
    ("bystander", "framework"),
    ("stranger", "framework"),
];

/// How long what a cluster has left may take to go when it has stopped.
const GONE: Duration = Duration::from_secs(5);

/// A running cluster. Letting it go stops it, and proves that nothing of it is left.
pub struct Cluster {
    /// Where all of it listens.
    pub ip: Ipv4Addr,
    /// The master's API.
    pub api: Api,
    /// What tasks write, outside Bourse.
    pub ledger: Ledger,
    parts: BTreeMap<String, Part>,
    traces: Traces,
    logs: PathBuf,
    folder: PathBuf,
    small: BTreeMap<String, SmallDisk>,
    fragile: BTreeMap<String, FragileDisk>,
    clocks: BTreeMap<String, Clock>,
    /// Let go when the master has ended.
    master_memory: Option<MemoryRoom>,
    hosts: Option<Hosts>,
    /// Held so that it is removed last.
    _folder: TempDir,
}

impl Cluster {
    pub(crate) fn start(plan: Plan, hosts: Option<Hosts>) -> Cluster {
        let temporary =
            tempfile::Builder::new().prefix("bourse-test-").tempdir().expect("a folder can be made");
        let folder = temporary.path().canonicalize().expect("it was just made");
        // A task is another user, and comes by here on its way to the ledger.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let inner = folder.join("cluster");
        let shared = folder.join("shared");
        for path in [&inner, &shared, &folder.join("home")] {
            fs::create_dir(path).expect("the folder is new");
        }
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let logs = fresh_logs();
        write_tokens(&inner);
        let disk_at = |place: &str| inner.join(place);
        let small = plan.small.iter().map(|(place, mib, free)| {
            let disk = SmallDisk::new(&disk_at(place), *mib);
            free.iter().for_each(|kib| disk.leave(*kib));
            (place.clone(), disk)
        });
        let fragile =
            plan.fragile.iter().map(|(place, mib)| (place.clone(), FragileDisk::new(&disk_at(place), *mib)));

        let ip = hosts.as_ref().map_or_else(place::address, Hosts::master);
        let ports = place::ports(40);
        let mut cluster = Cluster {
            ip,
            api: Api::new(&format!("{ip}:5050"), &token("operator")),
            ledger: Ledger::new(&shared),
            parts: BTreeMap::new(),
            traces: Traces::new(
                folder.clone(),
                (1..=plan.agents).map(|n| inner.join(format!("agent-{n}"))).collect(),
                vec![(ip, None), (Ipv4Addr::LOCALHOST, Some(ports.clone()))],
            ),
            logs,
            small: small.collect(),
            fragile: fragile.collect(),
            clocks: BTreeMap::new(),
            master_memory: plan.master_memory.map(MemoryRoom::new),
            hosts,
            folder,
            _folder: temporary,
        };
        cluster.plan_parts(&plan, &inner, ports);
        cluster.place_parts(&plan);
        // A cluster that does not come up is stopped like one that did, by letting it go.
        cluster.parts.values_mut().for_each(Part::start);
        cluster.wait_ready(plan.agents, plan.services);
        cluster
    }

    fn plan_parts(&mut self, plan: &Plan, inner: &Path, ports: RangeInclusive<u16>) {
        let (ip, master) = (self.ip, self.master());
        // Their network is the test's alone, and no other machine is on it.
        let insecure = if self.hosts.is_some() { "--insecure" } else { "" };
        let text = |path: PathBuf| path.display().to_string();
        let part = |name: &str| {
            Part::new(name, binary::bourse(), &self.logs).variable("HOME", self.folder.join("home"))
        };

        let mut arguments = words(&format!("master --listen {master} {insecure}"));
        arguments.extend(["--work-dir".into(), text(inner.join("master"))]);
        arguments.extend(["--tokens".into(), text(inner.join("tokens.toml"))]);
        let mut parts = vec![part("master").arguments(arguments).arguments(plan.master.clone())];

        let each = ports.clone().count() / plan.agents.max(1);
        for n in 1..=plan.agents {
            let name = format!("agent-{n}");
            let first = usize::from(*ports.start()) + (n - 1) * each;
            let resources = format!("{}; ports:[{first}-{}]", plan.resources, first + each - 1);
            let (ip, master) = match &self.hosts {
                Some(hosts) => (hosts.agent(n).address(), hosts.master_for(&name)),
                None => (ip, master.clone()),
            };
            let mut arguments = words(&format!(
                "agent --master {master} --listen {ip}:{} --hostname {name} {insecure}",
                5050 + n
            ));
            arguments.extend(["--resources".into(), resources]);
            arguments.extend(["--work-dir".into(), text(inner.join(&name))]);
            arguments.extend(["--token-file".into(), text(inner.join("agent.token"))]);
            // Other agents of this machine, and the master, are none of its tasks' business.
            arguments.extend(["--hide".into(), text(inner.to_owned())]);
            // Gates and the ledger, outside of Bourse.
            arguments.extend(["--share".into(), text(self.shared())]);
            parts.push(part(&name).arguments(arguments).arguments(plan.agent.clone()));
        }
        if plan.services {
            let mut arguments = words(&format!("services --master {master} --listen {ip}:0 {insecure}"));
            arguments.extend(["--token-file".into(), text(inner.join("framework.token"))]);
            arguments.extend(["--state-dir".into(), text(inner.join("services"))]);
            parts.push(part("services").arguments(arguments));
        }
        self.parts = parts.into_iter().map(|part| (part.name().to_owned(), part)).collect();
    }

    /// Gives each part its host, its limits and its clock.
    fn place_parts(&mut self, plan: &Plan) {
        let mut parts = BTreeMap::new();
        for (name, mut part) in std::mem::take(&mut self.parts) {
            if let Some(hosts) = &self.hosts {
                part = part.through(hosts.of(&name).prefix());
            }
            if let Some(room) = self.master_memory.as_ref().filter(|_| name == "master") {
                part = part.through(room.prefix());
            }
            for (_, limits) in plan.limits.iter().filter(|(limited, _)| *limited == name) {
                part = part.limited(limits);
            }
            if plan.clocks && name != "services" {
                let clock = Clock::new(&self.folder, &name);
                for (variable, value) in clock.variables() {
                    part = part.variable(variable, value);
                }
                self.clocks.insert(name.clone(), clock);
            }
            parts.insert(name, part);
        }
        self.parts = parts;
    }

    /// Waits until all agents are active, and the service framework answers where there is one.
    ///
    /// # Panics
    /// When it takes too long.
    #[track_caller]
    pub fn wait_ready(&mut self, agents: usize, services: bool) {
        let parts = &mut self.parts;
        let api = &self.api;
        wait_for("the cluster to work together", PATIENCE, || {
            for part in parts.values_mut() {
                if let Some(status) = part.ended() {
                    panic!("{} ended by itself: {status}; {}", part.name(), part.tail());
                }
            }
            let found = api.agents().map_err(|status| status.message().to_owned())?;
            let active = found.iter().filter(|agent| agent.state == "active").count();
            if active != agents {
                return Err(format!("{active} of {agents} agents are active"));
            }
            if services {
                api.services().map_err(|status| format!("services: {}", status.message()))?;
            }
            Ok(())
        });
    }

    /// The master's address.
    pub fn master(&self) -> String {
        format!("{}:5050", self.ip)
    }

    /// The hosts, of a cluster that was [started on](Plan::start_on) a network.
    ///
    /// # Panics
    /// When it was not.
    pub fn hosts(&self) -> &Hosts {
        self.hosts.as_ref().expect("the cluster was started on a network")
    }

    /// Where somebody of this name reaches the master, and how he gets to his host: `load`.
    pub(crate) fn way_of(&self, name: &str) -> (String, Vec<OsString>) {
        match &self.hosts {
            Some(hosts) => (hosts.master_for(name), hosts.of(name).prefix()),
            None => (self.master(), Vec::new()),
        }
    }

    /// The disk that can be filled at this place.
    ///
    /// # Panics
    /// When the plan has none there.
    pub fn small_disk(&self, place: &str) -> &SmallDisk {
        self.small.get(place).unwrap_or_else(|| panic!("there is no small disk at {place}"))
    }

    /// The disk that can become read-only at this place.
    ///
    /// # Panics
    /// When the plan has none there.
    pub fn fragile_disk(&self, place: &str) -> &FragileDisk {
        self.fragile.get(place).unwrap_or_else(|| panic!("there is no fragile disk at {place}"))
    }

    /// The wall clock of a part.
    ///
    /// # Panics
    /// When it goes by the machine's.
    pub fn clock(&self, part: &str) -> &Clock {
        self.clocks.get(part).unwrap_or_else(|| panic!("{part} goes by the machine's clock"))
    }

    /// The command line of an operator.
    pub fn cli(&self) -> Cli {
        Cli {
            home: self.folder.join("home"),
            master: Some(self.master()),
            token_file: Some(self.token_file("operator")),
        }
    }

    /// The file with the token of a principal.
    pub fn token_file(&self, principal: &str) -> PathBuf {
        self.folder.join("cluster").join(format!("{principal}.token"))
    }

    /// Everything of the cluster that tasks must not see.
    pub fn secrets(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    /// A folder that everybody may write to, tasks too.
    pub fn shared(&self) -> PathBuf {
        self.folder.join("shared")
    }

    /// A new folder that everybody may write to.
    ///
    /// # Panics
    /// When there is one of that name.
    pub fn folder_for_everybody(&self, name: &str) -> PathBuf {
        let folder = self.shared().join(name);
        fs::create_dir(&folder).expect("a test's own folder is writable, and the name is new");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
        folder
    }

    /// Where this test's logs are.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// A part by its name: `master`, `agent-1` and so on, `services`.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn part(&mut self, name: &str) -> &mut Part {
        self.parts.get_mut(name).unwrap_or_else(|| panic!("there is no part {name}"))
    }

    /// Where to look for what the cluster could leave.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Kills a part as a power cut would, and starts it again at once.
    ///
    /// # Panics
    /// When it did not run.
    #[track_caller]
    pub fn kill9_and_start(&mut self, name: &str) {
        let part = self.part(name);
        part.kill9();
        part.start();
    }

    /// The main process of each task whose id begins so, by task id. They must run on: one that ends at its own time may
    /// be gone between the master's answer and the look at it.
    ///
    /// # Panics
    /// When the master names a process that there is not.
    #[track_caller]
    pub fn processes(&self, prefix: &str) -> BTreeMap<String, Process> {
        let running = self.api.running().expect("the master answers");
        let wanted = running.iter().filter(|task| task.id.starts_with(prefix));
        wanted.map(|task| (task.id.clone(), process_of(task))).collect()
    }

    /// Waits until a task is in a state.
    ///
    /// # Panics
    /// When it takes too long.
    #[track_caller]
    pub fn wait_state(&self, task: &str, state: &str) -> Task {
        wait_for(&format!("{task} to be {state}"), PATIENCE, || {
            let task = self.api.task(task).map_err(|status| status.message().to_owned())?;
            if task.state == state {
                Ok(task)
            } else {
                Err(format!("{} {} {}", task.state, task.reason, task.message))
            }
        })
    }

    /// What the frameworks, and then the tasks, of this cluster leave when they are over: nothing, while it still runs.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_no_container_is_left(&self) {
        wait_for("containers to be gone", GONE, || {
            let groups = self.traces.groups().into_iter().map(|path| path.display().to_string());
            let tasks = self.traces.tasks().into_iter().map(|pid| format!("process {pid}"));
            let left: Vec<String> = groups.chain(tasks).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        });
    }

    /// Descriptors of namespaces that agents hold, but for the one of users in which nobody is known: they keep that for all
    /// containers, and all others only while they make one.
    fn held_namespaces(&self) -> Vec<String> {
        let agents = self.parts.iter().filter(|(name, _)| name.starts_with("agent-"));
        let held = agents.filter_map(|(name, part)| Some((name, process::namespaces(part.pid()?))));
        let too_many =
            held.filter(|(_, held)| held.len() > 1 || held.iter().any(|one| !one.starts_with("user:")));
        too_many.map(|(name, held)| format!("{name} holds {}", held.join(", "))).collect()
    }

    fn stop(&mut self) {
        wait_for("agents to let go of all namespaces", GONE, || {
            let held = self.held_namespaces();
            if held.is_empty() { Ok(()) } else { Err(held.join("\n")) }
        });
        // Those who use others first, so that each can end what it does.
        for name in
            ["services"].into_iter().map(str::to_owned).chain(self.agent_names()).chain(["master".to_owned()])
        {
            if let Some(part) = self.parts.get_mut(&name)
                && part.pid().is_some()
                && part.ended().is_none()
            {
                let status = part.stop(Signal::SIGTERM);
                assert!(
                    status.success(),
                    "{name} ended with {status} when it was asked to stop; {}",
                    part.tail()
                );
            }
        }
        // What agents have made is named in their work directories, so disks that these are on go last.
        let own_disk = |trace: &String| trace.starts_with("mount ");
        wait_for("nothing to be left", GONE, || {
            let left: Vec<String> = self.traces.all().into_iter().filter(|trace| !own_disk(trace)).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
        self.unmount();
        wait_for("nothing to be left", GONE, || {
            let left = self.traces.all();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }

    fn unmount(&mut self) {
        self.small.clear();
        self.fragile.clear();
    }

    fn agent_names(&self) -> Vec<String> {
        self.parts.keys().filter(|name| name.starts_with("agent-")).cloned().collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for part in self.parts.values() {
                eprintln!("--- {}", part.tail());
            }
            self.parts.clear();
        } else {
            // What stopping finds wrong fails the test; what is left is removed all the same.
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.stop()));
            if let Err(failure) = stopped {
                self.parts.clear();
                self.traces.clean();
                self.unmount();
                std::panic::resume_unwind(failure);
            }
        }
        self.traces.clean();
        self.unmount();
    }
}

/// The main process of a task, which the master says runs.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn process_of(task: &Task) -> Process {
    Process::of(task.pid)
        .unwrap_or_else(|| panic!("{} is said to run as process {}, which is none", task.id, task.pid))
}

/// The token of a principal of every test's cluster.
pub fn token(principal: &str) -> String {
    format!("{principal}-of-a-test-and-of-no-real-cluster")
}

fn write_tokens(folder: &Path) {
    let write = |name: String, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    };
    let mut table = String::new();
    for (principal, kind) in PRINCIPALS {
        let token = token(principal);
        table +=
            &format!("[[token]]\nprincipal = \"{principal}\"\nkind = \"{kind}\"\ntoken = \"{token}\"\n\n");
        write(format!("{principal}.token"), token);
    }
    write("tokens.toml".to_owned(), table);
}

/// An empty folder for the logs of the test that calls.
pub fn fresh_logs() -> PathBuf {
    let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
    let logs = binary::logs().join(test);
    // It is there when the test ran before.
    let _ = fs::remove_dir_all(&logs);
    fs::create_dir_all(&logs).unwrap_or_else(|error| panic!("making {}: {error}", logs.display()));
    logs
}
