//! Machines with nothing but version 1 of the control groups, which this one can be for a process.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::groups::mounted;

/// What is tried there: whole lives with every kind of end, limits, and what an agent finds again.
const AGAIN: [&str; 11] = [
    "ends::what_a_task_left_behind_dies_with_it",
    "groups::every_way_of_killing_empties_the_groups_so_that_they_can_be_removed",
    "groups::groups_that_were_made_in_those_of_a_task_go_with_it",
    "launches::a_command_that_does_not_exist_is_named_with_its_error",
    "launches::trying_out_says_what_this_machine_can_do_and_leaves_nothing",
    "leaks::whole_lives_of_containers_leave_their_agent_no_descriptor_and_no_child",
    "limits::a_running_task_is_throttled_by_the_quota_that_it_gets_and_runs_freely_without",
    "limits::a_task_over_its_memory_is_killed_and_the_end_says_so_with_figures",
    "limits::what_a_task_uses_is_told_by_kind_as_far_as_the_kernel_counts_it",
    "recovery::after_a_kill_of_the_agent_tasks_run_on_with_the_same_pid_and_ends_in_the_gap_are_known",
    "recovery::control_groups_that_belong_to_no_container_are_destroyed_with_what_runs_in_them",
];

/// Runs those tests where these hierarchies are not mounted.
fn without(hierarchies: &[PathBuf]) {
    let places: Vec<String> = hierarchies.iter().map(|place| format!("'{}'", place.display())).collect();
    // Lazily, as a process that was started before may stand in one.
    let script = format!("umount --lazy {} && exec \"$0\" \"$@\"", places.join(" "));
    let mut tests = Command::new("unshare");
    tests.args(["--mount", "sh", "-c", &script]).arg(env::current_exe().expect("it is running"));
    let ran = tests.args(["--exact", "--nocapture"]).args(AGAIN).output().expect("util-linux is installed");
    let (said, trouble) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let expected = format!("{} passed; 0 failed", AGAIN.len());
    assert!(ran.status.success() && said.contains(&expected), "without {places:?}: {said}{trouble}");
    assert!(said.contains("layout: V1"), "without {places:?}: {said}");
}

/// Plan: the tree of version 2 is left out, and then the freezer, too. Where the controllers are in version 2 there is
/// nothing of version 1 to be alone with.
#[test]
fn containers_live_and_die_on_version_1_alone_with_the_freezer_and_without() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes a mount namespace: run it with sudo");
    let (Some(_), Some(unified)) = (mounted(Some("memory")), mounted(None)) else { return };
    without(std::slice::from_ref(&unified));
    if let Some(freezer) = mounted(Some("freezer")) {
        without(&[unified, freezer]);
    }
}
