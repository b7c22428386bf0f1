//! The list of what framework authors rely on most, and what holds each line of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const STARS: &str = include_str!("stars.txt");
const MASTER: &str = include_str!("promises.txt");
const AGENT: &str = include_str!("../../../../agent/core/tests/stories/promises.txt");

/// How many lines each section of the inventory has. Sections without a starred line are not listed.
const LINES: [(u32, u32); 8] = [(1, 20), (2, 18), (3, 8), (4, 7), (5, 15), (6, 9), (7, 10), (10, 7)];

fn listed() -> impl Iterator<Item = &'static str> {
    STARS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn section_and_line(number: &str) -> (u32, &str) {
    let (section, line) = number.split_once('.').expect("section.line");
    (section.parse().expect("a section is a number"), line)
}

#[test]
fn no_line_of_the_inventory_is_left_out() {
    let mut seen: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in listed() {
        let (number, rest) = entry.split_once(' ').expect("a number and what it is about");
        let (section, line) = section_and_line(number);
        let lines = if line == "plain" { rest } else { line };
        let lines = lines.split(' ').map(|line| line.parse::<u32>().expect("the number of a line"));
        seen.entry(section).or_default().extend(lines);
    }
    for lines in seen.values_mut() {
        lines.sort_unstable();
    }
    let all: BTreeMap<u32, Vec<u32>> = LINES.map(|(section, lines)| (section, (1..=lines).collect())).into();
    assert_eq!(seen, all);
}

#[test]
fn every_starred_line_is_held_by_something_that_is_there() {
    let numbers = |promises: &'static str| -> BTreeSet<&str> {
        promises.lines().filter_map(|line| line.split_once(' ')).map(|(number, _)| number).collect()
    };
    let (master, agent) = (numbers(MASTER), numbers(AGENT));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for entry in listed().filter(|entry| !entry.contains(".plain ")) {
        let number = entry.split(' ').next().expect("split gives at least one");
        let (_, holders) = entry.split_once(" | ").unwrap_or_else(|| panic!("{number} has no holder"));
        for holder in holders.split("; ").filter(|holder| !holder.starts_with("later: ")) {
            let is_there = match (holder, holder.split_once("::")) {
                ("master", _) => master.contains(number),
                ("agent", _) => agent.contains(number),
                (_, Some((file, test))) => std::fs::read_to_string(root.join(file))
                    .is_ok_and(|source| source.contains(&format!("fn {test}("))),
                (_, None) => false,
            };
            assert!(is_there, "{number} names {holder}, which does not hold it");
        }
    }
}
