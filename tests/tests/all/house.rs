//! The house's own rules: what no crate may do, checked on what is written and on what cargo makes of it.

use std::collections::BTreeSet;
use std::fs;

use bourse_tests::binary::{cargo, repository};
use bourse_tests::tree::{sources, sources_of};
use serde_json::Value;

/// The pure crates: folder and package.
const CORES: [(&str, &str); 4] = [
    ("types", "bourse-types"),
    ("master/core", "bourse-master-core"),
    ("agent/core", "bourse-agent-core"),
    ("framework-sdk/core", "bourse-sdk-core"),
];

/// What a core must not even be able to reach, however far down: a runtime, a transport, a disk, chance.
const IMPURE: [&str; 7] = ["tokio", "tonic", "prost", "rocksdb", "rand", "getrandom", "hyper"];

/// The only crates that may hold `unsafe`: they ask the kernel for what no safe library offers.
const UNSAFE: [&str; 2] = ["agent/containerizer", "agent/init"];

/// Where the second of them has all of it: in a room whose functions are safe.
const UNSAFE_OF_INIT: &str = "agent/init/src/sys";

/// What cargo knows of every crate of the workspace.
fn metadata() -> Vec<Value> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// A folder of the repository, from its root.
fn below(folder: &str) -> String {
    let inner = folder.strip_prefix(repository().to_str().expect("a path")).expect("it is below");
    inner.trim_start_matches('/').to_owned()
}

/// The folder of a crate.
fn folder(package: &Value) -> String {
    let manifest = package["manifest_path"].as_str().expect("a text");
    below(manifest.strip_suffix("/Cargo.toml").expect("a manifest"))
}

/// Every crate of the workspace: folder and package.
fn crates() -> Vec<(String, String)> {
    let name = |package: &Value| package["name"].as_str().expect("a text").to_owned();
    let mut found: Vec<_> = metadata().iter().map(|package| (folder(package), name(package))).collect();
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The names of all packages that are linked into this one.
fn tree(package: &str) -> BTreeSet<String> {
    let arguments =
        ["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"];
    let output = cargo().args(arguments).arg(package).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes text");
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(package), "{names:?}");
    names
}

#[test]
fn a_core_can_reach_no_runtime_no_transport_no_disk_and_no_chance() {
    for (_, package) in CORES {
        let tree = tree(package);
        let impure: Vec<&str> = IMPURE.into_iter().filter(|name| tree.contains(*name)).collect();
        assert!(
            impure.is_empty(),
            "{package} is linked with {impure:?}: `cargo tree -p {package} -e normal -i NAME`"
        );
    }
    // The check itself: it does see what is there.
    assert!(tree("bourse-master").contains("tokio"));
}

#[test]
fn the_database_is_linked_by_the_binary_alone() {
    for (_, package) in crates() {
        let may = ["bourse", "bourse-store-rocksdb", "bourse-bench"].contains(&package.as_str());
        assert!(may || !tree(&package).contains("rocksdb"), "{package} waits for C++ when it is built");
    }
    assert!(tree("bourse").contains("rocksdb"));
}

#[test]
fn every_core_bans_clocks_and_hash_maps() {
    for (folder, _) in CORES {
        let path = repository().join(folder).join("clippy.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for banned in [
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::collections::HashMap",
            "std::collections::HashSet",
        ] {
            assert!(text.contains(&format!("\"{banned}\"")), "{folder}/clippy.toml does not ban {banned}");
        }
    }
}

#[test]
fn unsafe_is_forbidden_everywhere_but_in_two_crates_and_explained_there() {
    let says = |file: &str, lint: &str| {
        let path = repository().join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(lint), "{file} does not say {lint:?}");
    };
    says("Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
    for (folder, _) in crates() {
        match UNSAFE.contains(&folder.as_str()) {
            // Each of their modules that holds some says so.
            true => says(&format!("{folder}/src/lib.rs"), "(unsafe_code)]\n"),
            false => says(&format!("{folder}/Cargo.toml"), "[lints]\nworkspace = true\n"),
        }
    }
    let mut seen = 0;
    for source in sources_of("rs") {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let begins = ["unsafe {", "unsafe impl", "unsafe extern"].iter().any(|word| code.contains(word));
            // A test names the words as a text.
            if !begins || code.contains('"') {
                continue;
            }
            seen += 1;
            let place = format!("{}:{}", source.path.display(), at + 1);
            assert!(UNSAFE.iter().any(|folder| source.path.starts_with(folder)), "unsafe code in {place}");
            let is_outside =
                source.path.starts_with("agent/init") && !source.path.starts_with(UNSAFE_OF_INIT);
            assert!(!is_outside, "unsafe code in {place}, outside of {UNSAFE_OF_INIT}");
            let before = &lines[at.saturating_sub(8)..=at];
            assert!(
                before.iter().any(|line| line.contains("SAFETY:")),
                "{place} does not say why it is sound"
            );
        }
    }
    assert!(seen > 0, "there is unsafe code, and this test sees none");
}

#[test]
fn no_file_names_a_place_of_the_machine_it_was_written_on() {
    let here = repository().to_str().expect("a path").to_owned();
    let mut places = vec![here.clone()];
    for (name, below) in [("HOME", "/."), ("CARGO_HOME", ""), ("RUSTUP_HOME", ""), ("CARGO_TARGET_DIR", "")] {
        // "/" and the like would be found in every path.
        places.extend(
            std::env::var(name).ok().filter(|value| value.len() > 4).map(|value| format!("{value}{below}")),
        );
    }
    // A clone right below the root, such as in /work, has a name that many a path has a piece of.
    places.retain(|place| place.matches('/').count() > 1);
    for source in sources() {
        for place in &places {
            // A longer path that only ends so is another one.
            let named = source.text.match_indices(place.as_str()).any(|(at, _)| {
                let before = source.text[..at].chars().next_back();
                !before.is_some_and(|before| before.is_alphanumeric() || "._-}".contains(before))
            });
            assert!(!named, "{} names {place}", source.path.display());
        }
    }
}

#[test]
fn every_crate_has_its_row_on_the_map() {
    let map = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("there is a map");
    for (folder, _) in crates() {
        assert!(map.contains(&format!("\n| `{folder}` |")), "ARCHITECTURE.md has no row for {folder}");
    }
}

#[test]
fn a_crate_depends_only_on_crates_above_it_on_the_map() {
    let page = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("there is a map");
    let (_, map) = page.split_once("## The rooms").expect("the map has a heading");
    let row =
        |folder: &str| map.find(&format!("\n| `{folder}` |")).unwrap_or_else(|| panic!("no row {folder}"));
    let mut arrows = 0;
    for package in metadata() {
        let own = folder(&package);
        for dependency in package["dependencies"].as_array().expect("a list") {
            let Some(other) = dependency["path"].as_str().map(below) else { continue };
            assert!(row(&other) < row(&own), "{own} depends on {other}, which is not above it");
            arrows += 1;
        }
    }
    assert!(arrows > 20, "there are crates that depend on each other, and this test sees {arrows}");
}

#[test]
fn versions_of_dependencies_are_said_once_for_all_crates() {
    for source in sources().iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        if source.path.components().count() == 1 {
            continue;
        }
        let mut section = "";
        for line in source.text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let own = section.contains("dependencies") && !line.is_empty() && !line.starts_with(['[', '#']);
            let shared = line.contains("workspace = true") || line.contains(".workspace");
            assert!(!own || shared || !line.contains('='), "{}: {line}", source.path.display());
        }
    }
}
