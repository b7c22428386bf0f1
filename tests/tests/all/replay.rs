//! What a master recorded comes to the same when it is told again.

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

    // The newest is of the master that still runs.
    let epochs = cluster.recorded_epochs();
    assert_eq!(epochs.len(), KILLS + 1, "{epochs:?}");
    for epoch in &epochs[..KILLS] {
        let told = cluster.replay(*epoch);
        assert!(!told.contains("not known") && !told.contains("missing"), "{told}");
    }

    let work_dir = cluster.secrets().join("master").display().to_string();
    let epoch = epochs[0].to_string();
    let inputs = |more: &[&str]| {
        let ran = cli.ok(["replay", &work_dir, "--epoch", &epoch].iter().chain(more));
        ran.stdout.lines().filter(|line| line.contains(" <- ")).count()
    };
    let (all, some) = (inputs(&[]), inputs(&["--until", "+500ms"]));
    assert!(0 < some && some < all, "{some} of {all}");

    let damaged = cluster.shared().join("damaged");
    fs::create_dir(&damaged).expect("a test's own folder");
    let segment = format!("{epoch}-000001.segment");
    let mut bytes = fs::read(cluster.recording().join(&segment)).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged.join(segment), bytes).expect("a test's own folder");
    let ran = cli.run(["replay", damaged.to_str().expect("a path of ours"), "--quiet"]);
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr.contains("is damaged at byte"), "{ran}");
    assert_eq!(cli.run(["replay", "/no/such/folder"]).code(), 1);
}
