//! The command line: what scripts and people rely on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use bourse_tests::{Cluster, PATIENCE, Plan, wait_for};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A cluster with two agents, two services and three tasks.
fn busy() -> Cluster {
    let cluster = Plan::agents(2).services().start();
    for (name, count) in [("alpha", 2), ("beta", 1)] {
        let file = format!(
            "name = \"{name}\"\ncount = {count}\ncommand = \"echo I am $BOURSE_INSTANCE; exec sleep 1000\"\n\
             kill_grace = \"1s\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n"
        );
        cluster.api.deploy(&file).expect("a good file");
    }
    wait_for("alpha", PATIENCE, || cluster.api.settled("alpha", 2));
    wait_for("beta", PATIENCE, || cluster.api.settled("beta", 1));
    cluster
}

#[test]
fn things_are_called_by_id_by_name_or_by_a_unique_beginning() {
    let cluster = busy();
    let cli = cluster.cli();
    let id = cluster.api.service("beta").expect("it is there").instances[0].task_id.clone();
    for name in [id.as_str(), "beta.0", "beta", &id[..id.len() - 1]] {
        assert_eq!(cli.json(["task", name])["id"], id, "{name}");
    }
    for agent in ["agent-2", "S1", "s1"] {
        let agents = cli.json(["agents", agent]);
        assert_eq!(agents["agents"].as_array().map(Vec::len), Some(1), "{agent}: {agents}");
    }
    // What could be several is refused, with all of them to choose from.
    for verb in ["kill", "task"] {
        let ran = cli.run([verb, "alpha"]);
        assert_eq!(ran.code(), 2, "{ran}");
        assert!(ran.stderr.contains("alpha.0") && ran.stderr.contains("alpha.1"), "{ran}");
    }
    assert_eq!(cluster.api.settled("alpha", 2).map(|service| service.restarts), Ok(0), "nothing was killed");
    cli.ok(["kill", "alpha.1"]);
    wait_for("alpha.1 to be started again", PATIENCE, || {
        let service = cluster.api.settled("alpha", 2)?;
        if service.restarts == 1 { Ok(()) } else { Err(format!("{service:?}")) }
    });
    // Of one name there are two now, and the one that lives is meant.
    assert_eq!(cli.json(["task", "alpha.1"])["state"], "TASK_RUNNING");
    for (service, name) in [("al", "alpha"), ("beta", "beta")] {
        assert_eq!(cli.json(["service", "show", service])["name"], name);
    }
    assert_eq!(cli.json(["service", "scale", "bet", "1"])["service"]["name"], "beta");
    assert_eq!(cli.json(["why", "al"])["id"], "alpha");
    // Events are about whatever is called so, though it is not what its id begins with.
    for about in ["agent-2", "S1", "services", "beta.0", &id] {
        let events = cli.ok(["events", "--about", about, "-o", "json"]);
        assert!(!events.stdout.is_empty(), "{about}: {events}");
    }
    let events = cli.ok(["events", "--about", "no-such-thing"]);
    assert!(events.stdout.is_empty() && events.stderr.contains("no event so far names"), "{events}");
}

#[test]
fn what_cannot_be_undone_wants_the_whole_name() {
    let mut cluster = busy();
    let cli = cluster.cli();
    let arguments: [&[&str]; 4] = [
        &["teardown", "serv"],
        &["gone", "S0"],
        &["drain", "S0", "--mark-gone"],
        &["service", "remove", "alph"],
    ];
    for arguments in arguments {
        let ran = cli.run(arguments);
        assert!([2, 3].contains(&ran.code()), "{arguments:?}: {ran}");
    }
    assert!(cli.run(["teardown", "serv"]).stderr.contains("give its whole id or name"));
    assert!(cluster.api.settled("alpha", 2).is_ok(), "nothing was done");
    assert_eq!(cli.json(["agents", "agent-1"])["agents"][0]["state"], "active");
    cli.ok(["teardown", "services"]);
    // Its process ends by that, which is no failure of the cluster's.
    cluster.part("services").wait(PATIENCE);
}

#[test]
fn json_has_the_same_keys_whatever_there_is() {
    let cluster = busy();
    let cli = cluster.cli();
    let keys = |value: &Value, wanted: &[&str], what: &str| {
        for key in wanted {
            assert!(value.get(key).is_some(), "{key} is not in what {what} prints: {value}");
        }
    };
    let first = |list: &Value, name: &str| {
        list[name].as_array().and_then(|list| list.first()).cloned().unwrap_or_default()
    };

    let status = cli.json(["status"]);
    keys(
        &status,
        &["verdict", "problems", "resources", "agents_active", "epoch", "tasks", "version"],
        "status",
    );
    assert_eq!(status["tasks"]["TASK_RUNNING"], 3, "{status}");
    // Five kinds of amounts, never one for another.
    let resources = &status["resources"];
    keys(resources, &["total", "reserved", "offered", "allocated", "used", "available"], "status");
    assert_eq!(resources["total"]["cpus"], 16.0, "{resources}");
    let allocated = resources["allocated"]["cpus"].as_f64().expect("a number");
    assert!((allocated - 0.3).abs() < 1e-9, "{resources}");

    let task = first(&cli.json(["ps"]), "tasks");
    keys(
        &task,
        &[
            "id",
            "name",
            "framework_id",
            "agent_id",
            "state",
            "reason",
            "allocated",
            "used",
            "pid",
            "statuses",
        ],
        "ps",
    );
    let agent = first(&cli.json(["agents"]), "agents");
    keys(&agent, &["id", "hostname", "state", "resources", "attributes", "tasks"], "agents");
    let framework = first(&cli.json(["frameworks"]), "frameworks");
    keys(
        &framework,
        &["id", "name", "state", "roles", "allocated", "dominant_share", "unserved"],
        "frameworks",
    );
    keys(&first(&cli.json(["roles"]), "roles"), &["name", "weight", "allocated"], "roles");
    assert!(cli.json(["offers"])["offers"].is_array());
    let service = first(&cli.json(["service", "list"]), "services");
    keys(&service, &["name", "wanted", "running", "healthy", "state", "reason", "instances"], "service list");
    keys(&cli.json(["service", "show", "beta"]), &["name", "toml", "version"], "service show");
    keys(&cli.json(["why", "beta.0"]), &["kind", "id", "summary", "agents"], "why");
    // Events are one a line, so that they can be followed.
    let events = cli.ok(["events", "-o", "json"]).stdout;
    assert!(events.lines().count() > 3);
    for line in events.lines() {
        keys(&serde_json::from_str(line).expect(line), &["sequence", "at_ms", "kind", "summary"], "events");
    }
    // And with nothing to list, the list is there and empty.
    assert_eq!(cli.json(["ps", "no-such-task"])["tasks"], Value::Array(Vec::new()));
}

#[test]
fn every_verb_prints_json() {
    let mut cluster = busy();
    let cli = cluster.cli();
    let file = "name = \"gamma\"\ncommand = \"exec sleep 1000\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n";
    let path = cluster.shared().join("gamma.toml");
    fs::write(&path, file).expect("a test's own folder");
    let path = path.to_str().expect("it is text");
    // In this order, as some end what others ask about. What each must hold is beside it.
    let calls: [(&[&str], &str); 23] = [
        (&["status"], "verdict"),
        (&["ps"], "tasks"),
        (&["agents"], "agents"),
        (&["frameworks"], "frameworks"),
        (&["roles"], "roles"),
        (&["offers"], "offers"),
        (&["task", "beta.0"], "state"),
        (&["why", "beta.0"], "summary"),
        (&["events", "-n", "1"], "sequence"),
        (&["logs", "beta.0"], "data"),
        (&["weight", "eng", "2"], ""),
        (&["kill", "beta.0"], "task_id"),
        (&["service", "validate", path], "toml"),
        (&["service", "deploy", path], "outcome"),
        (&["service", "list"], "services"),
        (&["service", "show", "gamma"], "instances"),
        (&["service", "scale", "gamma", "2"], "service"),
        (&["service", "remove", "gamma"], ""),
        (&["drain", "agent-2", "--follow"], "deadline_ms"),
        (&["reactivate", "agent-2"], "agent_id"),
        (&["teardown", "services"], "framework_id"),
        (&["gone", "agent-2"], "agent_id"),
        (&["completion", "bash"], "-"),
    ];
    let logs = cli.json(["logs", "alpha.0"]);
    assert_eq!((&logs["stream"], &logs["offset"]), (&"LOG_STREAM_STDOUT".into(), &0.into()), "{logs}");
    for (arguments, key) in calls.iter().filter(|(_, key)| *key != "-") {
        // One document, or there would be an error.
        let printed = cli.json(*arguments);
        assert!(printed.is_object() && (key.is_empty() || printed.get(key).is_some()), "{printed}");
    }
    // What was torn down or is gone ends by that, which is no failure of the cluster's.
    cluster.part("services").wait(PATIENCE);
    cluster.part("agent-2").wait(PATIENCE);
    // None is left out but those that run a part, `run`, whose output is its task's, and `replay`, which asks no master.
    let help = cli.ok(["--help"]).stdout;
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: BTreeSet<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    let mut called: BTreeSet<&str> = calls.iter().map(|(arguments, _)| arguments[0]).collect();
    called.extend(["dev", "master", "agent", "services", "run", "replay", "help"]);
    assert_eq!(verbs, called);
}

#[test]
fn a_terminal_gets_colours_and_is_drawn_over() {
    let cluster = busy();
    let once = Terminal::start(&cluster, &["ps"]);
    let shown = once.until("beta.0", 1);
    assert!(shown.contains("TASK ") && shown.contains("\x1b[32m● running\x1b[0m"), "{shown:?}");
    assert!(!shown.contains("\x1b[2J"), "what was there before stays: {shown:?}");
    let follow = Terminal::start(&cluster, &["ps", "-f"]);
    follow.until("beta.0", 1);
    cluster.cli().ok(["service", "scale", "beta", "0"]);
    wait_for("the table without it", PATIENCE, || {
        let shown = follow.until("\x1b[H\x1b[2J", 2);
        let last = shown.rsplit("\x1b[2J").next().unwrap_or_default().to_owned();
        if last.contains("alpha.0") && !last.contains("beta.0") { Ok(()) } else { Err(last) }
    });
}

/// A verb at a terminal.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Terminal {
        let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal can be made");
        let mut command = cluster.cli().command(arguments);
        command.env("TERM", "xterm").stderr(Stdio::null()).stdout(slave);
        let child = command.spawn().expect("it starts");
        // It holds our end of the terminal open.
        drop(command);
        let shown = Arc::new(Mutex::new(String::new()));
        let (screen, mut output) = (shown.clone(), fs::File::from(master));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of the last writer is an error of the terminal.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                screen.lock().expect("nobody panics with it").push_str(&text);
            }
        });
        Terminal { child, shown }
    }

    /// All that was shown, as soon as it holds this so often.
    fn until(&self, text: &str, times: usize) -> String {
        wait_for(&format!("{text:?}"), PATIENCE, || {
            let shown = self.shown.lock().expect("nobody panics with it").clone();
            if shown.matches(text).count() >= times { Ok(shown) } else { Err(format!("{shown:?}")) }
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tables_have_a_header_and_names_alone_are_for_scripts() {
    let cluster = busy();
    let cli = cluster.cli();
    let table = cli.ok(["ps"]).stdout;
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|header| header.starts_with("TASK ")), "{table}");
    assert_eq!(lines.filter(|line| line.contains("running")).count(), 3, "{table}");
    assert!(!table.contains('\x1b'), "no colours for a file: {table}");
    let names = cli.ok(["ps", "-o", "name"]).stdout;
    assert_eq!(names.lines().count(), 3);
    assert!(names.lines().all(|name| !name.contains(' ')), "{names}");
    assert!(cli.ok(["status"]).stdout.lines().next().is_some_and(|verdict| verdict.contains("2 agents")));
}

#[test]
fn exit_codes_are_those_that_the_help_names() {
    let cluster = Plan::agents(1).start();
    let mut cli = cluster.cli();
    assert_eq!(cli.run(["ps"]).code(), 0);
    for (arguments, code) in [
        (&["no-such-verb"][..], 2),
        (&["ps", "--no-such-flag"], 2),
        (&["kill", "x", "--grace", "soon"], 2),
        (&["kill", "no-such-task"], 3),
        (&["task", "no-such-task"], 3),
        (&["drain", "no-such-agent"], 3),
        (&["service", "validate", "/no/such/file"], 1),
        (&["reactivate", "agent-1"], 8),
    ] {
        let ran = cli.run(arguments);
        assert_eq!(ran.code(), code, "{arguments:?}: {ran}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran}");
    }
    cli.token_file = Some(cluster.token_file("framework"));
    let ran = cli.run(["ps"]);
    assert_eq!(ran.code(), 4, "{ran}");
    assert!(ran.stderr.contains("operator"), "it says which kind of token is needed: {ran}");
    cli.token_file = None;
    assert_eq!(cli.run(["ps"]).code(), 4);
    cli.token_file = Some("/no/such/token".into());
    assert_eq!(cli.run(["ps"]).code(), 2);
    cli.token_file = None;
    cli.master = Some("two words".into());
    assert_eq!(cli.run(["ps"]).code(), 2);
    cli.master = Some(format!("{}:1", cluster.ip));
    let ran = cli.run(["ps"]);
    assert_eq!(ran.code(), 7, "{ran}");
    assert!(ran.stderr.contains("no master answers at") && ran.stderr.contains("--master"), "{ran}");
}

#[test]
fn a_service_file_that_is_not_right_is_told_by_line_column_and_the_word_that_was_meant() {
    let cluster = Plan::agents(1).services().start();
    let file = "name = \"web\"\ncommand = \"exec sleep 1000\"\nconut = 3\n\n[resources]\ncpu = 1\n";
    for arguments in [["service", "validate", "-"], ["service", "deploy", "-"]] {
        let ran = cluster.cli().run_with(arguments, file);
        assert_eq!(ran.code(), 2, "{ran}");
        for part in ["3:1", "conut", "count", "6:1", "cpu", "cpus"] {
            assert!(ran.stderr.contains(part), "{part:?} is not in {ran}");
        }
    }
    assert!(cluster.api.services().expect("it answers").is_empty());
}

#[test]
fn deploy_waits_until_the_service_is_there_and_the_same_file_again_changes_nothing() {
    let cluster = Plan::agents(1).services().start();
    let file = "name = \"web\"\ncommand = \"exec sleep 1000\"\ncount = 2\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n";
    let cli = cluster.cli();
    let ran = cli.run_with(["service", "deploy", "-"], file);
    assert!(
        ran.status.success() && ran.stderr.contains("web: created") && ran.stderr.contains("2 of 2 running"),
        "{ran}"
    );
    let before = cluster.processes("");
    assert_eq!(before.len(), 2);
    let ran = cli.run_with(["service", "deploy", "-"], file);
    assert!(ran.status.success() && ran.stderr.contains("web: unchanged"), "{ran}");
    assert_eq!(cluster.processes(""), before);
    cli.ok(["service", "scale", "web", "1"]);
    wait_for("one instance", PATIENCE, || cluster.api.settled("web", 1));
    cli.ok(["service", "remove", "web"]);
    wait_for("the service to be forgotten", PATIENCE, || {
        let services = cluster.api.services().map_err(|status| status.to_string())?;
        if services.is_empty() { Ok(()) } else { Err(format!("{services:?}")) }
    });
    assert_eq!(cli.run(["service", "show", "web"]).code(), 3);
    cluster.assert_no_container_is_left();
}

/// A verb that goes on, line by line.
struct Follower {
    child: Child,
    lines: Receiver<String>,
    said: Receiver<String>,
}

impl Follower {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Follower {
        let mut command = cluster.cli().command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let said = lines_of(child.stderr.take().expect("it is piped"));
        Follower { child, lines, said }
    }

    /// The first line from now on that holds the word.
    fn until(&mut self, word: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line told of {word:?}"));
            if line.contains(word) {
                return line;
            }
        }
    }

    /// Waits until this is said on standard error.
    fn hear(&mut self, words: &str) {
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nobody said {words:?}"));
            if line.contains(words) {
                return;
            }
        }
    }
}

/// What is read there, line by line, until its writer ends.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (told, lines) = channel();
    let output = BufReader::new(output);
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    lines
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_followed_goes_on_as_things_happen() {
    let cluster = Plan::agents(1).start();
    let mut tasks = Follower::start(&cluster, &["ps", "-a", "-f", "-o", "json"]);
    let mut events = Follower::start(&cluster, &["events", "-f"]);
    // What happened before is told first, so that it is known to listen.
    events.until("was admitted");
    let ran = cluster.cli().run(["run", "--name", "seen", "--", "sh", "-c", "echo one; exit 4"]);
    assert_eq!(ran.code(), 4, "{ran}");
    let list: Value = serde_json::from_str(&tasks.until("TASK_FAILED")).expect("JSON, one a line");
    let task = &list["tasks"][0];
    assert_eq!((&task["name"], &task["exit"]["code"]), (&"seen".into(), &4.into()), "{list}");
    events.until("seen");
    let logs = cluster.cli().ok(["logs", "seen"]);
    assert_eq!(logs.stdout, "one\n");
}

#[test]
fn what_is_followed_is_what_was_asked_for() {
    let cluster = Plan::agents(2).start();
    let mut one = Follower::start(&cluster, &["agents", "agent-1", "-f", "-o", "json"]);
    let mut roles = Follower::start(&cluster, &["roles", "-f", "-o", "json"]);
    let mut events = Follower::start(&cluster, &["events", "--about", "agent-1", "-f", "-o", "json"]);
    one.until("agent-1");
    roles.until("roles");
    events.until("agent-1");
    cluster.cli().ok(["drain", "agent-2", "--follow"]);
    cluster.cli().ok(["drain", "agent-1", "--follow"]);
    cluster.cli().ok(["weight", "eng", "2"]);
    let ids = |line: &str| {
        let list: Value = serde_json::from_str(line).expect("JSON, one a line");
        let agents = list["agents"].as_array().cloned().unwrap_or_default();
        agents.iter().map(|agent| agent["hostname"].to_string()).collect::<Vec<_>>()
    };
    loop {
        let line = one.until("agents");
        assert_eq!(ids(&line), ["\"agent-1\""], "{line}");
        if line.contains("drained") {
            break;
        }
    }
    loop {
        let line = events.until("sequence");
        assert!(!line.contains("agent-2"), "{line}");
        if line.contains("drained") {
            break;
        }
    }
    let line = roles.until("eng");
    let list: Value = serde_json::from_str(&line).expect("JSON, one a line");
    let mut roles = list["roles"].as_array().into_iter().flatten();
    assert!(roles.any(|role| role["name"] == "eng" && role["weight"] == 2.0), "{line}");
}

#[test]
fn what_is_followed_goes_on_over_a_restart_of_the_master_and_misses_nothing() {
    let mut cluster = Plan::agents(1).start();
    let mut tasks = Follower::start(&cluster, &["ps", "-a", "-f", "-o", "json"]);
    let mut events = Follower::start(&cluster, &["events", "-f", "-o", "json"]);
    cluster.cli().ok(["run", "--name", "before", "--", "true"]);
    tasks.until("before");
    events.until("before");
    cluster.part("master").kill9();
    for follower in [&mut tasks, &mut events] {
        follower.hear("the master cannot be reached; waiting for it");
    }
    cluster.part("master").start();
    cluster.wait_ready(1, false);
    cluster.cli().ok(["run", "--name", "after", "--", "true"]);
    for follower in [&mut tasks, &mut events] {
        follower.hear("the master is back");
    }
    tasks.until("after");
    let mut told: Vec<Value> = Vec::new();
    let end = |line: &Value| line["task_id"].as_str().is_some_and(|id| id.starts_with("after"));
    while !told.last().is_some_and(end) {
        told.push(serde_json::from_str(&events.until("sequence")).expect("JSON, one a line"));
    }
    // All that the history has, and each once, from what was told before the restart.
    let history = cluster.cli().ok(["events", "-n", "1000", "-o", "json"]).stdout;
    let history: Vec<Value> =
        history.lines().map(|line| serde_json::from_str(line).expect("JSON, one a line")).collect();
    let place = |event: &Value| (event["at_ms"].as_u64(), event["sequence"].as_u64());
    let told: Vec<_> = told.iter().map(place).collect();
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "one was told twice: {told:?}");
    let between = |event: &&Value| (told[0]..=told[told.len() - 1]).contains(&place(event));
    for event in history.iter().filter(between) {
        assert!(told.contains(&place(event)), "{event} was not told");
    }
    for follower in [&mut tasks, &mut events] {
        assert!(follower.child.try_wait().expect("a child of ours").is_none(), "it goes on");
    }
}

#[test]
fn a_wait_goes_on_over_a_restart_of_the_master() {
    let mut cluster = Plan::agents(2).services().start();
    let gate = cluster.shared().join("gate");
    let file = format!(
        "name = \"late\"\ncommand = \"exec sleep 1000\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n\
         [health]\ncommand = \"test -e {}\"\ninterval = \"100ms\"\n",
        gate.display()
    );
    fs::write(cluster.shared().join("late.toml"), file).expect("a test's own folder");
    let path = cluster.shared().join("late.toml").display().to_string();
    let mut deploy = Follower::start(&cluster, &["service", "deploy", &path, "-o", "json"]);
    deploy.hear("1 of 1 running, 0 healthy");
    let ended = "trap '' TERM; exec sleep 1000";
    let run = ["run", "--name", "stays", "--grace", "1000s", "--", "sh", "-c", ended];
    let mut run = Follower::start(&cluster, &run);
    let task = wait_for("a task that stays", PATIENCE, || {
        let tasks = cluster.api.running().map_err(|status| status.to_string())?;
        tasks.into_iter().find(|task| task.id.starts_with("stays")).ok_or("it does not run".to_owned())
    });
    let mut drain = Follower::start(&cluster, &["drain", &task.hostname, "--deadline", "1h", "-f"]);
    drain.hear("left to end");
    cluster.part("master").kill9();
    drain.hear("the master cannot be reached; waiting for it");
    deploy.hear("the master cannot be reached; waiting for it");
    cluster.part("master").start();
    drain.hear("the master is back");
    fs::write(&gate, "").expect("a test's own folder");
    deploy.until("\"outcome\": \"created\"");
    cluster.cli().ok(["kill", &task.id, "--grace", "0s"]);
    assert!(drain.child.wait().expect("a child of ours").success());
    assert!(deploy.child.wait().expect("a child of ours").success());
    run.child.wait().expect("a child of ours");
}

#[test]
fn what_is_followed_ends_when_nobody_reads_it() {
    let cluster = Plan::agents(1).start();
    for verb in ["agents", "events"] {
        let arguments = [verb, "-f", "-o", "json"];
        let mut child = cluster.cli().command(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut first).expect("it is text");
        assert!(first.ends_with('\n'), "{verb}: {first:?}");
        // Whether or not there is another line to fail at.
        wait_for(&format!("`{verb} | head -1` to end"), PATIENCE, || match child.try_wait() {
            Ok(Some(status)) if status.success() => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure_with_a_sentence() {
    let cluster = Plan::agents(1).start();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    for arguments in [&["agents", "-o", "json"][..], &["agents"], &["status"], &["events", "-f"]] {
        let output = cluster.cli().command(arguments).stdout(full()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("bourse: writing to standard output: No space left"), "{said}");
    }
    // What cannot be said does not change what is done.
    let arguments = ["run", "--", "sh", "-c", "exit 7"];
    let ended = cluster.cli().command(arguments).stderr(full()).status().expect("it starts");
    assert_eq!(ended.code(), Some(7));
}

#[test]
fn logs_are_read_from_the_start_from_the_end_and_on_as_they_grow() {
    let cluster = Plan::agents(1).start();
    let gate = cluster.shared().join("gate");
    let script =
        format!("echo out; echo err >&2; until [ -e {} ]; do sleep 0.02; done; echo late", gate.display());
    let mut run = cluster
        .cli()
        .command(["run", "--name", "talker", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_for("its first words", PATIENCE, || {
        let ran = cluster.cli().run(["logs", "talker"]);
        if ran.stdout == "out\n" && ran.stderr == "err\n" { Ok(()) } else { Err(ran) }
    });
    assert_eq!(cluster.cli().ok(["logs", "talker", "--stderr"]).stderr, "err\n");
    assert_eq!(cluster.cli().ok(["logs", "talker", "--stdout", "--tail", "3"]).stdout, "ut\n");
    let following =
        cluster.cli().command(["logs", "talker", "-f"]).stdout(Stdio::piped()).spawn().expect("it starts");
    fs::File::create(&gate).and_then(|mut gate| gate.write_all(b"x")).expect("a test's own folder");
    let output = following.wait_with_output().expect("a child of ours");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\nlate\n", "it ends when the task does");
    assert!(run.wait().expect("a child of ours").success());
}

#[test]
fn why_tells_what_stands_in_the_way_and_what_would_help() {
    let cluster = busy();
    let file = "name = \"giant\"\ncommand = \"true\"\n[resources]\ncpus = 99\nmem = \"64MiB\"\n";
    cluster.api.deploy(file).expect("a good file");
    wait_for("the reason", PATIENCE, || {
        let service = cluster.api.service("giant").map_err(|status| status.to_string())?;
        if service.reason.contains("cpus") { Ok(()) } else { Err(format!("{service:?}")) }
    });
    // Offers for a service come to its framework.
    for subject in ["services", "giant", "alpha"] {
        let why = cluster.cli().json(["why", subject, "--resources", "cpus:99; mem:64"]);
        let agents = why["agents"].as_array().expect("a list");
        assert_eq!(agents.len(), 2, "{why}");
        for agent in agents {
            assert_eq!(agent["fits"], false, "{why}");
            let too_small = |obstacle: &Value| obstacle["reason"] == "too_small";
            assert!(agent["obstacles"].as_array().is_some_and(|all| all.iter().any(too_small)), "{why}");
        }
        assert!(why["nearest_fix"].as_str().is_some_and(|fix| fix.contains("cpus")), "{why}");
    }

    // A service is asked about by its own name, and each of its instances.
    let file = "name = \"stuck\"\ncommand = \"sleep 1000\"\n[resources]\ncpus = 99\nmem = \"64MiB\"\n";
    cluster.api.deploy(file).expect("a good file");
    for name in ["stuck", "stuck.0"] {
        let why = wait_for("the instance to wait", PATIENCE, || {
            let why = cluster.cli().json(["why", name]);
            let told = why["agents"].as_array().is_some_and(|agents| agents.len() == 2);
            if told { Ok(why) } else { Err(why.to_string()) }
        });
        assert_eq!((&why["kind"], &why["id"]), (&Value::from("service"), &Value::from(name)), "{why}");
        assert!(
            why["agents"][0]["obstacles"][0]["detail"].as_str().is_some_and(|all| all.contains("99")),
            "{why}"
        );
        assert!(why["summary"].as_str().is_some_and(|text| text.contains(" stuck")), "{why}");
    }
}

#[test]
fn a_service_that_ends_again_and_again_is_told_by_attempts_and_sent_to_its_log() {
    let cluster = Plan::agents(1).services().start();
    let file = "name = \"flaky\"\ncommand = \"exit 3\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n";
    let ran = cluster.cli().run_with(["service", "deploy", "-", "--timeout", "4s"], file);
    assert_eq!(ran.code(), 6, "{ran}");
    // One that runs for a while each time does not run well either.
    let file = file.replace("flaky", "short").replace("exit 3", "sleep 1; exit 3");
    let short = cluster.cli().run_with(["service", "deploy", "-", "--timeout", "4s"], &file);
    assert_eq!(short.code(), 6, "{short}");
    // The seconds that a wait has left are no news.
    let news = |line: &str| line.split(" after ").nth(1).map(str::to_owned);
    let told: Vec<String> = ran.stderr.lines().filter_map(news).collect();
    assert!(told.len() >= 2 && told.windows(2).all(|pair| pair[0] != pair[1]), "{ran}");
    for subject in ["flaky", "flaky.0"] {
        let why = wait_for("the back-off", PATIENCE, || {
            let why = cluster.cli().json(["why", subject]);
            let told = why["summary"].as_str().is_some_and(|text| text.contains("backing off"));
            if told { Ok(why) } else { Err(why.to_string()) }
        });
        assert!(why["nearest_fix"].as_str().is_some_and(|fix| fix.contains("bourse logs flaky.0")), "{why}");
        assert_eq!(why["agents"], Value::Array(Vec::new()), "no agent stands in the way: {why}");
    }
}

#[test]
fn a_deploy_that_nobody_answers_is_given_up_in_time() {
    let mut cluster = Plan::agents(1).services().start();
    cluster.part("master").signal(Signal::SIGSTOP);
    let file = "name = \"late\"\ncommand = \"exec sleep 1000\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n";
    let ran = cluster.cli().run_with(["service", "deploy", "-", "--timeout", "2s"], file);
    cluster.part("master").signal(Signal::SIGCONT);
    assert_eq!(ran.code(), 6, "{ran}");
    assert!(ran.stderr.contains("gave up after 2s"), "{ran}");
}

#[test]
fn who_waits_for_a_drain_that_somebody_ends_is_told_that_the_agent_is_not_empty() {
    let cluster = busy();
    let task = cluster.api.running().expect("it answers").pop().expect("it is busy");
    let mut drain = Follower::start(&cluster, &["drain", &task.hostname, "--deadline", "1h", "-f"]);
    drain.hear("left to end");
    cluster.cli().ok(["reactivate", &task.hostname]);
    drain.hear("was ended");
    assert_eq!(drain.child.wait().expect("a child of ours").code(), Some(8));
}

#[test]
fn a_task_is_explained_of_the_framework_that_is_named_and_of_no_other() {
    let cluster = busy();
    let task = cluster.api.running().expect("it answers").pop().expect("it is busy");
    let why = cluster.cli().json(["why", &task.id, "--framework", &task.framework_id]);
    assert_eq!((&why["kind"], &why["id"]), (&"task".into(), &task.id.as_str().into()), "{why}");
    let other = cluster.cli().run(["why", &task.id, "--framework", "no-such-framework"]);
    assert_eq!(other.code(), 3, "{other}");
}

#[test]
fn after_a_restart_of_the_master_ps_says_what_is_yet_to_come_back() {
    let mut cluster = Plan::agents(1).start();
    cluster.part("agent-1").kill9();
    cluster.kill9_and_start("master");
    let awaited = |cluster: &Cluster| {
        let ran = cluster.cli().run(["ps"]);
        if ran.code() != 0 {
            Err(ran.to_string())
        } else {
            Ok(ran.stderr.contains("1 agent and what runs there"))
        }
    };
    wait_for("the master to answer", PATIENCE, || {
        awaited(&cluster)?.then_some(()).ok_or("not told".to_owned())
    });
    cluster.part("agent-1").start();
    wait_for("the agent to be back", PATIENCE, || match awaited(&cluster)? {
        false => Ok(()),
        true => Err("it is awaited".to_owned()),
    });
}

#[test]
fn an_agent_is_drained_of_its_tasks_and_used_again_when_it_is_reactivated() {
    let cluster = Plan::agents(2).services().start();
    let file = "name = \"web\"\ncommand = \"exec sleep 1000\"\ncount = 4\nkill_grace = \"1s\"\n[resources]\ncpus = 0.1\nmem = \"32MiB\"\n";
    cluster.api.deploy(file).expect("a good file");
    wait_for("four instances", PATIENCE, || cluster.api.settled("web", 4));
    let cli = cluster.cli();
    cli.ok(["drain", "agent-1", "--deadline", "5s", "--follow"]);
    let on = |agent: &str| {
        let service = cluster.api.settled("web", 4)?;
        Ok::<usize, String>(service.instances.iter().filter(|instance| instance.hostname == agent).count())
    };
    wait_for("all to be on the other agent", PATIENCE, || match on("agent-1")? {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    });
    let agents = cli.json(["agents", "agent-1"]);
    assert_eq!(agents["agents"][0]["state"], "drained", "{agents}");
    cli.ok(["reactivate", "agent-1"]);
    wait_for("it to be active", PATIENCE, || {
        let agents = cli.json(["agents", "agent-1"]);
        if agents["agents"][0]["state"] == "active" { Ok(()) } else { Err(agents) }
    });
    cluster.api.scale("web", 8).expect("it takes calls");
    wait_for("both to be used again", PATIENCE, || {
        cluster.api.settled("web", 8)?;
        let service = cluster.api.service("web").map_err(|status| status.to_string())?;
        let there = service.instances.iter().filter(|instance| instance.hostname == "agent-1").count();
        if there > 0 { Ok(()) } else { Err(format!("{service:?}")) }
    });
}
