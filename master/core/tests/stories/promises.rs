//! The list of promises and the names of the stories, held together.

use std::collections::{BTreeMap, BTreeSet};

const PROMISES: &str = include_str!("promises.txt");

const SOURCES: &[(&str, &str)] = &[
    ("agents", include_str!("agents.rs")),
    ("draining", include_str!("draining.rs")),
    ("explaining", include_str!("explaining.rs")),
    ("fairness", include_str!("fairness.rs")),
    ("frameworks", include_str!("frameworks.rs")),
    ("launching", include_str!("launching.rs")),
    ("liars", include_str!("liars.rs")),
    ("offers", include_str!("offers.rs")),
    ("reading", include_str!("reading.rs")),
    ("reconciling", include_str!("reconciling.rs")),
    ("resizing", include_str!("resizing.rs")),
    ("restarts", include_str!("restarts.rs")),
    ("updates", include_str!("updates.rs")),
];

/// `module::name` of every story.
fn stories() -> BTreeSet<String> {
    let mut stories = BTreeSet::new();
    for (module, source) in SOURCES {
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[test]" {
                let name = lines.next().and_then(|line| line.trim().strip_prefix("fn ")?.split('(').next());
                let name = name.expect("a function stands right below #[test]");
                assert!(stories.insert(format!("{module}::{name}")), "{module}::{name} is there twice");
            }
        }
    }
    stories
}

/// Each promise with its stories.
fn promises() -> BTreeMap<String, Vec<String>> {
    let mut promises: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in PROMISES.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            None => {
                let number = line.split(' ').next().expect("split gives at least one").to_owned();
                assert!(promises.insert(number.clone(), Vec::new()).is_none(), "{number} is there twice");
                current = Some(number);
            }
            Some(story) => {
                let promise = current.as_ref().expect("a story stands below its promise");
                promises.get_mut(promise).expect("just inserted").push(story.trim().to_owned());
            }
        }
    }
    promises
}

#[test]
fn every_promise_has_a_story_and_every_story_holds_a_promise() {
    let stories = stories();
    let promises = promises();
    assert!(promises.len() > 30, "the list was read");
    for (number, named) in &promises {
        assert!(!named.is_empty(), "promise {number} has no story");
        for story in named {
            assert!(stories.contains(story), "promise {number} names {story}, which does not exist");
        }
    }
    let named: BTreeSet<&String> = promises.values().flatten().collect();
    let unnamed: Vec<&String> = stories.iter().filter(|story| !named.contains(story)).collect();
    assert!(unnamed.is_empty(), "these stories hold no promise: {unnamed:#?}");
}
