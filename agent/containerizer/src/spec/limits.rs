//! What a task may use.

use bourse_types::Milli;

use super::cores::Cores;

/// The greatest io weight.
pub const IO_WEIGHT_MAX: u16 = 10_000;

/// The greatest score: a process that has it goes first.
pub const OOM_SCORE_MAX: i16 = 1000;

/// The smallest unit in which the kernel names the size of a page, in bytes.
const PAGE_MIN_BYTES: u64 = 1 << 10;

/// What a task may use: shares and what is kept for it count when the machine is short of something; what is called a
/// limit here is hard, and more is not to be had even on an idle machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The share of cpu time when the machine is busy, in cpus.
    pub cpus: Milli,
    /// The most cpu time ever, in cpus: 0.5 is 50 ms in each 100 ms. At least 0.01 is granted. The task and the first
    /// process of its container, which writes the logs, have 0.1 more together. `None` is no limit.
    pub cpu_quota: Option<Milli>,
    /// How much of the quota that was not used may be saved up and used later on top of it, in cpus over one period of
    /// 100 ms: 0.5 is 50 ms. Cut to the quota, as the kernel takes no more. `None` is nothing. Without effect without a
    /// quota, and before Linux 5.14.
    pub cpu_burst: Option<Milli>,
    /// Memory that is left to the task when the machine is short of it, as long as others have some without such a
    /// claim; on control groups of version 1, those who have more than this give first. `None` is no claim.
    pub memory_request_bytes: Option<u64>,
    /// The most memory, page cache included. Who needs more is killed. `None` is no limit.
    pub memory_bytes: Option<u64>,
    /// Swap on top of `memory_bytes`; 0 is none. Without effect when memory has no limit or the kernel does
    /// not count swap.
    pub swap_bytes: u64,
    /// The most processes and threads at a time; a fork beyond that fails. `None` is no limit.
    pub pids: Option<u64>,
    /// The share of the disks when they are busy, from 1 to [`IO_WEIGHT_MAX`]. `None` is 100, as for all who do not ask.
    /// Without effect where nothing of the kernel shares a disk by weight (BFQ, or `io.cost` on version 2); with BFQ,
    /// whose weights end there, more than 1000 is 1000.
    pub io_weight: Option<u16>,
    /// The cpus that it runs on; others may, too. `None` is all.
    pub cores: Option<Cores>,
    /// Huge pages, each size once. A size that is not named has no limit.
    pub hugepages: Vec<HugePages>,
    /// Who goes first when the whole machine is out of memory: from 0 to [`OOM_SCORE_MAX`], on top of the agent's own
    /// (`oom_score_adj`, proc_pid_oom_score_adj(5)). Set at the launch, for good.
    pub oom_score: i16,
}

/// The most memory in huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// The size of one, in bytes: 2 MiB or 1 GiB on most machines.
    pub page_bytes: u64,
    /// All of them together, in bytes; cut to whole pages.
    pub bytes: u64,
}

/// Limits that no machine can set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLimits {
    /// The io weight is out of its range.
    #[error("the io weight is {0}; it must be from 1 to {IO_WEIGHT_MAX}")]
    IoWeight(u16),
    /// The score is out of its range.
    #[error("the OOM score is {0}; it must be from 0 to {OOM_SCORE_MAX}")]
    OomScore(i16),
    /// No page has this size.
    #[error("no page has {0} bytes; name a size of huge pages, such as 2097152")]
    PageSize(u64),
    /// Two limits for one size.
    #[error("huge pages of {0} bytes have two limits; give them one")]
    PageSizeTwice(u64),
}

impl Limits {
    /// A share of the cpus, and no limit of anything.
    pub const fn unlimited(cpus: Milli) -> Limits {
        Limits {
            cpus,
            cpu_quota: None,
            cpu_burst: None,
            memory_request_bytes: None,
            memory_bytes: None,
            swap_bytes: 0,
            pids: None,
            io_weight: None,
            cores: None,
            hugepages: Vec::new(),
            oom_score: 0,
        }
    }

    /// Refuses what could not be set on any machine.
    pub fn check(&self) -> Result<(), BadLimits> {
        if let Some(weight) = self.io_weight.filter(|weight| !(1..=IO_WEIGHT_MAX).contains(weight)) {
            return Err(BadLimits::IoWeight(weight));
        }
        if !(0..=OOM_SCORE_MAX).contains(&self.oom_score) {
            return Err(BadLimits::OomScore(self.oom_score));
        }
        for (number, HugePages { page_bytes, .. }) in self.hugepages.iter().enumerate() {
            if *page_bytes < PAGE_MIN_BYTES || !page_bytes.is_power_of_two() {
                return Err(BadLimits::PageSize(*page_bytes));
            }
            if self.hugepages[..number].iter().any(|before| before.page_bytes == *page_bytes) {
                return Err(BadLimits::PageSizeTwice(*page_bytes));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_no_machine_can_set_are_refused_with_the_range() {
        let refused = |change: fn(&mut Limits)| {
            let mut limits = Limits::unlimited(Milli::new(100));
            change(&mut limits);
            limits.check().expect_err("these limits are bad").to_string()
        };
        assert_eq!(Limits::unlimited(Milli::new(100)).check(), Ok(()));
        assert!(refused(|limits| limits.io_weight = Some(0)).contains("from 1 to 10000"));
        assert!(refused(|limits| limits.io_weight = Some(10_001)).contains("10001"));
        assert!(refused(|limits| limits.oom_score = -1).contains("from 0 to 1000"));
        assert!(refused(|limits| limits.oom_score = 1001).contains("1001"));
        let pages = |page_bytes| HugePages { page_bytes, bytes: 1 << 30 };
        let with = |hugepages| Limits { hugepages, ..Limits::unlimited(Milli::new(100)) }.check();
        assert_eq!(with(vec![pages(3 << 20)]), Err(BadLimits::PageSize(3 << 20)));
        assert_eq!(with(vec![pages(512)]), Err(BadLimits::PageSize(512)));
        assert_eq!(with(vec![pages(2 << 20), pages(1 << 30)]), Ok(()));
        assert_eq!(with(vec![pages(2 << 20), pages(2 << 20)]), Err(BadLimits::PageSizeTwice(2 << 20)));
    }
}
