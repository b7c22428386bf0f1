//! Another binary in the place of the one that runs.

use std::fs;

use bourse_tests::{PATIENCE, Plan, binary, wait_for, wait_until};

/// A service that is asked again and again whether it is well, by a command of its own.
const CHECKED: &str = "name = \"NAME\"\ncommand = \"exec sleep 1000\"\nkill_grace = \"1s\"\n\
                       [resources]\ncpus = 0.05\nmem = \"32MiB\"\n\
                       [health]\ncommand = \"true\"\ninterval = \"200ms\"\n";

#[test]
fn an_agent_whose_binary_is_gone_goes_on_as_before_and_the_next_binary_takes_its_tasks_over() {
    let mut cluster = Plan::agents(1).services().start();
    let installed = cluster.secrets().join("bourse");
    binary::install(&installed);
    cluster.part("agent-1").set_program(&installed);
    cluster.kill9_and_start("agent-1");
    cluster.wait_ready(1, true);
    let agent = cluster.part("agent-1").pid().expect("it runs");
    let runs = move |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).expect("it runs");
    assert_eq!(runs(agent), installed);

    // Nothing of a launch or a check may need the file: between two releases there is none.
    fs::remove_file(&installed).expect("it is ours");
    assert!(runs(agent).to_string_lossy().ends_with("/bourse (deleted)"));
    cluster.api.deploy(&CHECKED.replace("NAME", "before")).expect("it is a good file");
    wait_for("the service", PATIENCE, || cluster.api.settled("before", 1));
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    let before = cluster.processes("before");

    binary::install(&installed);
    cluster.api.deploy(&CHECKED.replace("NAME", "meanwhile")).expect("it is a good file");
    wait_for("another service", PATIENCE, || cluster.api.settled("meanwhile", 1));
    let meanwhile = cluster.processes("meanwhile");
    assert_eq!((before.len(), meanwhile.len()), (1, 1));

    cluster.kill9_and_start("agent-1");
    let next = cluster.part("agent-1").pid().expect("it runs");
    assert_eq!(runs(next), installed);
    assert_eq!(cluster.cli().ok(["run", "--", "echo", "hello"]).stdout, "hello\n");
    for (name, processes) in [("before", before), ("meanwhile", meanwhile)] {
        wait_for(name, PATIENCE, || cluster.api.settled(name, 1));
        assert_eq!(cluster.processes(name), processes, "tasks go on with the same processes");
        cluster.cli().ok(["service", "remove", name]);
        wait_until("it to be ended", || processes.values().all(|process| !process.is_alive()));
    }
}
