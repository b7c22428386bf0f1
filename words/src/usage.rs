//! What a task uses, in words.

use bourse_proto::operator::TaskUse;

use crate::{mib, share};

/// What is told of a task's memory besides how much it is: "peak 410MiB, at most 512MiB". `None` where neither is known.
pub fn memory_bounds(used: &TaskUse) -> Option<String> {
    let peak = Some(used.mem_peak_mib).filter(|peak| *peak > 0.0).map(|peak| format!("peak {}", mib(peak)));
    let most = used.mem_limit_mib.map(|most| format!("at most {}", mib(most)));
    listed([peak, most])
}

/// How long it had to wait for its limit of cpus: "throttled for 1.5 s, in 3 of 10 periods". `None` where it never had.
pub fn throttled(used: &TaskUse) -> Option<String> {
    let time = Some(used.throttled_seconds).filter(|seconds| *seconds > 0.0)?;
    let periods = Some(used.cpu_periods).filter(|periods| *periods > 0);
    let periods = periods.map(|of| format!("in {} of {of} periods", used.cpu_periods_throttled));
    listed([Some(format!("throttled for {time:.1} s")), periods])
}

/// What it uses besides cpus, memory and disk, and what that memory is, each by a short name. What is not counted is left
/// out.
pub fn usage(used: &TaskUse) -> Vec<(&'static str, String)> {
    let all = [
        ("processes", processes(used)),
        ("cpu time", cpu_time(used)),
        ("memory", memory(used)),
        ("io", io(used)),
        ("waits", waits(used)),
    ];
    all.into_iter().filter_map(|(name, said)| Some((name, said?))).collect()
}

fn processes(used: &TaskUse) -> Option<String> {
    let pids = used.pids;
    let most = used.pids_limit.map_or_else(String::new, |most| format!(" of at most {most}"));
    let times = |number: u64, what: &str| (number > 0).then(|| format!("{number} {what}"));
    listed([
        Some(format!("{pids}{most}")),
        times(used.pids_refused.unwrap_or(0), "refused"),
        times(used.oom_kills, "killed for memory"),
    ])
}

fn cpu_time(used: &TaskUse) -> Option<String> {
    let (user, system) = used.cpu_user_seconds.zip(used.cpu_system_seconds)?;
    Some(format!("{:.1} s, {user:.1} s in programs and {system:.1} s in the kernel", used.cpu_seconds))
}

fn memory(used: &TaskUse) -> Option<String> {
    let shared = used.mem_shared_mib.unwrap_or(0.0);
    let amount = |amount: f64, what: &str| format!("{} {what}", mib(amount));
    listed([
        used.mem_anonymous_mib.map(|own| amount(own, "of programs")),
        used.mem_file_mib.map(|file| amount((file - shared).max(0.0), "of files")),
        used.mem_shared_mib.map(|shared| amount(shared, "shared")),
        used.mem_kernel_mib.map(|kernel| amount(kernel, "of the kernel")),
        used.swap_mib.filter(|swap| *swap > 0.0).map(|swap| amount(swap, "in swap")),
    ])
}

fn io(used: &TaskUse) -> Option<String> {
    let (read, written) = used.io_read_mib.zip(used.io_written_mib)?;
    Some(format!("{} read, {} written", mib(read), mib(written)))
}

fn waits(used: &TaskUse) -> Option<String> {
    let part = |name: &str, percent: Option<f64>| Some(format!("{name} {}", share(percent? / 100.0)));
    let parts = listed([
        part("cpu", used.cpu_pressure_percent),
        part("memory", used.mem_pressure_percent),
        part("disks", used.io_pressure_percent),
    ]);
    Some(format!("{} of the last 10 s", parts?))
}

/// What there is, with commas between; `None` for nothing.
fn listed<const N: usize>(parts: [Option<String>; N]) -> Option<String> {
    let there: Vec<String> = parts.into_iter().flatten().collect();
    (!there.is_empty()).then(|| there.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_by_name_and_the_rest_is_left_out() {
        let nothing = TaskUse::default();
        assert_eq!(usage(&nothing), [("processes", "0".to_owned())]);
        assert_eq!((memory_bounds(&nothing), throttled(&nothing)), (None, None));
        let used = TaskUse {
            pids: 3,
            pids_limit: Some(100),
            pids_refused: Some(7),
            oom_kills: 1,
            cpu_seconds: 2.5,
            cpu_user_seconds: Some(2.0),
            cpu_system_seconds: Some(0.5),
            cpu_periods: 10,
            cpu_periods_throttled: 3,
            throttled_seconds: 1.5,
            mem_peak_mib: 410.0,
            mem_limit_mib: Some(512.0),
            mem_anonymous_mib: Some(200.0),
            mem_file_mib: Some(60.0),
            mem_shared_mib: Some(10.0),
            mem_kernel_mib: Some(3.0),
            swap_mib: Some(16.0),
            io_read_mib: Some(12.0),
            io_written_mib: Some(0.0),
            cpu_pressure_percent: Some(12.34),
            io_pressure_percent: Some(100.0),
            ..nothing
        };
        let told: Vec<String> = usage(&used).iter().map(|(name, said)| format!("{name}: {said}")).collect();
        assert_eq!(
            told,
            [
                "processes: 3 of at most 100, 7 refused, 1 killed for memory",
                "cpu time: 2.5 s, 2.0 s in programs and 0.5 s in the kernel",
                "memory: 200MiB of programs, 50MiB of files, 10MiB shared, 3MiB of the kernel, 16MiB in swap",
                "io: 12MiB read, 0MiB written",
                "waits: cpu 12.3%, disks 100.0% of the last 10 s",
            ]
        );
        assert_eq!(memory_bounds(&used).as_deref(), Some("peak 410MiB, at most 512MiB"));
        assert_eq!(throttled(&used).as_deref(), Some("throttled for 1.5 s, in 3 of 10 periods"));
    }
}
