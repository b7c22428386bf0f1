//! What README and issue promise about the examples.

/// Lines that an author writes: neither empty nor comment.
fn lines_of_code(source: &str) -> usize {
    source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn hello_is_a_whole_scheduler_in_at_most_sixty_lines() {
    let lines = lines_of_code(include_str!("../hello.rs"));
    assert!((20..=60).contains(&lines), "{lines} lines");
}

#[test]
fn each_example_begins_with_the_one_command_that_starts_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("this crate's folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let text = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(
                text.lines().next(),
                Some(format!("// cargo run --example {name}").as_str()),
                "{path:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 0, "no example was found");
}
