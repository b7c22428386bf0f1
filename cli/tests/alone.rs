//! What the binary does without any cluster.

use std::io::pipe;
use std::process::{Command, Output, Stdio};

/// The binary, at a home where nothing is.
fn bourse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bourse"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    bourse(arguments).output().expect("the binary can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_help_names_every_exit_code() {
    let help = output(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for code in [
        "0  done",
        "1  failed",
        "2  wrong usage",
        "3  not found",
        "4  denied",
        "6  timed out",
        "7  the master cannot be reached",
        "8  conflict",
        "125",
    ] {
        assert!(help.contains(code), "{code:?} is not in {help}");
    }
}

#[test]
fn completion_scripts_are_made_for_three_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let made = output(&["completion", shell]);
        assert!(made.status.success());
        let script = text(&made.stdout);
        for word in ["frameworks", "service", "drain", "token-file"] {
            assert!(script.contains(word), "{word} is not in the script for {shell}");
        }
        // Those that are installed read it; bash always is.
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(file.path(), &script).expect("it is ours");
        match Command::new(shell).arg("-n").arg(file.path()).output() {
            Ok(read) => assert!(read.status.success(), "{shell}: {}", text(&read.stderr)),
            Err(error) => assert_ne!(shell, "bash", "{error}"),
        }
    }
}

#[test]
fn the_settings_of_a_master_are_checked_and_shown_with_their_origin() {
    let file =
        tempfile::Builder::new().prefix("master").suffix(".toml").tempfile().expect("a file can be made");
    std::fs::write(file.path(), "offer-timeout = \"3m\"\n").expect("it is ours");
    let path = file.path().to_str().expect("a path");
    let checked = output(&["master", "--check", "--config", path, "--heartbeat-interval", "2s"]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let shown = text(&checked.stdout);
    for (name, value, origin) in [
        ("offer-timeout", "3m", path),
        ("heartbeat-interval", "2s", "--heartbeat-interval"),
        ("listen", "127.0.0.1:5050", "default"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(line.contains(value) && line.contains(origin), "{line:?} in {shown}");
    }
    let refused = output(&["master", "--check", "--listen", "0.0.0.0:5050", "--agent-timeout", "1s"]);
    assert_eq!(refused.status.code(), Some(2));
    // All that is wrong, at once.
    let said = text(&refused.stdout);
    assert!(said.contains("not a loopback address") && said.contains("two heartbeats"), "{said}");
}

#[test]
fn limits_that_no_task_can_have_are_refused_before_a_master_is_looked_for() {
    for (flag, value, expected) in [
        ("--cpu-limit", "many", "not a number"),
        ("--mem-limit", "none", "is not a size"),
        ("--pids", "0", "let it have 1 at least"),
        ("--io-weight", "10001", "from 1 to 10000"),
        ("--huge-pages", "2MiB", "2MiB=64MiB"),
        ("--oom-score", "-1", "is no whole number"),
    ] {
        let refused = output(&["run", flag, value, "--", "true"]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
    let twice = ["run", "--huge-pages", "2MiB=1MiB", "--huge-pages", "2MB=2MiB", "--", "true"];
    let said = text(&output(&twice).stderr);
    assert!(said.contains("huge pages of 2MiB have two amounts"), "{said}");
}

#[test]
fn a_part_of_a_core_for_oneself_is_refused_before_a_master_is_looked_for() {
    let refused = output(&["run", "--cpus", "0.5", "--exclusive-cpus", "--", "true"]);
    assert_eq!(refused.status.code(), Some(125), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("give --cpus a whole number"), "{}", text(&refused.stderr));
}

#[test]
fn the_settings_of_an_agent_are_checked_and_shown_with_their_origin() {
    let file =
        tempfile::Builder::new().prefix("agent").suffix(".toml").tempfile().expect("a file can be made");
    std::fs::write(file.path(), "kill-grace = \"3s\"\nhide = [\"/a\", \"/b\"]\n").expect("it is ours");
    let path = file.path().to_str().expect("a path");
    let arguments = ["agent", "--check", "--config", path, "--usage-interval", "2s", "--allow-root"];
    let checked =
        bourse(&arguments).env("BOURSE_AGENT_PIDS_LIMIT", "99").output().expect("it can be started");
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let shown = text(&checked.stdout);
    for (name, value, origin) in [
        ("kill-grace", "3s", path),
        ("hide", "/a, /b", path),
        ("usage-interval", "2s", "--usage-interval"),
        ("allow-root", "true", "--allow-root"),
        ("pids-limit", "99", "BOURSE_AGENT_PIDS_LIMIT"),
        ("listen", "127.0.0.1:5051", "default"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(line.contains(value) && line.contains(origin), "{line:?} in {shown}");
    }
    let refused = output(&["agent", "--check", "--isolation", "none", "--kill-grace", "soon"]);
    assert_eq!(refused.status.code(), Some(2));
    // All that is wrong, at once.
    let said = text(&refused.stdout);
    assert!(said.contains("write linux or process") && said.contains("not a duration"), "{said}");
    let refused = output(&["agent", "--check", "--listen", "0.0.0.0:5051"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stdout).contains("not a loopback address"), "{}", text(&refused.stdout));
}

#[test]
fn an_agent_with_settings_that_are_wrong_does_not_start_and_tells_them_all() {
    let refused = output(&["agent", "--isolation", "none", "--kill-grace", "soon"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    for part in ["bourse: the settings of the agent are not valid:", "isolation (flag", "kill-grace (flag"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn a_reader_that_goes_away_is_told_nothing_more() {
    for arguments in [&["--help"][..], &["completion", "bash"], &["master", "--check"], &["agent", "--check"]]
    {
        let (reader, writer) = pipe().expect("a pipe can be made");
        drop(reader);
        let ran =
            bourse(arguments).stdout(writer).stderr(Stdio::piped()).output().expect("it can be started");
        assert!(ran.stderr.is_empty(), "{arguments:?}: {}", text(&ran.stderr));
        assert_ne!(ran.status.code(), Some(101), "{arguments:?} panicked");
    }
}
