//! What of the machine a task is given besides what all tasks see.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bourse_containerizer::{Bind, ContainerSpec, Containerizer};
use bourse_types::Exit;

use super::lab::{Lab, read};

fn bind(source: &Path, target: &str, writable: bool) -> Bind {
    Bind { source: source.into(), target: target.into(), writable }
}

/// A directory of the machine with a file in it.
fn data(lab: &Lab, name: &str) -> PathBuf {
    let data = lab.root().canonicalize().expect("it is there").join(name);
    fs::create_dir_all(&data).expect("it is writable");
    fs::write(data.join("file"), name).expect("it is writable");
    data
}

fn with_volumes(lab: &Lab, name: &str, volumes: Vec<Bind>, script: &str) -> ContainerSpec {
    ContainerSpec { volumes, ..lab.shell(name, script) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_where_it_was_asked_for_and_written_only_if_that_is_allowed() {
    let lab = Lab::new();
    let (one, two) = (data(&lab, "one"), data(&lab, "two"));
    // Inside each other, in the sandbox, and a single file, in any order.
    let volumes = [
        bind(&two, "/data/inner", false),
        bind(&one, "/data", true),
        bind(&two, "/mnt/mesos/sandbox/two", true),
        bind(&one.join("file"), "/usr/share/one.txt", false),
        bind(&one.join("file"), "/etc/one.conf", false),
    ];
    let script = "cat /data/file /data/inner/file two/file; echo new > /data/new; echo new > two/new; \
                  touch /data/inner/no 2> /dev/null || echo read-only";
    let spec = with_volumes(&lab, "c1", volumes[..3].to_vec(), script);
    assert_eq!(lab.output(&spec).await, "onetwotworead-only\n");
    assert_eq!(fs::read_to_string(one.join("new")).expect("it is there"), "new\n");
    assert_eq!(fs::read_to_string(two.join("new")).expect("it is there"), "new\n");
    // What the machine shows is read-only, so that a place that is not there cannot be made.
    for volume in &volumes[3..] {
        let spec = with_volumes(&lab, "c2", vec![volume.clone()], "true");
        let refused = lab.containerizer.launch(&spec).await.expect_err("there is no such place").to_string();
        assert!(refused.contains("`volume`") && refused.contains("Read-only"), "{refused}");
    }
    let spec =
        with_volumes(&lab, "c3", vec![bind(&one.join("file"), "/srv/one.txt", false)], "cat /srv/one.txt");
    assert_eq!(lab.output(&spec).await, "one");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_not_reached_through_links_and_leads_nowhere_by_those_in_it() {
    let lab = Lab::new();
    let (data, other) = (data(&lab, "data"), data(&lab, "other"));
    let link = data.with_file_name("link");
    symlink(&other, &link).expect("it is writable");
    let spec = with_volumes(&lab, "c1", vec![bind(&link, "/data", true)], "true");
    let refused = lab.containerizer.launch(&spec).await.expect_err("it is a link").to_string();
    assert!(refused.contains("`volume`") && refused.contains("no link on the way"), "{refused}");
    let spec = with_volumes(&lab, "c2", vec![bind(&data.join("gone"), "/data", true)], "true");
    let refused = lab.containerizer.launch(&spec).await.expect_err("it is not there").to_string();
    assert!(refused.contains("No such file"), "{refused}");

    // A volume's own links mean what they say in the container.
    symlink(&other, data.join("out")).expect("it is writable");
    symlink("/etc", data.join("etc")).expect("it is writable");
    let volumes = vec![bind(&data, "/data", true), bind(&other, "/data/etc/there", true)];
    let spec = with_volumes(&lab, "c3", volumes.clone(), "true");
    let refused = lab.containerizer.launch(&spec).await.expect_err("a link leads there").to_string();
    assert!(refused.contains("/data/etc/there") && refused.contains("no link on the way"), "{refused}");
    // Nor is anything made where one leads that a task has left in another volume.
    symlink("/other", data.join("other")).expect("it is writable");
    let at_link =
        vec![bind(&data, "/data", true), bind(&other, "/other", true), bind(&other, "/data/other/x", true)];
    lab.containerizer
        .launch(&with_volumes(&lab, "c5", at_link, "true"))
        .await
        .expect_err("a link leads there");
    assert!(!other.join("x").exists());
    let spec =
        with_volumes(&lab, "c4", volumes[..1].to_vec(), "ls /data/out/ 2> /dev/null; ls -d /data/etc/passwd");
    assert_eq!(lab.output(&spec).await, "/data/etc/passwd\n");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_below_a_volume_cannot_be_moved_from_under_its_cover() {
    let lab = Lab::new();
    let data = data(&lab, "data");
    fs::create_dir_all(data.join("a/b/secrets")).expect("it is writable");
    fs::write(data.join("a/b/secrets/token"), "t0ken").expect("it is writable");
    let script = "cd /data; mv a/b/secrets a/b/known; mv a/b a/c; mv a z; rmdir a/b/secrets
        echo mine > a/b/mine; find . -name token; ls a a/b a/b/secrets";
    let mut spec = with_volumes(&lab, "c1", vec![bind(&data, "/data", true)], script);
    spec.hide.push(data.join("a/b/secrets"));
    assert_eq!(lab.output(&spec).await, "a:\nb\n\na/b:\nmine\nsecrets\n\na/b/secrets:\n");
    assert!(data.join("a/b/secrets/token").exists() && data.join("a/b/mine").exists());
    // A task that was there before may have put something else on the way: there is nothing to hide then.
    fs::remove_dir_all(data.join("a")).expect("it is ours");
    for (name, what) in [("c2", "file"), ("c3", "loop")] {
        match what {
            "file" => fs::write(data.join("a"), "").expect("it is writable"),
            _ => symlink("a", data.join("a")).expect("it is writable"),
        }
        let mut spec = with_volumes(&lab, name, vec![bind(&data, "/data", true)], "echo runs");
        spec.hide.push(data.join("a/b/secrets"));
        assert_eq!(lab.output(&spec).await, "runs\n", "a {what}");
        fs::remove_file(data.join("a")).expect("it is ours");
    }
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_is_hidden_in_a_volume_too() {
    let lab = Lab::new();
    let data = data(&lab, "data");
    fs::create_dir(data.join("secrets")).expect("it is writable");
    fs::write(data.join("secrets/token"), "t0ken").expect("it is writable");
    fs::write(data.join("key"), "k3y").expect("it is writable");
    let mut spec = with_volumes(
        &lab,
        "c1",
        vec![bind(&data, "/data", true), bind(&data, "/again", false)],
        "cd /; find data again; cat /data/key /again/key; touch /data/secrets/x 2> /dev/null || echo no",
    );
    spec.hide.extend([data.join("secrets"), data.join("key"), data.join("missing")]);
    let mut lines: Vec<String> = lab.output(&spec).await.lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "again",
        "again/file",
        "again/key",
        "again/secrets",
        "data",
        "data/file",
        "data/key",
        "data/secrets",
        "no",
    ];
    assert_eq!(lines, expected);
    spec = with_volumes(&lab, "c2", vec![bind(&data.join("secrets"), "/data", false)], "true");
    spec.hide.push(data.join("secrets"));
    let refused = lab.containerizer.launch(&spec).await.expect_err("it is hidden").to_string();
    assert!(refused.contains("hidden from tasks"), "{refused}");
    lab.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_the_tasks_own_sandbox_is_not_hidden() {
    let lab = Lab::new();
    let mut spec = lab.shell("c1", "echo x > /cache/file");
    fs::create_dir(spec.sandbox.join("cache")).expect("it is writable");
    let source = spec.sandbox.canonicalize().expect("it is there").join("cache");
    spec.volumes = vec![Bind { source, target: "/cache".into(), writable: true }];
    assert_eq!(lab.run(&spec).await, Exit::Code(0), "{}", read(&spec, "stderr"));
    assert_eq!(read(&spec, "cache/file"), "x\n");
    lab.finish().await;
}
