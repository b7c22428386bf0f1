//! What this machine has to offer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bourse_types::{Milli, Name, Resource, Resources};

/// The ports that tasks may be given, as in Mesos.
pub const PORTS: &str = "ports:[31000-32000]";

/// What the machine itself needs: so much memory and disk is not offered, or half of it where there is little.
const MEMORY_KEPT_MIB: u64 = 1024;
const DISK_KEPT_MIB: u64 = 5 * 1024;

/// Where an agent that is in a container itself sees how much memory it may use, by v2 and by v1.
const MEMORY_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The machine's resources cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// The kernel does not say.
    #[error("could not read {}; name the agent's {what} with --resources", path.display())]
    Read {
        /// Which resource.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What the operator named, and for each of cpus, mem, disk and ports that was not named, what this machine has. The
/// machine is only asked for those, as it may be one that cannot tell: `work_dir` is where tasks' disk space comes from; it
/// has to exist, or its nearest parent counts.
pub fn find(given: &Resources, work_dir: &Path) -> Result<Resources, ResourcesError> {
    let ask: [(Name, Ask<'_>); 3] = [
        (Name::cpus(), &cpus),
        (Name::mem(), &|| Ok(less(memory_mib()?, MEMORY_KEPT_MIB))),
        (Name::disk(), &|| Ok(less(disk_mib(work_dir)?, DISK_KEPT_MIB))),
    ];
    fill(given, &ask)
}

/// How many units of something the machine has.
type Ask<'a> = &'a dyn Fn() -> Result<u64, ResourcesError>;

fn fill(given: &Resources, ask: &[(Name, Ask<'_>)]) -> Result<Resources, ResourcesError> {
    let is_named = |name: &Name| given.iter().any(|resource| resource.key.name == *name);
    let mut all: Vec<Resource> = given.iter().cloned().collect();
    for (name, ask) in ask.iter().filter(|(name, _)| !is_named(name)) {
        all.push(Resource::scalar(name.clone(), Milli::whole(ask()?)));
    }
    if !is_named(&Name::ports()) {
        let ports: Resources = PORTS.parse().expect("a constant that a test reads");
        all.extend(ports.iter().cloned());
    }
    Ok(all.into_iter().collect())
}

/// What this machine has, as far as tasks may have it: all cpus that this process may use; memory (of the machine, or of
/// the container that the agent is in) less 1 GiB and disk less 5 GiB, or half of what is little; the ports 31000 to 32000.
pub fn of_this_machine(work_dir: &Path) -> Result<Resources, ResourcesError> {
    find(&Resources::default(), work_dir)
}

fn cpus() -> Result<u64, ResourcesError> {
    let unreadable = |source| ResourcesError::Read { what: "cpus", path: "/proc/self/status".into(), source };
    Ok(std::thread::available_parallelism().map_err(unreadable)?.get() as u64)
}

fn less(total: u64, kept: u64) -> u64 {
    if total > 2 * kept { total - kept } else { total / 2 }
}

fn memory_mib() -> Result<u64, ResourcesError> {
    let path = Path::new("/proc/meminfo");
    let unreadable = |source| ResourcesError::Read { what: "mem", path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    let kib = kib.ok_or_else(|| unreadable(io::Error::other("there is no line MemTotal in KiB")))?;
    Ok(MEMORY_LIMITS.iter().filter_map(|path| limit_mib(Path::new(path))).fold(kib / 1024, u64::min))
}

/// What the cgroup allows in which this agent makes those of its tasks, if it allows no more than so much. The kernel
/// writes `max`, or a number beyond any machine, where there is no limit; the file is absent outside of a container.
fn limit_mib(path: &Path) -> Option<u64> {
    Some(fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()? >> 20)
}

fn disk_mib(work_dir: &Path) -> Result<u64, ResourcesError> {
    let there = work_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let unreadable = |source: nix::Error| ResourcesError::Read {
        what: "disk",
        path: there.to_owned(),
        source: source.into(),
    };
    let stat = nix::sys::statvfs::statvfs(there).map_err(unreadable)?;
    Ok(stat.blocks().saturating_mul(stat.fragment_size()) / (1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cpus_memory_disk_and_ports_and_keeps_some_for_itself() {
        let found = of_this_machine(Path::new("/not/there")).expect("a Linux machine");
        assert!(found.cpus() >= Milli::whole(1), "{found}");
        assert!(
            found.mem() > Milli::ZERO && found.mem() < Milli::whole(memory_mib().expect("readable")),
            "{found}"
        );
        assert!(found.disk() > Milli::ZERO, "{found}");
        assert_eq!(found.ports().len(), 1001);
    }

    #[test]
    fn little_memory_is_halved_and_much_keeps_a_gibibyte_back() {
        assert_eq!(less(512, MEMORY_KEPT_MIB), 256);
        assert_eq!(less(8192, MEMORY_KEPT_MIB), 7168);
    }

    #[test]
    fn the_limit_of_a_container_around_the_agent_counts_and_no_limit_does_not() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, found) in [("536870912\n", Some(512)), ("max\n", None), ("", None)] {
            fs::write(file.path(), text).expect("writable");
            assert_eq!(limit_mib(file.path()), found, "{text:?}");
        }
        assert_eq!(limit_mib(Path::new("/not/there")), None);
    }

    #[test]
    fn what_the_operator_names_replaces_what_was_found_and_nothing_else() {
        let given: Resources = "cpus:0.5; ports:[4000-4001]; widgets:3".parse().expect("readable");
        let found = find(&given, Path::new("/")).expect("a Linux machine");
        assert_eq!(found.cpus(), Milli::new(500));
        assert_eq!(found.ports().to_string(), "[4000-4001]");
        assert_eq!(found.scalar("widgets"), Milli::whole(3));
        assert!(found.mem() > Milli::ZERO);
    }

    #[test]
    fn the_machine_is_not_asked_for_what_the_operator_names() {
        let cannot: Ask<'_> = &|| {
            let source = io::Error::other("no");
            Err(ResourcesError::Read { what: "disk", path: "/".into(), source })
        };
        let fill = |text: &str| fill(&text.parse().expect("readable"), &[(Name::disk(), cannot)]);
        assert!(fill("cpus:1").is_err());
        let found = fill("disk:10").expect("nothing is asked for");
        assert_eq!(found.disk(), Milli::whole(10));
    }
}
