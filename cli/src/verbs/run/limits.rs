//! What the task may use besides what it asks for: `--cpu-limit` and its like.

use bourse_sdk::Task;
use bourse_types::controls::parse_huge_pages;
use bourse_types::{BadControl, Controls, IoWeight, Milli, Name, OomScore, PageSize, Pids, units};

use crate::exit::{Exit, failed};

/// How no limit is said.
const UNLIMITED: &str = "unlimited";

#[derive(clap::Args)]
pub struct LimitArgs {
    /// CPUs that it may use where others leave them, or "unlimited" [default: as --cpus]
    #[arg(long, value_name = "CPUS", value_parser = parse_cpu_limit, allow_negative_numbers = true)]
    cpu_limit: Option<Most>,
    /// Memory that it may use where others leave it, or "unlimited"; what is above --mem is taken back first when the
    /// machine is short [default: as --mem]
    #[arg(long, value_name = "SIZE", value_parser = parse_mem_limit, allow_negative_numbers = true)]
    mem_limit: Option<Most>,
    /// How much of its limit of CPUs may be saved up while it is not used, over 100 ms: 0.5 is 50 ms
    #[arg(long, value_name = "CPUS", value_parser = super::parse_cpus, allow_negative_numbers = true)]
    cpu_burst: Option<Milli>,
    /// Swap on top of its limit of memory
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, allow_negative_numbers = true)]
    swap: Option<Milli>,
    /// Processes and threads at a time, within what its agent lets every task have
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pids: Option<Pids>,
    /// Its share of the disks when they are busy, from 1 to 10000; 100 is everybody's
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    io_weight: Option<IoWeight>,
    /// Memory in huge pages of a size, such as 2MiB=64MiB; may be repeated for other sizes
    #[arg(long, value_name = "SIZE=AMOUNT", value_parser = parse_huge_pages)]
    huge_pages: Vec<(PageSize, Milli)>,
    /// How soon it goes when the machine is out of memory, from 0 to 1000, the highest first
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    oom_score: Option<OomScore>,
}

/// A limit; `None` is without.
#[derive(Clone, Copy, Debug)]
struct Most(Option<Milli>);

fn parse_cpu_limit(text: &str) -> Result<Most, String> {
    match text {
        UNLIMITED => Ok(Most(None)),
        _ => super::parse_cpus(text).map(|cpus| Most(Some(cpus))),
    }
}

fn parse_mem_limit(text: &str) -> Result<Most, units::BadUnit> {
    match text {
        UNLIMITED => Ok(Most(None)),
        _ => units::parse_size(text).map(|mem| Most(Some(mem))),
    }
}

impl LimitArgs {
    /// Lets the task use more than it asks for. The master refuses less.
    pub fn limit(&self, task: Task) -> Task {
        let limits = [(Name::cpus(), self.cpu_limit), (Name::mem(), self.mem_limit)];
        limits.into_iter().fold(task, |task, (name, most)| match most {
            Some(Most(most)) => task.limit(name, most),
            None => task,
        })
    }

    /// What the task asks of the kernel. Refuses two amounts for pages of one size.
    pub fn controls(&self) -> anyhow::Result<Controls> {
        let mut controls = Controls {
            cpu_burst: self.cpu_burst.unwrap_or_default(),
            swap: self.swap.unwrap_or_default(),
            pids: self.pids,
            io_weight: self.io_weight,
            oom_score: self.oom_score.unwrap_or_default(),
            ..Controls::default()
        };
        for (size, amount) in &self.huge_pages {
            let refused = |bad: BadControl| failed(Exit::Usage, format!("--huge-pages: {bad}"));
            controls.add_huge_pages(*size, *amount).map_err(refused)?;
        }
        Ok(controls)
    }
}
