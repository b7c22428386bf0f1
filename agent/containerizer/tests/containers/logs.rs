//! What a task writes: whole, in files of a bounded size, and at nobody else's cost.

use std::fs;
use std::os::unix::fs::symlink;

use bourse_containerizer::{ContainerSpec, Containerizer, Isolation, LogLimits};
use bourse_types::Exit;

use super::ends::SmallDisk;
use super::lab::{Lab, exit_of, read, until, within};

/// The files of stdout, oldest first, each with its text.
fn files(spec: &ContainerSpec) -> Vec<(u64, String)> {
    let mut found: Vec<(u64, String)> = fs::read_dir(&spec.sandbox)
        .expect("the sandbox is there")
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let start = match name.strip_prefix("stdout")? {
                "" => u64::MAX,
                aside => aside.strip_prefix('.')?.parse().ok()?,
            };
            Some((start, read(spec, &name)))
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_lines_are_kept_in_files_of_a_bounded_size() {
    let lab = Lab::new();
    for isolation in [Isolation::Linux, Isolation::Process] {
        let name = format!("{isolation:?}").to_lowercase();
        let spec = ContainerSpec {
            logs: LogLimits { file_bytes: 100_000, files: 2, bytes_per_second: 0 },
            isolation,
            ..lab.shell(&name, "seq 1 200000")
        };
        assert_eq!(lab.run(&spec).await, Exit::Code(0));
        let all: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
        let files = files(&spec);
        assert_eq!(files.len(), 3);
        let mut at = files[0].0;
        for (start, text) in &files {
            assert!(text.len() <= 100_000 && text.ends_with('\n'), "{} bytes", text.len());
            assert!(*start == at || *start == u64::MAX, "{start} is not {at}");
            assert!(all[at as usize..].starts_with(text.as_str()), "from {at} on");
            at += text.len() as u64;
        }
        assert_eq!(at, all.len() as u64, "to the last byte");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_writes_flat_out_loses_no_byte() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "head -c 50000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end");
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    assert_eq!((read(&spec, "stdout").len(), read(&spec, "stderr").len()), (50_000_004, 3_000_000));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_floods_its_log_is_killed_at_once_and_what_others_of_it_write_on_is_not_waited_for() {
    let lab = Lab::new();
    let logs = LogLimits { file_bytes: 1 << 20, ..LogLimits::NONE };
    let endless = ContainerSpec { logs, ..lab.shell("c1", "yes") };
    lab.launch(&endless).await;
    until("it floods", || files(&endless).len() == 2).await;
    lab.containerizer.kill_all(&endless.container_id).await.expect("it is there");
    assert_eq!(exit_of(&lab.wait(&endless).await), Exit::Signal(libc::SIGKILL));
    let left_behind = ContainerSpec { logs, ..lab.shell("c2", "yes & exit 3") };
    assert_eq!(lab.run(&left_behind).await, Exit::Code(3));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_task_are_in_its_log() {
    let lab = Lab::new();
    // More than one piece, and written at once.
    let script = "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; kill -9 $$";
    for round in 0..20 {
        let spec = lab.shell(&format!("c{round}"), script);
        assert_eq!(lab.run(&spec).await, Exit::Signal(libc::SIGKILL));
        assert_eq!((read(&spec, "stdout").len(), read(&spec, "stderr").len()), (60_000, 60_000));
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_user_can_open_the_streams_of_a_task_again() {
    let lab = Lab::new();
    let script = "echo one > /dev/stdout; echo two > /dev/stderr; echo three >> /proc/self/fd/1";
    let spec = ContainerSpec { user: Some("nobody".into()), ..lab.shell("c1", script) };
    assert_eq!(lab.run(&spec).await, Exit::Code(0), "{}", read(&spec, "stderr"));
    assert_eq!((read(&spec, "stdout"), read(&spec, "stderr")), ("one\nthree\n".into(), "two\n".into()));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_empties_the_pipe_of_a_log_does_not_keep_the_task_from_being_killed() {
    let lab = Lab::new();
    let spec = lab.shell("c1", "cat /proc/self/fd/1 > /dev/null 2>&1 & cat /proc/$!/fd/1 > /dev/null & yes");
    lab.launch(&spec).await;
    lab.containerizer.kill_all(&spec.container_id).await.expect("it is there");
    assert_eq!(exit_of(&within(lab.wait(&spec)).await), Exit::Signal(libc::SIGKILL));
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_rate_is_thrown_away_and_counted() {
    let lab = Lab::new();
    let logs = LogLimits { bytes_per_second: 1000, ..LogLimits::NONE };
    let spec = ContainerSpec { logs, ..lab.shell("c1", "seq 1 100000; echo end >&2") };
    assert_eq!(lab.run(&spec).await, Exit::Code(0));
    let log = read(&spec, "stdout");
    let (told, kept): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with("[bourse: "));
    let lost: usize = told
        .iter()
        .map(|line| {
            let words = line.strip_suffix(" bytes lost: over the rate of 1000 bytes a second]");
            let number = words.and_then(|words| words.strip_prefix("[bourse: ")).expect("such a line");
            number.parse::<usize>().expect("a number")
        })
        .sum();
    let kept: usize = kept.iter().map(|line| line.len() + 1).sum();
    let all: usize = (1..=100_000).map(|number: u32| number.to_string().len() + 1).sum();
    assert_eq!(kept + lost, all, "{log}");
    assert_eq!(read(&spec, "stderr"), "end\n", "each has a rate of its own");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_a_task_its_log_and_not_its_life_and_is_told_there_later() {
    let disk = SmallDisk::mount();
    let lab = Lab::at(disk.folder.path(), &format!("test-{}-full-log", std::process::id()));
    let script = "head -c 1000000 /dev/zero > fill
        i=0; while [ $i -lt 3000 ]; do echo 'a line that finds no room on the disk' || exit 1; i=$((i+1)); done
        rm fill; echo room >&2; until [ -e go ]; do sleep 0.02; done; echo more; exit 7";
    let spec = lab.shell("c1", script);
    lab.launch(&spec).await;
    until("it has made room", || read(&spec, "stderr").contains("room\n")).await;
    fs::write(spec.sandbox.join("go"), "").expect("there is room");
    assert_eq!(exit_of(&lab.wait(&spec).await), Exit::Code(7));
    let log = read(&spec, "stdout");
    assert!(log.contains(" bytes lost: they could not be written to the disk]\n"), "{log}");
    assert!(log.ends_with("\nmore\n"), "{log}");
    lab.containerizer.destroy(&spec.container_id).await.expect("it can be destroyed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_place_of_a_log_is_not_followed_nor_waited_for() {
    let lab = Lab::new();
    let secret = lab.root().join("secret");
    fs::write(&secret, "secret").expect("it is writable");
    let linked = lab.shell("c1", "echo over it");
    symlink(&secret, linked.sandbox.join("stdout")).expect("linked");
    let waiting = lab.shell("c2", "echo into it");
    nix::unistd::mkfifo(&waiting.sandbox.join("stderr"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let folder = lab.shell("c3", "echo into it");
    fs::create_dir(folder.sandbox.join("stdout")).expect("made");
    for spec in [linked, waiting, folder] {
        let error = lab.containerizer.launch(&spec).await.expect_err("it has no log");
        assert!(error.to_string().contains("open the files for stdout and stderr"), "{error}");
    }
    assert_eq!(fs::read_to_string(secret).expect("it is there"), "secret");
    lab.finish().await;
}
