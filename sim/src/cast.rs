//! Who is there: machines, frameworks and their jobs, as the seed has them.

use std::time::Duration;

use bourse_sdk_core::Config;
use bourse_types::{Address, AgentInfo, FrameworkInfo, Milli, Name, Resource, Role};

use crate::machine::Program;
use crate::random::Random;
use crate::workload::{Craft, Job};

/// A machine, and what its agent says about it.
pub fn machine(index: usize, random: &mut Random) -> AgentInfo {
    let (cpus, mem) = (random.between(2, 6), random.between(1, 4) * 1024);
    let mut total = format!("cpus:{cpus}; mem:{mem}; disk:10000; ports:[31000-31009]");
    if random.chance(0.3) {
        total.push_str("; cpus(batch):1; mem(batch):256");
    }
    AgentInfo {
        hostname: format!("host{index}"),
        address: Address { host: format!("host{index}"), port: 5051 },
        attributes: format!("rack:r{}", index % 2).parse().expect("valid"),
        total: total.parse().expect("valid"),
        version: "sim".to_owned(),
    }
}

/// A machine may grow, or stand elsewhere. It does not shrink while tasks may hold what it loses.
pub fn changed(info: &AgentInfo, random: &mut Random) -> AgentInfo {
    let mut info = info.clone();
    match random.chance(0.5) {
        true => info.total.insert(Resource::scalar(Name::cpus(), Milli::new(500))),
        false => info.attributes = format!("rack:r{}", random.between(0, 9)).parse().expect("valid"),
    }
    info
}

/// What a framework says about itself that does everything as the SDK has it.
pub fn info(name: &str, roles: &[&str]) -> FrameworkInfo {
    let mut info = Config::new(name, 0).info;
    info.roles = roles.iter().map(|role| Role::new(role).expect("valid")).collect();
    info
}

/// How many machines there are, and the users of the cluster: mostly some of each kind; else many small ones, or few large
/// ones on more machines. The last one is expendable: it may be torn down, and may lack what a good framework has.
pub fn draw(random: &mut Random) -> (usize, Vec<(Craft, FrameworkInfo)>) {
    let (agents, mut users) = match random.below(20) {
        0..=2 => (random.between(2, 4), many_small(random)),
        3..=5 => (random.between(5, 7), few_large(random)),
        _ => (random.between(2, 4), mixed(random)),
    };
    users.push(expendable(random));
    (agents as usize, users)
}

fn mixed(random: &mut Random) -> Vec<(Craft, FrameworkInfo)> {
    let mut users = vec![
        (Craft::Batch(jobs(random, 4, 12)), info("batch", &["batch"])),
        (Craft::Service(random.between(1, 4) as usize), info("service", &["web", "web/eu"])),
        (Craft::Hoarder, info("hoarder", &["*"])),
    ];
    if random.chance(0.5) {
        users.push((Craft::Services, info("services", &["svc"])));
    }
    match random.below(6) {
        0 => users.push((Craft::Picky, info("picky", &["picky"]))),
        1 => users.push((Craft::Looper, info("looper", &["*"]))),
        2 => users.push((Craft::Greedy, info("greedy", &["batch"]))),
        3 => users.push((Craft::Crasher(jobs(random, 2, 6)), info("crasher", &["batch"]))),
        _ => {}
    }
    users
}

fn many_small(random: &mut Random) -> Vec<(Craft, FrameworkInfo)> {
    let count = random.between(5, 11);
    let user = |number: u64| {
        let role = format!("small/r{}", number % 4);
        let craft = match random.below(10) {
            0 => Craft::Picky,
            1 => Craft::Looper,
            2 => Craft::Crasher(jobs(random, 1, 3)),
            _ => Craft::Batch(jobs(random, 1, 3)),
        };
        (craft, info(&format!("small{number}"), &[role.as_str()]))
    };
    (0..count).map(user).collect()
}

fn few_large(random: &mut Random) -> Vec<(Craft, FrameworkInfo)> {
    let count = random.between(1, 2);
    let mut users: Vec<_> = (0..count)
        .map(|number| (Craft::Batch(jobs(random, 30, 60)), info(&format!("large{number}"), &["batch"])))
        .collect();
    if random.chance(0.3) {
        users.push((Craft::Greedy, info("greedy", &["*"])));
    }
    users
}

fn expendable(random: &mut Random) -> (Craft, FrameworkInfo) {
    let mut info = info("expendable", &["batch/low"]);
    info.checkpoint = random.chance(0.5);
    info.capabilities.partition_aware = random.chance(0.5);
    info.capabilities.task_killing = random.chance(0.5);
    if random.chance(0.3) {
        info.failover_timeout = Duration::from_secs(random.between(0, 60));
    }
    (Craft::Batch(jobs(random, 4, 12)), info)
}

fn jobs(random: &mut Random, least: u64, most: u64) -> Vec<Job> {
    let count = random.between(least, most);
    let job = |number: u64| {
        let program = |random: &mut Random, code, sick| Program {
            runs: Some(Duration::from_millis(random.between(50, 30_000))),
            code,
            stubborn: random.chance(0.2),
            sick,
            greedy: false,
        };
        let code = i32::from(random.chance(0.2));
        let sick = random.chance(0.1);
        let mut first = program(random, code, sick);
        first.greedy = number % 4 == 1;
        if random.chance(0.1) {
            // Longer than it may.
            first.runs = Some(Duration::from_secs(100));
        }
        Job {
            name: format!("job{number}"),
            // As much as is left on some machine beside all that runs for ever.
            cpus: random.between(100, 700),
            mem: random.between(32, 256),
            ports: random.between(0, 2),
            first,
            again: program(random, 0, false),
        }
    };
    (0..count).map(job).collect()
}
