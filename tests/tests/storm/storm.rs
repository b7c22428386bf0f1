//! One storm: strikes as they are drawn, parts that are started again, and the audit in the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, mem};

use bourse_proto::operator::ReactivateAgentRequest;
use bourse_tests::cluster::token;
use bourse_tests::net::{Host, Switch};
use bourse_tests::proxy::Weather;
use bourse_tests::{Cluster, Ledger, Load, Part, Plan, Reader, wait_for};
use nix::sys::signal::Signal;

use crate::nemesis::{self, AGENTS, Act, FILLED, REGISTRY, Strike};
use crate::operator;

const LOAD: &str = env!("CARGO_BIN_EXE_bourse-test-load");

/// How often strikes and parts are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Who ended as its disk did not let it go on is started again after this.
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// The status of such an end.
const DISK: i32 = 74;

/// After a disk is well again, who has tried before may still end for it.
const DISK_LATE: Duration = Duration::from_secs(10);

/// Until all is well again: who was cut off may wait for a minute before he tries again.
const HEALED: Duration = Duration::from_secs(180);

/// Until every end was told: a framework asks for what it was not told after five minutes at the latest.
const TOLD: Duration = Duration::from_secs(400);

/// What a master of so few agents may have in memory after all this, in MiB.
const MASTER_MIB: u64 = 150;

/// Instances of the service.
const INSTANCES: u32 = 4;

/// A cluster in a storm.
struct Storm {
    cluster: Cluster,
    loads: Vec<Load>,
    fragile: bool,
    /// When who is down is to be started again.
    down: BTreeMap<String, Instant>,
    /// Who is stopped, by the process id that was.
    frozen: BTreeMap<String, u32>,
    /// Disks that take nothing now.
    blocked: Vec<&'static str>,
    /// When a disk of a part was last known to take nothing.
    blocked_at: BTreeMap<&'static str, Instant>,
    calls: Vec<Child>,
    history_was_full: bool,
}

/// Runs a storm, and looks at what came of it.
pub fn run(switch: &Switch, seed: u64, length: Duration) {
    let fragile = nemesis::is_registry_fragile(seed);
    let strikes = nemesis::draw(seed, length);
    let cluster = start(switch, fragile);
    let service_ledger = Ledger::new(&cluster.folder_for_everybody("service"));
    let service = {
        let command = service_ledger.open("sleep 100000");
        move |version: u32| service(&command, version)
    };
    cluster.api.deploy(&service(1)).expect("it is a good file");
    let loads = ["load-1", "load-2"].map(|name| {
        let ledger = Ledger::new(&cluster.folder_for_everybody(&format!("{name}-ledger")));
        Load::named(&cluster, Path::new(LOAD), name, ledger)
    });
    loads.iter().for_each(|load| load.wait_ended(4));
    let through = cluster.hosts().proxy("load").expect("it has one").address().to_string();
    let readers = [cluster.master(), through].map(|master| Reader::start(&master, &token("operator")));
    let operator = operator::operate(cluster.master(), seed, service.clone());
    let ports = (0..=AGENTS).map(|n| port(&cluster, n)).collect();
    let crowd = operator::crowd(ports);

    let mut storm = Storm {
        cluster,
        loads: loads.into(),
        fragile,
        down: BTreeMap::new(),
        frozen: BTreeMap::new(),
        blocked: Vec::new(),
        blocked_at: BTreeMap::new(),
        calls: Vec::new(),
        history_was_full: false,
    };
    storm.rage(strikes, length);
    println!("the storm is over");
    storm.heal();
    let written = operator.stop();
    crowd.stop();

    let Storm { mut cluster, mut loads, history_was_full, .. } = storm;
    for agent in 1..=AGENTS {
        let request = ReactivateAgentRequest { agent: format!("agent-{agent}") };
        // It is an error for one that is not drained.
        let _ = cluster.api.wait(cluster.api.operator().reactivate_agent(request));
    }
    wait_ready(&cluster);
    wait_for("the service to be deployed", HEALED, || {
        cluster.api.deploy(&service(1_000_000)).map_err(|status| status.message().to_owned())?;
        Ok::<(), String>(())
    });
    wait_for("the service to settle", HEALED, || cluster.api.settled("stormy", INSTANCES));
    assert_eq!(cluster.processes("stormy").len(), INSTANCES as usize, "each instance is there once");
    loads.iter_mut().for_each(|load| load.tear_down(&cluster, TOLD));
    cluster.cli().ok(["service", "remove", "stormy"]);
    wait_for("containers to be gone", HEALED, || {
        let left = cluster.traces().groups();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });

    let ran = service_ledger.read();
    let twice: Vec<_> = ran.iter().filter(|(_, entry)| entry.starts != 1).collect();
    assert!(twice.is_empty(), "instances that were not started once: {twice:?}");
    for load in loads {
        let sum = load.audit();
        println!("{sum:?}");
        assert!(sum.ran > 10, "{sum:?}: next to nothing ran in this storm");
    }
    written.assert_kept(&cluster.api);
    for reader in &readers {
        println!("{:?}", reader.counts());
        reader.assert_honest(&cluster.api, !history_was_full);
    }
    for epoch in cluster.recorded_epochs() {
        println!("epoch {epoch}: {}", cluster.replay(epoch).trim_end());
    }
    let mib = resident_mib(cluster.part("master").pid().expect("it runs"));
    assert!(mib < MASTER_MIB, "the master has {mib} MiB in memory");
    drop(readers);
}

fn start(switch: &Switch, fragile: bool) -> Cluster {
    // The registry's small disk has less than RocksDB takes for a log ahead of need, so that it finds at once that there is no
    // room; the others hold what an hour leaves there.
    let plan = Plan::agents(AGENTS).services();
    let plan = if fragile { plan.fragile_disk(REGISTRY, 64) } else { plan.small_disk(REGISTRY, 4) };
    let plan = plan.small_disk("master/history", 48).small_disk("agent-2", 192).small_disk("services", 4);
    let plan = plan.limited("master", "--nofile=512").clocks().master_memory(400);
    let plan = (1..=AGENTS).fold(plan, |plan, n| plan.limited(&format!("agent-{n}"), "--nofile=256"));
    // An hour of it would not fit on its disk.
    plan.master("--history-max-bytes 8MiB").start_on(switch)
}

fn service(command: &str, version: u32) -> String {
    format!(
        "name = \"stormy\"\ncommand = '''VERSION={version}; {command}'''\ncount = {INSTANCES}\nkill_grace = \"1s\"\n\
         replace_unreachable_after = \"2s\"\n[resources]\ncpus = 0.05\nmem = \"32MiB\"\n[restart]\nstart = \"200ms\"\n"
    )
}

/// The master's port for 0, else that of an agent.
fn port(cluster: &Cluster, n: usize) -> SocketAddr {
    match n {
        0 => SocketAddr::new(cluster.ip.into(), 5050),
        n => SocketAddr::new(cluster.hosts().agent(n).address().into(), 5050 + n as u16),
    }
}

#[track_caller]
fn wait_ready(cluster: &Cluster) {
    wait_for("the cluster to work together again", HEALED, || {
        let agents = cluster.api.agents().map_err(|status| status.message().to_owned())?;
        let states: Vec<&str> = agents.iter().map(|agent| agent.state.as_str()).collect();
        cluster.api.services().map_err(|status| status.message().to_owned())?;
        if states == ["active"; AGENTS] { Ok(()) } else { Err(format!("{states:?}")) }
    });
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5) has it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}

/// Whose end a disk excuses.
fn user_of(place: &str) -> &'static str {
    match place {
        "services" => "services",
        "agent-2" => "agent-2",
        _ => "master",
    }
}

impl Storm {
    /// All strikes, each at its time and over at its time.
    fn rage(&mut self, strikes: Vec<Strike>, length: Duration) {
        let begun = Instant::now();
        let mut coming = strikes.into_iter().peekable();
        let mut under_way: Vec<Strike> = Vec::new();
        while begun.elapsed() < length || !under_way.is_empty() {
            let now = begun.elapsed();
            while let Some(strike) = coming.next_if(|strike| strike.at <= now && strike.at < length) {
                println!("{strike}");
                self.strike(&strike);
                under_way.push(strike);
            }
            let is_over = |strike: &Strike| now >= strike.at + strike.lasts;
            let (over, on): (Vec<Strike>, Vec<Strike>) = under_way.into_iter().partition(is_over);
            under_way = on;
            over.iter().for_each(|strike| self.end(strike));
            self.supervise();
            sleep(LOOK);
        }
    }

    fn strike(&mut self, strike: &Strike) {
        match &strike.act {
            Act::Kill(name) => {
                let ended = self.part(name).kill9_or_ended();
                if let Some(status) = ended {
                    self.judge(name, status);
                }
                self.frozen.remove(*name);
                let again = Instant::now() + strike.lasts;
                self.down.entry((*name).to_owned()).or_insert(again);
            }
            Act::Freeze(name) => {
                let part = self.part(name);
                // One that has just ended hears nothing of it.
                if let Some(pid) = part.pid() {
                    part.signal(Signal::SIGSTOP);
                    self.frozen.insert((*name).to_owned(), pid);
                }
            }
            Act::Cut(name) => self.host(name).cut(),
            Act::Mute(name) => self.host(name).cut_towards(self.cluster.ip),
            Act::Deafen(name) => self.cluster.hosts().masters().cut_towards(self.host(name).address()),
            Act::CutHalf => self.half().iter().for_each(|host| host.cut()),
            Act::MasterAlone => self.cluster.hosts().masters().cut(),
            Act::Weather(name, weather) => self.set(name, weather.clone()),
            Act::Slow(name, kbit) => self.host(name).slow(Some(*kbit)),
            Act::Full(place) => {
                self.history_was_full |= *place == FILLED[0];
                self.cluster.small_disk(place).fill();
                self.blocked.push(*place);
            }
            Act::ReadOnly => {
                // A repeat while it is broken changes nothing.
                if !self.blocked.contains(&REGISTRY) {
                    self.cluster.fragile_disk(REGISTRY).break_it();
                }
                self.blocked.push(REGISTRY);
            }
            Act::Jump(name, seconds) => self.cluster.clock(name).jump(*seconds),
            Act::Call(words) => {
                let mut command = self.cluster.cli().command(words.split(' '));
                command.stdout(Stdio::null()).stderr(Stdio::null());
                self.calls.push(command.spawn().expect("the binary is there"));
            }
        }
    }

    /// A strike is over.
    fn end(&mut self, strike: &Strike) {
        match &strike.act {
            // The supervisor starts it again.
            Act::Kill(_) => {}
            Act::Freeze(name) => self.thaw(name),
            Act::Cut(name) | Act::Mute(name) => self.host(name).mend(),
            Act::CutHalf => self.half().iter().for_each(|host| host.mend()),
            Act::Deafen(_) | Act::MasterAlone => self.cluster.hosts().masters().mend(),
            Act::Weather(name, _) => self.set(name, Weather::FAIR),
            Act::Slow(name, _) => self.host(name).slow(None),
            Act::Full(place) => self.unblock(place),
            Act::ReadOnly => self.unblock(REGISTRY),
            Act::Jump(name, _) => self.cluster.clock(name).set_right(),
            Act::Call(_) => {
                let mut calls = mem::take(&mut self.calls);
                if !calls.is_empty() {
                    let mut oldest = calls.remove(0);
                    let _ = oldest.kill();
                    let _ = oldest.wait();
                }
                self.calls = calls;
            }
        }
    }

    /// One of the strikes on a disk is over; the last of them makes it well.
    fn unblock(&mut self, place: &'static str) {
        if let Some(at) = self.blocked.iter().position(|blocked| *blocked == place) {
            self.blocked.swap_remove(at);
        }
        if self.blocked.contains(&place) {
            return;
        }
        if place == REGISTRY && self.fragile {
            // To be mended it has to be unmounted, and who uses it to be gone.
            if let Some(status) = self.part("master").kill9_or_ended() {
                self.judge("master", status);
            }
            self.frozen.remove("master");
            self.cluster.fragile_disk(REGISTRY).renew();
            self.down.insert("master".to_owned(), Instant::now());
        } else {
            self.cluster.small_disk(place).make_room();
        }
    }

    /// Starts again who is down, and looks at how those ended that nobody killed.
    fn supervise(&mut self) {
        let now = Instant::now();
        for place in self.blocked.clone() {
            self.blocked_at.insert(user_of(place), now);
            // What somebody gave back meanwhile is taken, too.
            if place != REGISTRY || !self.fragile {
                self.cluster.small_disk(place).fill();
            }
        }
        for name in self.names() {
            if let Some(status) = self.part(&name).ended() {
                self.judge(&name, status);
                self.frozen.remove(&name);
                self.down.entry(name.clone()).or_insert(now + DISK_AGAIN);
            }
            if self.down.get(&name).is_some_and(|again| *again <= now) {
                self.down.remove(&name);
                if self.part(&name).pid().is_none() {
                    self.part(&name).start();
                }
            }
        }
    }

    /// Who ended, and was not killed by us, may have done so for its disk alone, and has to have said so.
    fn judge(&mut self, name: &str, status: ExitStatus) {
        let excused = self.blocked_at.get(name).is_some_and(|at| at.elapsed() < DISK_LATE);
        println!("{name} ended by itself: {status}");
        assert!(
            status.code() == Some(DISK) && excused,
            "{name} ended by itself with {status}, and its disk is {}; {}",
            if excused { "to blame" } else { "well" },
            self.part(name).tail()
        );
    }

    fn thaw(&mut self, name: &str) {
        let Some(pid) = self.frozen.remove(name) else { return };
        let part = self.part(name);
        if part.pid() == Some(pid) {
            part.signal(Signal::SIGCONT);
        }
    }

    /// Everything that was broken is well, and everybody runs.
    fn heal(&mut self) {
        for name in self.names() {
            self.thaw(&name);
        }
        self.cluster.hosts().masters().mend();
        for host in self.cluster.hosts().others().values() {
            host.mend();
            host.slow(None);
        }
        self.cluster.hosts().proxies().values().for_each(|proxy| proxy.set(Weather::FAIR));
        for mut call in mem::take(&mut self.calls) {
            let _ = call.kill();
            let _ = call.wait();
        }
        assert!(self.blocked.is_empty(), "all strikes are over: {:?}", self.blocked);
        wait_for("all parts to run and the cluster to work together", HEALED, || {
            self.supervise();
            if !self.down.is_empty() {
                return Err(format!("{:?} are down", self.down.keys()));
            }
            let agents = self.cluster.api.agents().map_err(|status| status.message().to_owned())?;
            self.cluster.api.services().map_err(|status| status.message().to_owned())?;
            // One that is drained is one that is there.
            let away =
                agents.iter().filter(|agent| !["active", "draining", "drained"].contains(&&*agent.state));
            let away: Vec<&str> = away.map(|agent| agent.state.as_str()).collect();
            if away.is_empty() && agents.len() == AGENTS { Ok(()) } else { Err(format!("{away:?}")) }
        });
    }

    fn names(&self) -> Vec<String> {
        let agents = (1..=AGENTS).map(|n| format!("agent-{n}"));
        let others = ["master", "services", "load-1", "load-2"].map(str::to_owned);
        agents.chain(others).collect()
    }

    fn part(&mut self, name: &str) -> &mut Part {
        match name {
            "load-1" => &mut self.loads[0].part,
            "load-2" => &mut self.loads[1].part,
            name => self.cluster.part(name),
        }
    }

    fn host(&self, name: &str) -> &Host {
        self.cluster.hosts().of(name)
    }

    fn half(&self) -> Vec<&Host> {
        self.cluster.hosts().others().into_values().step_by(2).collect()
    }

    fn set(&self, name: &str, weather: Weather) {
        self.cluster.hosts().proxy(name).expect("it is drawn of those that have one").set(weather);
    }
}
