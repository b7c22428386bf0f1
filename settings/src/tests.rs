use std::path::PathBuf;

use bourse_hostile::{soon, text, told};
use proptest::prelude::*;

use crate::parse::{address, path, switch};
use crate::{Layers, Origin, Resolved, TlsFiles, resolve};

/// The settings of a part that only these tests know.
#[derive(Debug, Default)]
struct Args {
    config: Option<PathBuf>,
    listen: Option<String>,
    tasks: Option<String>,
    hide: Vec<String>,
    tls_cert: Option<String>,
    tls_key: Option<String>,
    insecure: Option<String>,
}

#[derive(Debug, PartialEq)]
struct Config {
    tasks: u32,
    hide: Vec<PathBuf>,
    tls: Option<TlsFiles>,
}

fn read(args: &Args, layers: &mut Layers<'_>) -> Option<Config> {
    let listen = layers.take("listen", &args.listen, "127.0.0.1:1", |text| address(text, 1));
    let tasks = layers.take("max-tasks", &args.tasks, "7", |text| {
        text.parse::<u32>().map_err(|_| format!("{text:?} is no number"))
    });
    let hide = layers.take_list("hide", &args.hide, "none", path);
    let tls = layers.take_tls(&args.tls_cert, &args.tls_key, path);
    let insecure = layers.take("insecure", &args.insecure, "false", switch);
    let tls = tls?;
    layers.refuse_plain(listen?, tls.as_ref(), insecure?, "letters");
    Some(Config { tasks: tasks?, hide: hide?, tls })
}

fn resolved(args: &Args, env: &[(&str, &str)]) -> Resolved<Config> {
    let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, text)| text.to_string());
    resolve("test-part", args.config.as_deref(), &find, |layers| read(args, layers))
}

fn with_file(text: &str) -> Resolved<Config> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("part.toml");
    std::fs::write(&path, text).expect("writing the file");
    let mut resolved = resolved(&Args { config: Some(path), ..Args::default() }, &[]);
    for problem in &mut resolved.problems {
        if let Origin::File { path, .. } = &mut problem.origin {
            *path = "part.toml".to_owned();
        }
    }
    resolved
}

fn problems(resolved: &Resolved<Config>) -> Vec<String> {
    resolved.problems.iter().map(ToString::to_string).collect()
}

fn hidden(resolved: Resolved<Config>) -> Vec<PathBuf> {
    resolved.into_config().expect("valid").hide
}

#[test]
fn variables_bear_the_name_of_the_part_and_one_of_them_can_name_the_file() {
    let env = [("BOURSE_TEST_PART_MAX_TASKS", "8"), ("BOURSE_OTHER_MAX_TASKS", "9")];
    assert_eq!(resolved(&Args::default(), &env).config.expect("valid").tasks, 8);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("part.toml");
    std::fs::write(&path, "max-tasks = 5\n").expect("writing the file");
    let env = [("BOURSE_TEST_PART_CONFIG", path.to_str().expect("a path"))];
    assert_eq!(resolved(&Args::default(), &env).config.expect("valid").tasks, 5);
}

#[test]
fn a_list_is_repeated_as_a_flag_split_at_colons_in_the_environment_and_a_list_or_a_text_in_the_file() {
    let env = [("BOURSE_TEST_PART_HIDE", "/a:/b")];
    let both = [PathBuf::from("/a"), PathBuf::from("/b")];
    let flags = Args { hide: vec!["/c".to_owned(), "/d:e".to_owned()], ..Args::default() };
    assert_eq!(hidden(resolved(&flags, &env)), [PathBuf::from("/c"), PathBuf::from("/d:e")]);
    assert_eq!(hidden(resolved(&Args::default(), &env)), both);
    assert_eq!(hidden(with_file("hide = [\"/a\", \"/b\"]\n")), both);
    assert_eq!(hidden(with_file("hide = \"/a:b\"\n")), [PathBuf::from("/a:b")]);
    assert!(hidden(with_file("")).is_empty());
    assert_eq!(
        problems(&resolved(&Args::default(), &[("BOURSE_TEST_PART_HIDE", "/a:")])),
        ["hide (env BOURSE_TEST_PART_HIDE): it is empty; name a path"]
    );
}

#[test]
fn a_list_where_one_value_is_wanted_is_told_with_its_place() {
    let wanted = "a text, a number, true or false is wanted here, not a table or a list";
    let found = problems(&with_file("max-tasks = [1, 2]\ntls-cert = { file = \"c.pem\" }\n"));
    assert_eq!(
        found,
        [
            format!("tls-cert (file part.toml:2:1): {wanted}"),
            format!("max-tasks (file part.toml:1:1): {wanted}")
        ]
    );
}

#[test]
fn a_number_of_the_file_may_be_written_in_every_way_of_toml() {
    for text in ["max-tasks = 4096\n", "max-tasks = 4_096\n", "max-tasks = 0x1000\n", "max-tasks = +4096\n"] {
        assert_eq!(with_file(text).config.unwrap_or_else(|| panic!("{text}")).tasks, 4096, "{text}");
    }
}

#[test]
fn a_key_that_is_like_none_is_answered_with_the_help_of_the_part() {
    assert_eq!(
        problems(&with_file("colour = \"blue\"\n")),
        ["file part.toml:1:1: there is no setting \"colour\"; `bourse test-part --help` lists them"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_the_other_settings_are_still_judged() {
    let args =
        Args { config: Some("/not/there.toml".into()), tasks: Some("many".to_owned()), ..Args::default() };
    let found = problems(&resolved(&args, &[]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("flag --config: reading /not/there.toml: "), "{found:?}");
    assert_eq!(found[1], "max-tasks (flag --max-tasks): \"many\" is no number");
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    let half = Args { tls_cert: Some("c.pem".to_owned()), ..Args::default() };
    assert_eq!(
        problems(&resolved(&half, &[])),
        ["tls-key: tls-cert is given but tls-key is not; give both or neither"]
    );
    let whole = Args { tls_key: Some("k.pem".to_owned()), ..half };
    let tls = resolved(&whole, &[]).config.expect("valid").tls;
    assert_eq!(tls, Some(TlsFiles { cert: "c.pem".into(), key: "k.pem".into() }));
}

#[test]
fn all_that_is_wrong_is_one_error_that_says_whose_settings_they_are() {
    let args = Args { listen: Some("0.0.0.0:1".to_owned()), ..Args::default() };
    let error = resolved(&args, &[("BOURSE_TEST_PART_INSECURE", "0")]).into_config().expect_err("refused");
    let text = error.to_string();
    assert!(text.starts_with("the settings of the test-part are not valid: listen (flag --listen): "));
    assert!(text.contains("would read letters"), "{text}");
    let aloud = resolved(&args, &[("BOURSE_TEST_PART_INSECURE", "1")]);
    assert!(aloud.config.is_some(), "{aloud}");
    let half = Args { tls_cert: Some("c.pem".to_owned()), ..args };
    let text = resolved(&half, &[("BOURSE_TEST_PART_INSECURE", "maybe")])
        .into_config()
        .expect_err("refused")
        .to_string();
    assert_eq!(text.matches("\n  - ").count(), 2, "{text}");
}

#[test]
fn what_is_wrong_in_a_file_is_told_in_short_and_does_nothing_to_the_terminal() {
    let long = "x".repeat(30_000);
    for text in [
        format!("\"\\u001b[2J{long}\" = 1\n"),
        format!("\"\\u001b[2J{long}\" = [[1]]\n"),
        format!("max-tasks = \"\\u001b[2J{long}\"\n"),
        format!("hide = [\"\", \"{long}\"]\nlisten = \"{long}\"\n"),
        format!("max-tasks = 7\n{long}{long}{long}"),
    ] {
        let resolved = with_file(&text);
        assert!(!resolved.problems.is_empty(), "{text}");
        resolved.problems.iter().for_each(told);
    }
}

const WHOLE: &str = r#"
listen = "127.0.0.1:7"
max-tasks = 0x10
hide = ["/a", "/ä"]
tls-cert = '/cert'
tls-key = "/key"
insecure = true
"#;

proptest! {
    #[test]
    fn a_damaged_file_is_refused_in_words_or_has_settings(given in text(Just(WHOLE.to_owned()))) {
        let resolved = soon(|| with_file(&given));
        resolved.problems.iter().for_each(told);
    }
}
