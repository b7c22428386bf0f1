//! What a master recorded comes to the same when it is told again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bourse_tests::{Load, Plan};

const LOAD: &str = env!("CARGO_BIN_EXE_bourse-test-load");

const KILLS: usize = 3;

#[test]
fn what_a_master_was_told_under_load_and_kills_is_replayed_to_the_same_effects() {
    let mut cluster = Plan::agents(2).start();
    let load = Load::start(&cluster, Path::new(LOAD));
    let cli = cluster.cli();
    for _ in 0..KILLS {
        let ended = load.ended();
        cli.ok(["weight", "eng", "2"]);
        load.wait_ended(ended + 6);
        cluster.kill9_and_start("master");
        cluster.wait_ready(2, false);
    }
    load.finish(&cluster);

    let work_dir = cluster.secrets().join("master");
    let folder = work_dir.join("recording");
    let segments: BTreeSet<String> = fs::read_dir(&folder)
        .expect("it is recorded by default")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("a name of ours"))
        .collect();
    let epochs: BTreeSet<&str> = segments.iter().filter_map(|name| Some(name.split_once('-')?.0)).collect();
    // The newest is of the master that still runs.
    assert_eq!(epochs.len(), KILLS + 1, "{segments:?}");
    let work_dir = work_dir.to_str().expect("a path of ours");
    let inputs = |printed: &str| printed.lines().filter(|line| line.contains(" <- ")).count();
    for epoch in epochs.iter().copied().take(KILLS) {
        let ran = cli.ok(["replay", work_dir, "--epoch", epoch, "--quiet"]);
        assert!(ran.stdout.contains("the same effects as recorded"), "{ran}");
        assert!(!ran.stdout.contains("not known") && !ran.stdout.contains("missing"), "{ran}");
        assert_eq!(inputs(&ran.stdout), 0, "{ran}");
    }

    let first = epochs.first().copied().expect("there are some");
    let all = inputs(&cli.ok(["replay", work_dir, "--epoch", first]).stdout);
    let some = inputs(&cli.ok(["replay", work_dir, "--epoch", first, "--until", "+500ms"]).stdout);
    assert!(0 < some && some < all, "{some} of {all}");

    let damaged = cluster.shared().join("damaged");
    fs::create_dir(&damaged).expect("a test's own folder");
    let segment = segments.iter().find(|name| name.starts_with(first)).expect("there is one");
    let mut bytes = fs::read(folder.join(segment)).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged.join(segment), bytes).expect("a test's own folder");
    let ran = cli.run(["replay", damaged.to_str().expect("a path of ours"), "--quiet"]);
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr.contains("is damaged at byte"), "{ran}");
    assert_eq!(cli.run(["replay", "/no/such/folder"]).code(), 1);
}
