use super::*;

use std::path::Path;

use bourse_settings::Origin;

fn resolved(args: &AgentArgs, env: &[(&str, &str)]) -> Resolved {
    let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    args.resolve_with(&find)
}

fn config(args: &AgentArgs, env: &[(&str, &str)]) -> Config {
    resolved(args, env).into_config().expect("valid")
}

fn refused(args: &AgentArgs) -> Vec<String> {
    let resolved = resolved(args, &[]);
    assert!(resolved.config.is_none());
    resolved.problems.iter().map(ToString::to_string).collect()
}

/// These arguments with a file that says this, which is there as long as the folder is.
fn with_file(text: &str) -> (tempfile::TempDir, AgentArgs) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, text).expect("written");
    (folder, AgentArgs { config: Some(path), ..AgentArgs::default() })
}

#[test]
fn without_anything_the_agent_is_on_loopback_isolates_and_allows_no_root() {
    let config = config(&AgentArgs::default(), &[]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:5051");
    assert_eq!(config.master.target.to_string(), "127.0.0.1:5050");
    assert_eq!(
        (config.isolation, config.allow_root, config.kill_tasks_on_exit),
        (Isolation::Linux, false, false)
    );
    assert_eq!(config.token_file, Path::new("/var/lib/bourse/agent/token"));
    assert_eq!(
        (config.kill_grace, config.usage_interval, config.reconnect_wait, config.pids_limit),
        (Duration::from_secs(5), Duration::from_secs(5), Duration::from_secs(1), 4096)
    );
    assert_eq!((config.resources, config.attributes), (Resources::default(), Attributes::default()));
    assert!(!config.hostname.is_empty() && config.hide.is_empty() && config.show.is_empty());
    assert_eq!((config.gc_delay, config.gc_disk_headroom), (Duration::from_secs(7 * 86_400), 0.1));
    assert_eq!((config.disk_interval, config.enforce_disk), (Duration::from_secs(15), true));
    assert_eq!(config.users, UserBlocks::default());
}

#[test]
fn a_flag_beats_the_environment_and_that_beats_the_file() {
    let (_folder, args) = with_file(
        "hostname = \"file\"\nkill-grace = \"1m\"\nmaster = \"file:1\"\nallow-root = true\npids-limit = 99\n",
    );
    let args = AgentArgs { hostname: Some("flag".into()), ..args };
    let env = [("BOURSE_AGENT_HOSTNAME", "env"), ("BOURSE_AGENT_MASTER", "env:2")];
    let resolved = resolved(&args, &env);
    let origin =
        |name| resolved.values.iter().find(|value| value.name == name).expect("taken").origin.clone();
    assert_eq!(origin("hostname"), Origin::Flag("--hostname".to_owned()));
    assert_eq!(origin("master"), Origin::Env("BOURSE_AGENT_MASTER".to_owned()));
    assert!(matches!(origin("allow-root"), Origin::File { line: 4, column: 1, .. }));
    assert_eq!(origin("listen"), Origin::Default);
    let config = resolved.into_config().expect("valid");
    assert_eq!(config.hostname, "flag");
    assert_eq!(config.master.target.to_string(), "env:2");
    assert_eq!((config.kill_grace, config.allow_root), (Duration::from_secs(60), true));
    assert_eq!(config.pids_limit, 99);
}

#[test]
fn what_is_shown_and_shared_is_not_what_containers_have_of_their_own() {
    let args = AgentArgs { show: vec!["/srv".into()], share: vec!["/tmp/a".into()], ..AgentArgs::default() };
    let found = config(&args, &[]);
    assert_eq!((found.show, found.share), (vec!["/srv".into()], vec!["/tmp/a".into()]));
    for path in ["/", "/mnt", "/proc/1", "/dev"] {
        let problems = refused(&AgentArgs { show: vec![path.into()], ..AgentArgs::default() });
        assert!(problems.len() == 1 && problems[0].contains("container's own"), "{problems:?}");
    }
}

#[test]
fn what_tasks_may_have_as_their_root_is_nothing_unless_it_is_named() {
    assert!(config(&AgentArgs::default(), &[]).rootfs.is_empty());
    let found = config(&AgentArgs::default(), &[("BOURSE_AGENT_ROOTFS", "/srv/images:/srv/web.tar")]);
    assert_eq!(found.rootfs, [PathBuf::from("/srv/images"), PathBuf::from("/srv/web.tar")]);
}

#[test]
fn a_seccomp_profile_is_read_at_the_start_and_what_is_wrong_with_it_is_told_with_its_place() {
    let with = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        (AgentArgs { seccomp: Some(file.path().display().to_string()), ..AgentArgs::default() }, file)
    };
    let (usual, unconfined) = (config(&AgentArgs::default(), &[]).seccomp, Filters::default());
    assert_ne!(usual, unconfined);
    let none = AgentArgs { seccomp: Some("unconfined".into()), ..AgentArgs::default() };
    assert_eq!(config(&none, &[]).seccomp, unconfined);
    let (own, _file) = with(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    assert_eq!(config(&own, &[]).seccomp, unconfined);
    let (wrong, _file) = with("{\n\"defaultAction\": \"SCMP_ACT_MAYBE\"}");
    let problems = refused(&wrong);
    assert!(problems[0].contains("SCMP_ACT_MAYBE") && problems[0].contains("line 2"), "{problems:?}");
    let missing = AgentArgs { seccomp: Some("/no/such/file".into()), ..AgentArgs::default() };
    assert!(refused(&missing)[0].contains("/no/such/file"));
}

#[test]
fn what_is_hidden_is_named_by_repeated_flags_a_path_of_the_environment_or_a_list_of_the_file() {
    let hidden = [PathBuf::from("/a"), PathBuf::from("/b")];
    let flags = AgentArgs { hide: vec!["/a".into(), "/b".into()], ..AgentArgs::default() };
    assert_eq!(config(&flags, &[("BOURSE_AGENT_HIDE", "/c")]).hide, hidden);
    assert_eq!(config(&AgentArgs::default(), &[("BOURSE_AGENT_HIDE", "/a:/b")]).hide, hidden);
    let (_folder, list) = with_file("hide = [\"/a\", \"/b\"]\n");
    assert_eq!(config(&list, &[]).hide, hidden);
    let (_folder, text) = with_file("hide = \"/a\"\n");
    assert_eq!(config(&text, &[]).hide, hidden[..1]);
}

#[test]
fn switches_are_said_in_the_environment_as_words_or_digits_and_an_empty_variable_says_nothing() {
    for (text, allowed) in [("true", true), ("1", true), ("false", false), ("0", false), ("", false)] {
        let config = config(&AgentArgs::default(), &[("BOURSE_AGENT_ALLOW_ROOT", text)]);
        assert_eq!(config.allow_root, allowed, "{text:?}");
    }
    let resolved = resolved(&AgentArgs::default(), &[("BOURSE_AGENT_ALLOW_ROOT", "yes")]);
    assert_eq!(
        resolved.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["allow-root (env BOURSE_AGENT_ALLOW_ROOT): \"yes\" is neither true nor false"]
    );
}

#[test]
fn paths_are_absolute_whatever_the_working_directory_is_later() {
    let args = AgentArgs {
        work_dir: Some("work".into()),
        tls_cert: Some("c.pem".into()),
        tls_key: Some("k.pem".into()),
        ca_file: Some("ca.pem".into()),
        hide: vec!["secret".into()],
        ..AgentArgs::default()
    };
    let here = std::env::current_dir().expect("there is one");
    let config = config(&args, &[]);
    assert_eq!((config.work_dir, config.token_file), (here.join("work"), here.join("work/token")));
    assert_eq!(config.tls, Some(TlsFiles { cert: here.join("c.pem"), key: here.join("k.pem") }));
    assert_eq!((config.master.ca_file, config.hide), (Some(here.join("ca.pem")), vec![here.join("secret")]));
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_with_its_place_and_the_name_that_was_meant() {
    let (folder, args) = with_file("hostname = \"a\"\nkill-grase = \"1m\"\n");
    let path = folder.path().join("agent.toml");
    let said = "there is no setting \"kill-grase\"; did you mean \"kill-grace\"?";
    assert_eq!(refused(&args), [format!("file {}:2:1: {said}", path.display())]);
}

#[test]
fn another_address_than_loopback_needs_tls_or_a_loud_word() {
    let open = AgentArgs { listen: Some("0.0.0.0:5051".into()), ..AgentArgs::default() };
    let found = refused(&open);
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["tokens and logs", "tls-cert", "tls-key", "insecure"] {
        assert!(found[0].contains(part), "{part} is not in {found:?}");
    }
    let aloud = AgentArgs { insecure: Some("true".into()), ..open };
    assert!(config(&aloud, &[]).master.insecure);
    let half = AgentArgs { tls_cert: Some("/c.pem".into()), ..AgentArgs::default() };
    assert_eq!(refused(&half), ["tls-key: tls-cert is given but tls-key is not; give both or neither"]);
}

#[test]
fn values_that_mean_nothing_are_refused_all_at_once_with_ones_that_do() {
    let args = AgentArgs {
        master: Some("here:there".into()),
        listen: Some("here".into()),
        advertise: Some("agent-7".into()),
        resources: Some("cpus:lots".into()),
        attributes: Some("rack".into()),
        isolation: Some("none".into()),
        allow_root: Some("perhaps".into()),
        kill_grace: Some("soon".into()),
        user_range_start: Some("100000".into()),
        pids_limit: Some("-1".into()),
        hide: vec!["/a".into(), String::new()],
        log_max_size: Some("1KiB".into()),
        log_files: Some("0".into()),
        log_rate: Some("fast".into()),
        disk_interval: Some("0".into()),
        enforce_disk: Some("often".into()),
        ..AgentArgs::default()
    };
    let found = refused(&args);
    let wanted = [
        ("master", "127.0.0.1:5050"),
        ("listen", "127.0.0.1:5051"),
        ("advertise", "agent-7:5051"),
        ("resources", "cpus"),
        ("attributes", "rack:a;zone:b"),
        ("isolation", "\"none\" cannot be read; write linux or process"),
        ("allow-root", "neither true nor false"),
        ("user-range-start", "a multiple of 65536"),
        ("kill-grace", "30s"),
        ("pids-limit", "write a number, such as 4096"),
        ("hide", "it is empty; name a path"),
        ("log-max-size", "write a larger size, or 0 for no limit"),
        ("log-files", "not among 1 to 1000"),
        ("log-rate", "\"fast\""),
        ("disk-interval", "write a time above 0, such as 15s"),
        ("enforce-disk", "neither true nor false"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (problem, (name, said)) in found.iter().zip(wanted) {
        assert!(problem.starts_with(&format!("{name} (flag --{name}): ")), "{problem}");
        assert!(problem.contains(said), "{said} is not in {problem}");
    }
}

#[test]
fn check_prints_every_setting_with_its_origin() {
    let args = AgentArgs { hide: vec!["/a".into(), "/b".into()], ..AgentArgs::default() };
    let printed = resolved(&args, &[("BOURSE_AGENT_KILL_GRACE", "9s")]).to_string();
    let line =
        |name: &str| printed.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("hide").contains("/a, /b") && line("hide").ends_with("flag --hide"), "{printed}");
    assert!(line("kill-grace").ends_with("env BOURSE_AGENT_KILL_GRACE"), "{printed}");
    assert!(line("reconnect-wait").ends_with("default"), "{printed}");
    assert_eq!(printed.lines().count(), 35, "one line for each setting:\n{printed}");
}

#[test]
fn agents_of_one_machine_can_have_users_of_their_own_each() {
    let start = |number| {
        let first = user_range_start(number).expect("there is room").to_string();
        let args = AgentArgs { user_range_start: Some(first), ..AgentArgs::default() };
        config(&args, &[]).users.first()
    };
    assert_eq!(start(0), UserBlocks::default().first());
    for number in 1..31 {
        assert_eq!(start(number) - start(number - 1), 2048 * 65_536, "{number}");
    }
    assert_eq!(user_range_start(31), None);
}
