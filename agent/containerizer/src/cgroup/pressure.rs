//! Pressure: how much a task waits for what is short. The same files wherever a group is of version 2, also in a tree
//! beside version 1 (kernel documentation, `accounting/psi.rst`).

use std::path::Path;
use std::time::Duration;

use super::files::read;
use crate::usage::{Pressure, Usage};

/// What a group has waited so far, if the kernel counts it.
pub fn usage(dir: &Path, usage: &mut Usage) {
    usage.cpu_pressure = some(dir, "cpu.pressure");
    usage.memory_pressure = some(dir, "memory.pressure");
    usage.io_pressure = some(dir, "io.pressure");
}

/// Some of the group, and not all of it at once.
fn some(dir: &Path, file: &str) -> Option<Pressure> {
    let text = read(dir, file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |text: &str| text.parse::<u32>().ok();
    let (whole, hundredths) = value("avg10")?.split_once('.')?;
    Some(Pressure {
        avg10: number(whole)?.saturating_mul(100).saturating_add(number(hundredths)?),
        total: Duration::from_micros(value("total")?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn pressure_is_what_some_of_a_group_has_waited_and_nothing_where_the_kernel_does_not_count_it() {
        let root = TempDir::new().expect("a temporary directory");
        let text = "some avg10=12.05 avg60=1.00 avg300=0.00 total=1500\nfull avg10=1.00 avg60=1.00 avg300=0.00 total=9\n";
        fs::write(root.path().join("cpu.pressure"), text).expect("it is writable");
        fs::write(root.path().join("io.pressure"), "").expect("it is writable");
        let mut used = Usage::default();
        usage(root.path(), &mut used);
        let expected = Pressure { avg10: 1205, total: Duration::from_micros(1500) };
        assert_eq!(used, Usage { cpu_pressure: Some(expected), ..Usage::default() });
    }
}
