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

/// The users of the cluster. The last one is expendable: it may be torn down, and it may lack what a good framework has.
pub fn frameworks(random: &mut Random) -> Vec<(Craft, FrameworkInfo)> {
    let mut last = info("expendable", &["batch/low"]);
    last.checkpoint = random.chance(0.5);
    last.capabilities.partition_aware = random.chance(0.5);
    last.capabilities.task_killing = random.chance(0.5);
    if random.chance(0.3) {
        last.failover_timeout = Duration::from_secs(random.between(0, 60));
    }
    vec![
        (Craft::Batch(jobs(random)), info("batch", &["batch"])),
        (Craft::Service(random.between(1, 4) as usize), info("service", &["web", "web/eu"])),
        (Craft::Hoarder, info("hoarder", &["*"])),
        (Craft::Batch(jobs(random)), last),
    ]
}

fn jobs(random: &mut Random) -> Vec<Job> {
    let count = random.between(4, 12);
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
            cpus: random.between(100, 1_000),
            mem: random.between(32, 256),
            ports: random.between(0, 2),
            first,
            again: program(random, 0, false),
        }
    };
    (0..count).map(job).collect()
}
