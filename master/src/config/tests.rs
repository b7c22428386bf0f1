use super::*;

fn none(_: &str) -> Option<String> {
    None
}

fn with_file(text: &str) -> Resolved {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("master.toml");
    std::fs::write(&path, text).expect("writing the file");
    let args = MasterArgs { config: Some(path.clone()), ..MasterArgs::default() };
    let mut resolved = args.resolve_with(&none);
    for problem in &mut resolved.problems {
        if let Origin::File { path, .. } = &mut problem.origin {
            *path = "master.toml".to_owned();
        }
    }
    resolved
}

fn problems(resolved: &Resolved) -> Vec<String> {
    resolved.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn without_any_settings_the_master_listens_on_loopback_with_the_documented_defaults() {
    let config = MasterArgs::default().resolve_with(&none).config.expect("the defaults are valid");
    assert_eq!(config.listen.to_string(), "127.0.0.1:5050");
    assert_eq!(config.hostname, "127.0.0.1");
    assert_eq!(config.tokens, PathBuf::from("/var/lib/bourse/master/tokens.toml"));
    assert_eq!(config.agent_timeout, Duration::from_secs(75));
    assert_eq!(config.history, HistoryBounds::default());
    assert_eq!(config.recording_max_bytes, 256 << 20);
}

#[test]
fn a_recording_can_be_off_but_not_too_small_for_anything() {
    let given = |text: &str| {
        let args = MasterArgs { recording_max_bytes: Some(text.to_owned()), ..MasterArgs::default() };
        args.resolve_with(&none).config.map(|config| config.recording_max_bytes)
    };
    assert_eq!(given("0"), Some(0));
    assert_eq!(given("8MiB"), Some(8 << 20));
    assert_eq!(given("1KiB"), None);
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("master.toml");
    let text = "heartbeat-interval = \"1s\"\nagent-timeout = \"3s\"\nmax-completed-tasks = 7\n";
    std::fs::write(&path, text).expect("writing the file");
    let args =
        MasterArgs { config: Some(path), heartbeat_interval: Some("2s".to_owned()), ..MasterArgs::default() };
    let env = |name: &str| match name {
        "BOURSE_MASTER_HEARTBEAT_INTERVAL" => Some("4s".to_owned()),
        "BOURSE_MASTER_AGENT_TIMEOUT" => Some("9s".to_owned()),
        _ => None,
    };
    let resolved = args.resolve_with(&env);
    let config = resolved.config.expect("valid");
    assert_eq!(config.heartbeat_interval, Duration::from_secs(2));
    assert_eq!(config.agent_timeout, Duration::from_secs(9));
    assert_eq!(config.max_completed_tasks, 7);
    let origin =
        |name| resolved.values.iter().find(|value| value.name == name).expect("taken").origin.clone();
    assert_eq!(origin("heartbeat-interval"), Origin::Flag("--heartbeat-interval".to_owned()));
    assert_eq!(origin("agent-timeout"), Origin::Env("BOURSE_MASTER_AGENT_TIMEOUT".to_owned()));
    assert!(matches!(origin("max-completed-tasks"), Origin::File { line: 3, column: 1, .. }));
    assert_eq!(origin("offer-timeout"), Origin::Default);
}

#[test]
fn an_unknown_key_is_an_error_with_its_place_and_the_name_that_was_meant() {
    let resolved = with_file("# ours\nlisten = \"127.0.0.1:0\"\n  ofer-timeout = \"1m\"\n");
    assert!(resolved.config.is_none());
    assert_eq!(
        problems(&resolved),
        ["file master.toml:3:3: there is no setting \"ofer-timeout\"; did you mean \"offer-timeout\"?"]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let found = problems(&with_file("listen = \n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("file master.toml:1:"), "{found:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let args = MasterArgs {
        listen: Some("everywhere".to_owned()),
        offer_timeout: Some("-1s".to_owned()),
        history_max_bytes: Some("3KiB".to_owned()),
        ..MasterArgs::default()
    };
    let resolved = args.resolve_with(&none);
    assert!(resolved.config.is_none());
    let names: Vec<_> = resolved.problems.iter().filter_map(|problem| problem.name.as_deref()).collect();
    assert_eq!(names, ["listen", "offer-timeout", "history-max-bytes"]);
}

#[test]
fn an_address_that_others_can_reach_needs_tls_or_insecure_said_aloud() {
    let open = MasterArgs { listen: Some("0.0.0.0:5050".to_owned()), ..MasterArgs::default() };
    let found = problems(&open.resolve_with(&none));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("tls-cert") && found[0].contains("insecure"), "{found:?}");

    let aloud = MasterArgs { insecure: Some("true".to_owned()), ..open.clone() };
    assert!(aloud.resolve_with(&none).config.is_some());
    let half = MasterArgs { tls_cert: Some("cert.pem".to_owned()), ..open };
    assert!(half.resolve_with(&none).config.is_none());
}

#[test]
fn an_agent_timeout_below_two_heartbeats_is_refused() {
    let args = MasterArgs { agent_timeout: Some("20s".to_owned()), ..MasterArgs::default() };
    let found = problems(&args.resolve_with(&none));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("agent-timeout (flag --agent-timeout)"), "{found:?}");
}

#[test]
fn check_prints_every_setting_with_its_origin() {
    let args = MasterArgs { listen: Some("127.0.0.1:0".to_owned()), ..MasterArgs::default() };
    let printed = args.resolve_with(&none).to_string();
    assert!(printed.contains("flag --listen"), "{printed}");
    assert!(
        printed.lines().any(|line| line.starts_with("offer-timeout") && line.ends_with("default")),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 17, "one line for each setting:\n{printed}");
}
