//! A launch runs the task's program, or says which step failed, why, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bourse_containerizer::{ContainerSpec, Containerizer, LaunchError};
use bourse_types::Exit;

use super::lab::{Lab, groups_of};

/// Launches in vain; nothing may be left of it.
async fn refused(lab: &Lab, spec: &ContainerSpec) -> String {
    let error = lab.containerizer.launch(spec).await.expect_err("it cannot be launched");
    lab.assert_nothing_is_left();
    error.to_string()
}

fn assert_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_does_not_exist_is_named_with_its_error() {
    let lab = Lab::new();
    let by_name = refused(&lab, &lab.spec("c1", &["no-such-command"])).await;
    assert_all(&by_name, &["container c1", "`exec`", "no-such-command", "No such file", "PATH"]);
    let by_path = refused(&lab, &lab.spec("c1", &["/no/such/command"])).await;
    assert_all(&by_path, &["`exec`", "/no/such/command", "No such file"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_may_not_be_executed_is_told_from_one_that_does_not_exist() {
    let lab = Lab::new();
    let spec = lab.spec("c1", &["./script"]);
    fs::write(spec.sandbox.join("script"), "#!/bin/sh\n").expect("it is writable");
    assert_all(&refused(&lab, &spec).await, &["`exec`", "./script", "Permission denied"]);
    fs::set_permissions(spec.sandbox.join("script"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    assert_eq!(lab.run(&spec).await, Exit::Code(0), "after a failed launch the id is free again");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_does_not_exist_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.user = Some("nobody-of-that-name".into());
    assert_all(&refused(&lab, &spec).await, &["nobody-of-that-name", "create it on every agent"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_directory_that_is_missing_or_closed_to_the_user_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.cwd = Some("/no/such/directory".into());
    assert_all(&refused(&lab, &spec).await, &["`cwd`", "/no/such/directory", "No such file"]);
    spec.cwd = Some("/root".into());
    spec.user = Some("nobody".into());
    fs::create_dir_all("/root").expect("root has a home");
    if fs::metadata("/root").expect("it is there").permissions().mode() & 0o001 == 0 {
        assert_all(&refused(&lab, &spec).await, &["`cwd`", "/root", "Permission denied"]);
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_missing_is_named() {
    let lab = Lab::new();
    let mut spec = lab.spec("c1", &["true"]);
    spec.sandbox = lab.work.join("sandboxes/none");
    assert_all(&refused(&lab, &spec).await, &["sandbox", "sandboxes/none", "No such file"]);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_is_refused_and_its_container_lives_on() {
    let lab = Lab::new();
    let spec = lab.spec("c1", &["sleep", "1000"]);
    lab.launch(&spec).await;
    let again = lab.containerizer.launch(&spec).await;
    assert!(matches!(again, Err(LaunchError::Exists(_))), "{again:?}");
    assert!(lab.containerizer.usage(&spec.container_id).await.expect("it lives").pids > 0);
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_this_machine_can_do_and_leaves_nothing() {
    let lab = Lab::new();
    let can =
        bourse_containerizer::probe(&lab.instance).expect("these tests run where tasks can be isolated");
    println!("{can:?}");
    assert!(groups_of(&lab.instance).is_empty());
    lab.finish().await;
}
