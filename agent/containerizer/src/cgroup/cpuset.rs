//! The cpuset controller: which cpus.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/cpusets.rst` and `admin-guide/cgroup-v2.rst`.

use std::path::Path;

use super::files::{read, write};
use super::{Change, LimitsError, TASK};
use crate::spec::Cores;

const CPUS: &str = "cpuset.cpus";

/// Nodes of memory.
const MEMS: &str = "cpuset.mems";

/// Version 1, for the group of the task, from the agent's own. A group begins without cpus and nodes there, and nobody
/// can join such a one: each is given those of the one above, from the top down.
pub fn cores_v1(
    base: &Path,
    container: &str,
    cores: Option<&Cores>,
    change: &mut Change,
) -> Result<(), LimitsError> {
    let container = base.join(container);
    let task = container.join(TASK);
    let mut above = base.ancestors().nth(2).expect("the agent's group is two below the top: bourse/<agent>");
    see_that_they_are_there(cores, above, CPUS)?;
    for group in [base.parent().expect("as above"), base, container.as_path()] {
        for file in [MEMS, CPUS] {
            if text(group, file) != text(above, file) {
                write(group, file, text(above, file))?;
            }
        }
        above = group;
    }
    let all = text(above, CPUS);
    if text(&task, MEMS) != text(above, MEMS) {
        write(&task, MEMS, text(above, MEMS))?;
    }
    set(&task, cores, &all, change)
}

/// Version 2. A group without any has those of the group above, also where the controller is not handed down.
pub fn cores_v2(
    root: &Path,
    task: &Path,
    cores: Option<&Cores>,
    change: &mut Change,
) -> Result<(), LimitsError> {
    const EFFECTIVE: &str = "cpuset.cpus.effective";
    see_that_they_are_there(cores, root, EFFECTIVE)?;
    match (cores, text(task, CPUS).as_str()) {
        (None, "") => Ok(()),
        _ => set(task, cores, &text(root, EFFECTIVE), change),
    }
}

/// A group with processes never goes back to none of its own (`kernel/cgroup/cpuset.c`), so it has all before it has some:
/// that is what is put back.
fn set(task: &Path, cores: Option<&Cores>, all: &str, change: &mut Change) -> Result<(), LimitsError> {
    if text(task, CPUS).is_empty() {
        write(task, CPUS, all)?;
    }
    change.write(task, CPUS, cores.map_or_else(|| all.to_owned(), Cores::to_string))?;
    Ok(())
}

/// Version 2 takes any, and gives all if none of them is there.
fn see_that_they_are_there(cores: Option<&Cores>, dir: &Path, file: &str) -> Result<(), LimitsError> {
    match (cores, text(dir, file).parse::<Cores>()) {
        (Some(wanted), Ok(there)) if !wanted.are_within(&there) => {
            Err(LimitsError::Cores { wanted: wanted.clone(), there })
        }
        // Where they cannot be told, the kernel has the last word.
        _ => Ok(()),
    }
}

fn text(dir: &Path, file: &str) -> String {
    read(dir, file).unwrap_or_default().trim().to_owned()
}
