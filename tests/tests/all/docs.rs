//! What is written for people is true: links lead somewhere, commands exist, tests that are named are there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use bourse_tests::binary::{cargo, repository};
use bourse_tests::tree::{sources, sources_of};
use bourse_tests::{Cli, PATIENCE, Plan, wait_for};

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What GitHub makes of a heading for links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Texts between single backticks, outside of blocks of code.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let all = sources_of("md");
    assert!(all.len() > 3, "{all:?}");
    for source in &all {
        for (_, rest) in source.text.match_indices("](").map(|(at, _)| source.text.split_at(at + 2)) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let path = match file {
                "" => source.path.clone(),
                file => plain(&source.path.parent().expect("a file is in a folder").join(file)),
            };
            let place = format!("{} links to {target:?}", source.path.display());
            assert!(repository().join(&path).exists(), "{place}, and there is no {}", path.display());
            if let Some(heading) = heading {
                let linked = all.iter().find(|other| other.path == path).unwrap_or_else(|| panic!("{place}"));
                let headings = linked.text.lines().filter_map(|line| line.strip_prefix('#'));
                let known =
                    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|known| known == heading);
                assert!(known, "{place}, and no heading there is called so");
            }
        }
    }
}

#[test]
fn every_file_and_folder_that_a_page_names_is_there() {
    let tops: BTreeSet<String> = std::fs::read_dir(repository())
        .expect("the repository")
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let all = sources();
    for source in
        all.iter().filter(|source| source.path.extension().is_some_and(|extension| extension == "md"))
    {
        for word in quoted(&source.text) {
            let Some((top, _)) = word.split_once('/') else { continue };
            let is_path = tops.contains(top) && !word.contains([' ', '*', '<', '{', '$']);
            // `tests/stories` is a folder of every core.
            let there = || {
                all.iter().any(|other| {
                    let path = other.path.to_string_lossy();
                    path.starts_with(&*word) || path.contains(&format!("/{}", word.trim_end_matches('/')))
                })
            };
            if is_path && top != "target" {
                assert!(there(), "{} names {word}", source.path.display());
            }
        }
    }
}

/// The name of a test, if the word is one, with or without its file before it.
fn test_name(word: &str) -> Option<&str> {
    let name = word.rsplit("::").next().unwrap_or_default();
    let is_one = name.matches('_').count() >= 4
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_one.then_some(name)
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let code: Vec<String> = sources_of("rs").into_iter().map(|source| source.text).collect();
    for source in sources_of("md") {
        for word in quoted(&source.text) {
            if let Some(name) = test_name(&word) {
                let there = code.iter().any(|text| text.contains(&format!("fn {name}(")));
                assert!(there, "{} names the test {name}, which is not there", source.path.display());
            }
        }
    }
}

#[test]
fn every_promise_names_a_test_and_every_file_of_this_folder_holds_one() {
    let specification = std::fs::read_to_string(repository().join("SPECIFICATION.md")).expect("it is there");
    let mut rows = 0;
    let mut is_promise = false;
    for line in specification.lines() {
        match line.starts_with('|') {
            false => is_promise = false,
            true if line == "| promise | held by |" => is_promise = true,
            true if is_promise && !line.starts_with("| ---") => {
                rows += 1;
                let named = quoted(line).iter().any(|word| test_name(word).is_some());
                assert!(named, "no test is named that holds this: {line}");
            }
            true => {}
        }
    }
    assert!(rows > 20, "{rows} promises are seen");
    let named = quoted(&specification);
    let folder = repository().join("tests/tests/all");
    for file in std::fs::read_dir(folder).expect("it is there").flatten() {
        // What is written and how, and this file itself, are no promises to users.
        if ["main.rs", "house.rs", "docs.rs"].iter().any(|other| file.file_name() == *other) {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).expect("it is readable");
        let names = named.iter().filter_map(|word| test_name(word));
        let holds = names.into_iter().any(|name| text.contains(&format!("fn {name}(")));
        assert!(holds, "no promise names a test of {}", file.path().display());
    }
}

#[test]
fn every_verb_that_a_page_shows_is_one() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let cli = Cli { home: home.path().to_owned(), master: None, token_file: None };
    let is_word = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
    };
    let mut shown = BTreeSet::new();
    for source in sources_of("md") {
        let blocks = source.text.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::to_owned);
        for line in blocks.chain(quoted(&source.text)) {
            let Some(rest) = line.trim_start_matches("$ ").strip_prefix("bourse ") else { continue };
            let words: Vec<&str> = rest.split_whitespace().take_while(is_word).take(2).collect();
            let verb = match words[..] {
                ["service", verb] => vec!["service".to_owned(), verb.to_owned()],
                [verb, ..] => vec![verb.to_owned()],
                [] => continue,
            };
            shown.insert((source.path.clone(), verb));
        }
    }
    assert!(shown.len() > 5, "{shown:?}");
    for (path, verb) in shown {
        let ran = cli.run(verb.iter().map(String::as_str).chain(["--help"]));
        assert!(ran.status.success(), "{} shows `bourse {}`: {ran}", path.display(), verb.join(" "));
    }
}

#[test]
fn a_markdown_line_holds_one_sentence() {
    for source in sources_of("md") {
        let mut block = false;
        for (at, line) in source.text.lines().enumerate() {
            block ^= line.trim_start().starts_with("```");
            // Tables and lists have their own form, and what is quoted is somebody else's.
            let first = line.trim_start();
            let is_list = first.starts_with(['-', '*']) || first.starts_with(|c: char| c.is_ascii_digit());
            if block || is_list || first.starts_with(['|', '>', '#']) {
                continue;
            }
            let ends = line.match_indices(". ").filter(|(end, _)| {
                let after = line[end + 2..].chars().next().is_some_and(char::is_uppercase);
                let before = line[..*end].rsplit(' ').next().unwrap_or_default();
                after
                    && before.chars().filter(|c| c.is_alphanumeric()).count() > 2
                    && !["etc", "e.g", "i.e"].contains(&before)
            });
            assert_eq!(
                ends.count(),
                0,
                "{}:{} holds more than one sentence: {line}",
                source.path.display(),
                at + 1
            );
        }
    }
}

#[test]
fn the_command_on_the_first_line_of_hello_runs_it_to_its_end() {
    let cluster = Plan::agents(2).start();
    let source = std::fs::read_to_string(repository().join("examples/hello.rs")).expect("it is there");
    let command =
        source.lines().next().and_then(|line| line.strip_prefix("// cargo ")).expect("a command of cargo");
    let ran = cargo()
        .args(command.split(' '))
        .env("BOURSE_MASTER", cluster.master())
        .env("BOURSE_TOKEN_FILE", cluster.token_file("framework"))
        .env("XDG_STATE_HOME", cluster.shared())
        .output()
        .expect("cargo can be started");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(said.matches(" is launched on ").count(), 10, "{said}");
    assert_eq!(said.matches(" is TASK_FINISHED").count(), 10, "{said}");
    wait_for("its framework to be torn down", PATIENCE, || {
        let frameworks = cluster.api.frameworks().map_err(|status| status.to_string())?;
        let left: Vec<String> = frameworks
            .into_iter()
            .map(|framework| framework.state)
            .filter(|state| state != "completed")
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
}

#[test]
fn every_service_file_of_the_examples_is_a_good_one() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let cli = Cli { home: home.path().to_owned(), master: None, token_file: None };
    let files: Vec<_> =
        sources().into_iter().filter(|source| source.path.starts_with("examples/services")).collect();
    assert!(files.len() >= 2);
    for file in files {
        cli.ok([Path::new("service"), Path::new("validate"), &repository().join(&file.path)]);
        let first = file.text.lines().next().unwrap_or_default();
        assert!(first.contains(&format!("bourse service deploy {}", file.path.display())), "{first}");
    }
}
