//! The disk of a task: how much its sandbox may hold, and what becomes of a task whose sandbox holds more.
//!
//! As Mesos' isolator `disk/du` has it: what is measured afterwards cannot be refused, so the container is ended at once.
//! Measuring is the shell's.

use std::time::Duration;

use bourse_types::{ContainerId, Milli, Name, Now, Resource, ResourceKey, Resources};

use crate::agent::Agent;
use crate::checkpoint::{KillCause, Task};
use crate::effect::Effect;
use crate::event::Work;

impl Task {
    /// The most that its sandbox may hold, in MiB: the disk that it asked for, reserved or not. `None`: it asked for none,
    /// and has no limit but the machine's.
    pub fn disk_limit(&self) -> Option<Milli> {
        match &self.assignment.work {
            Work::Run(spec) => limit_of(&spec.resources),
            Work::Refuse(_) => None,
        }
    }
}

/// The most that the sandbox of a task with these resources may hold, in MiB. `None`: they are without disk for it, and it has
/// no limit but the machine's.
pub fn limit_of(resources: &Resources) -> Option<Milli> {
    // Limits apart from requests are for cpus and mem only, so the request is the limit.
    let asked = resources.iter().filter(|resource| is_sandboxes(&resource.key));
    let limit: Milli = asked.map(|resource| resource.value.quantity()).sum();
    (!limit.is_zero()).then_some(limit)
}

/// Whether it is disk for the sandbox: a persistent volume is not, and no other disk than the work directory's.
fn is_sandboxes(key: &ResourceKey) -> bool {
    let own = key.disk.as_ref().is_none_or(|disk| disk.persistence.is_none() && disk.source.is_none());
    key.name == Name::disk() && own
}

impl Agent {
    /// Ends a task whose sandbox holds more than it may, at once. A repeat changes nothing; a kill under way keeps its
    /// cause, and its grace is over.
    pub(crate) fn on_sandbox_measured(
        &mut self,
        now: Now,
        container: &ContainerId,
        used_bytes: u64,
        out: &mut Vec<Effect>,
    ) {
        if !self.config.enforce_disk {
            return;
        }
        let Some(key) = self.containers.get(container).cloned() else { return };
        let Some(limit) = self.state.tasks.get(&key).and_then(Task::disk_limit) else { return };
        if !exceeds(used_bytes, limit) {
            return;
        }
        self.begin_kill(now, &key, KillCause::OverDisk { used_bytes, limit }, Duration::ZERO, out);
        self.shorten_kill(now, &key, Duration::ZERO, out);
    }
}

pub(crate) fn exceeds(used_bytes: u64, limit: Milli) -> bool {
    u128::from(used_bytes) * 1000 > u128::from(limit.thousandths()) << 20
}

/// What the end says, with figures: `disk limit 10 MiB exceeded: 12 MiB in its sandbox`.
pub(crate) fn message(used_bytes: u64, limit: Milli) -> String {
    // Rounded up to tenths of a MiB, so that what is little more is seen to be more.
    let tenths = (u128::from(used_bytes) * 10).div_ceil(1 << 20);
    let used = Milli::new(u64::try_from(tenths).unwrap_or(u64::MAX).saturating_mul(100));
    format!("disk limit {limit} MiB exceeded: {used} MiB in its sandbox")
}

/// The resources whose limit it was.
pub(crate) fn limitation(limit: Milli) -> Resources {
    [Resource::scalar(Name::disk(), limit)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_more_than_the_limit_is_too_much_and_is_seen_to_be_more() {
        let limit = Milli::whole(10);
        assert!(!exceeds(10 << 20, limit) && exceeds((10 << 20) + 1, limit));
        assert_eq!(message((10 << 20) + 1, limit), "disk limit 10 MiB exceeded: 10.1 MiB in its sandbox");
        assert_eq!(message(12 << 20, limit), "disk limit 10 MiB exceeded: 12 MiB in its sandbox");
        // A thousandth of a MiB is 1048.576 bytes.
        assert!(!exceeds(1048, Milli::new(1)) && exceeds(1049, Milli::new(1)));
        assert!(!exceeds(u64::MAX, Milli::new(u64::MAX)));
        assert_eq!(message(u64::MAX, limit), "disk limit 10 MiB exceeded: 17592186044416 MiB in its sandbox");
    }
}
