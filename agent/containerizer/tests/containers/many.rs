//! A great many containers, several at once, that are launched, killed and removed at random moments.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bourse_containerizer::{ContainerError, ContainerSpec, Containerizer, Isolation};
use bourse_types::{ContainerId, Exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::lab::{DEADLINE, Lab, exit_of, is_alone, processes_marked, until};
use super::leaks::{children, descriptors, with_all_its_own};
use super::rootfs::image;

/// How many containers there are; without it 10,000. For machines that are slow.
const LIVES: &str = "CONTAINERS_TEST_LIVES";

/// What all chances come from; without it each run has others.
const SEED: &str = "CONTAINERS_TEST_SEED";

const AT_ONCE: u64 = 4;

/// No more memory than this is kept, whatever has happened.
const GROWTH_MAX: u64 = 20 << 20;

/// The longest wait until something is done to a container, and the longest life of one to which nothing is done, in
/// milliseconds: a launch takes some 15.
const MOMENTS: u64 = 30;

/// What is done to a container.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Nothing,
    AskedToEnd,
    Killed,
    FirstProcessKilled,
    Removed,
    RemovedWhileItIsWaitedFor,
    RemovedWhileItIsLaunched,
    CannotBeLaunched,
}

const FATES: [Fate; 8] = [
    Fate::Nothing,
    Fate::AskedToEnd,
    Fate::Killed,
    Fate::FirstProcessKilled,
    Fate::Removed,
    Fate::RemovedWhileItIsWaitedFor,
    Fate::RemovedWhileItIsLaunched,
    Fate::CannotBeLaunched,
];

/// Plan: the first tenth makes what is made once and kept; what there is after it is what there is after the last.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_containers_that_are_killed_and_removed_at_random_moments_leave_nothing() {
    if !is_alone("many::ten_thousand_containers_that_are_killed_and_removed_at_random_moments_leave_nothing")
    {
        return;
    }
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = number(SEED).unwrap_or(since_1970.as_nanos() as u64);
    println!("replay: {SEED}={seed} cargo test -p bourse-containerizer --test containers many::");
    let lives = number(LIVES).unwrap_or(10_000);

    let lab = Arc::new(Lab::new());
    image(&lab, "image");
    let groups_before = groups_of_the_machine();
    let began = Instant::now();
    live(&lab, seed, 0, lives / 10).await;
    until("all children are reaped", || children().is_empty()).await;
    let (descriptors_before, memory_before) = (descriptors(), resident_bytes());
    live(&lab, seed, lives / 10, lives).await;
    println!("{lives} containers in {:?}", began.elapsed());

    let is_as_before = || children().is_empty() && descriptors() <= descriptors_before;
    until("descriptors and children are as before", is_as_before).await;
    let memory = resident_bytes();
    assert!(memory <= memory_before + GROWTH_MAX, "{memory} bytes of memory, and {memory_before} before");
    lab.assert_nothing_is_left();
    // Other tests make some meanwhile, and the kernel keeps those of memory for as long as a page of a cache is theirs, as
    // that of a program is whose first reader was a task: 3 of 1,000 lives on 6.18. One for each container, or for each of
    // one kind, would be many more.
    let others = lives / 100 + 100;
    until("as many control groups as before", || groups_of_the_machine() <= groups_before + others).await;
    Arc::into_inner(lab).expect("all that used it has ended").finish().await;
}

/// The lives with these numbers, each with chances of its own.
async fn live(lab: &Arc<Lab>, seed: u64, from: u64, to: u64) {
    let next = Arc::new(AtomicU64::new(from));
    let base = lab.spec("base", &["/bin/sh"]);
    let image = lab.root().join("image").canonicalize().expect("it was made");
    let workers = (0..AT_ONCE).map(|_| {
        let (lab, next) = (lab.clone(), next.clone());
        let (base, image) = (base.clone(), image.clone());
        tokio::spawn(async move {
            let _last = Last { next: &next, to };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return;
                }
                let chances = Chances(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
                if timeout(DEADLINE, one(&lab, &base, &image, number, chances)).await.is_err() {
                    panic!("c{number} takes longer than {DEADLINE:?}: {}", state_of(&lab));
                }
            }
        })
    });
    let mut ended = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        ended.push(worker.await);
    }
    // When all have: whoever fails cleans up.
    for worker in ended {
        worker.expect("it does not panic");
    }
}

/// When one fails, no other begins another life.
struct Last<'a> {
    next: &'a AtomicU64,
    to: u64,
}

impl Drop for Last<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.next.store(self.to, Ordering::Relaxed);
        }
    }
}

async fn one(lab: &Lab, base: &ContainerSpec, image: &Path, number: u64, mut chances: Chances) {
    let name = format!("c{number}");
    let fate = FATES[chances.below(FATES.len() as u64) as usize];
    let isolation = match (fate, chances.below(8)) {
        // Without isolation, what its first process has started lives on without it.
        (Fate::FirstProcessKilled, _) | (_, 1..) => Isolation::Linux,
        (_, 0) => Isolation::Process,
    };
    let has_all_its_own = isolation == Isolation::Linux && chances.below(8) == 0;
    let program = if matches!(fate, Fate::CannotBeLaunched) { "no-such-command" } else { "/bin/sh" };
    let script = format!("echo up; (sleep 1000 &); sleep 0.{:03}; exit 3", chances.below(MOMENTS));
    let spec = ContainerSpec {
        container_id: ContainerId::new(&name).expect("a good id"),
        argv: [program, "-c", &script].map(str::to_owned).into(),
        sandbox: lab.work.join("sandboxes").join(&name),
        isolation,
        ..base.clone()
    };
    let spec = if has_all_its_own { with_all_its_own(spec, image) } else { spec };
    fs::create_dir(&spec.sandbox).expect("it is writable");
    let (containerizer, id) = (&lab.containerizer, &spec.container_id);
    let moment = Duration::from_micros(chances.below(MOMENTS * 1000));
    let pause = || tokio::time::sleep(moment);
    match fate {
        Fate::Nothing => {
            lab.launch(&spec).await;
            assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(3), "{name}");
        }
        Fate::AskedToEnd => {
            lab.launch(&spec).await;
            pause().await;
            match containerizer.terminate(id).await {
                Ok(()) | Err(ContainerError::Ended(_)) => {}
                Err(error) => panic!("{name}: {error}"),
            }
            lab.wait(&spec).await;
        }
        Fate::Killed => {
            lab.launch(&spec).await;
            pause().await;
            containerizer.kill_all(id).await.expect("it is known");
            lab.wait(&spec).await;
        }
        Fate::FirstProcessKilled => {
            lab.launch(&spec).await;
            let first = first_process(lab, &name);
            pause().await;
            // It is our child, and nobody has reaped it: nobody else has its number.
            kill(first, Signal::SIGKILL).expect("it is there");
            lab.wait(&spec).await;
        }
        Fate::Removed => {
            lab.launch(&spec).await;
            pause().await;
        }
        Fate::RemovedWhileItIsWaitedFor => {
            lab.launch(&spec).await;
            let removed = async {
                pause().await;
                containerizer.destroy(id).await.expect("it can be removed");
            };
            // Whether it hears of the end depends on who comes first.
            let (_, ()) = tokio::join!(containerizer.wait(id), removed);
        }
        Fate::RemovedWhileItIsLaunched => {
            let removed = async {
                pause().await;
                containerizer.destroy(id).await.expect("it can be removed");
            };
            let (launched, ()) = tokio::join!(containerizer.launch(&spec), removed);
            launched.expect("the launch is over first, or begins after it");
        }
        Fate::CannotBeLaunched => {
            containerizer.launch(&spec).await.expect_err("there is no such program");
        }
    }
    containerizer.destroy(id).await.expect("it can be removed");
    fs::remove_dir_all(&spec.sandbox).expect("nothing is mounted in it");
    containerizer.sandbox_removed(&spec.sandbox);
}

/// What the processes of all containers wait for.
fn state_of(lab: &Lab) -> String {
    let told = |pid: &u32, what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let processes = processes_marked(&format!("LAB={}", lab.instance));
    let lines = processes.iter().map(|pid| {
        let groups = told(pid, "cgroup").replace('\n', " ");
        format!("{} waits in {:?}, groups {groups}", told(pid, "stat").trim(), told(pid, "wchan"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The first process of a container, as it is written down.
fn first_process(lab: &Lab, name: &str) -> Pid {
    let started = fs::read_to_string(lab.work.join("run").join(name).join("started")).expect("it is there");
    let pid = started.split(' ').nth(2).and_then(|word| word.parse().ok());
    Pid::from_raw(pid.expect("the third word is a number"))
}

/// The memory that this process has, in bytes.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    let kib = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    kib.expect("a number") << 10
}

/// How many control groups there are in all hierarchies, those among them that the kernel has yet to forget.
fn groups_of_the_machine() -> u64 {
    let text = fs::read_to_string("/proc/cgroups").expect("/proc is mounted");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let counts = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?, words.next()?.parse::<u64>().ok()?))
    });
    // Controllers in one hierarchy have the same groups: in that of version 2 most are.
    counts.collect::<BTreeMap<_, _>>().values().sum()
}

/// Numbers that look random, and are the same for the same seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable
/// pseudorandom number generators", 2014).
struct Chances(u64);

impl Chances {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}
