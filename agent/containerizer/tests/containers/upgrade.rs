//! A container that an agent of the release before has left is found, checked, measured, killed and told by this one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use bourse_containerizer::{Check, CheckEnd, Containerizer, RecoveredState};
use bourse_init::plan::{Place, Plan};
use bourse_types::Exit;

use super::lab::{DEADLINE, Lab, exit_of, read, until};
use super::recovery::recover;

/// The form of plans in which a task wrote its logs itself, by their paths, and had no score and no root of its own: see
/// `a_plan_of_the_version_before_is_read`.
const VERSION: u8 = 2;

/// The bytes of a plan of that form.
struct Old(Vec<u8>);

impl Old {
    fn number(&mut self, value: usize) {
        self.0.extend(u32::try_from(value).expect("a small one").to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, value: impl AsRef<std::ffi::OsStr>) {
        let bytes = value.as_ref().as_bytes();
        self.number(bytes.len());
        self.0.extend(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Old, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Old, &T)) {
        self.number(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn of(plan: &Plan) -> Vec<u8> {
        let Place::Container { hostname, sandbox, shm_bytes, volumes, hide, .. } = &plan.place else {
            panic!("it is the plan of a container: {plan:?}")
        };
        let mut old = Old(b"BPLN".to_vec());
        old.0.extend([VERSION, 0]);
        old.option(hostname.as_ref(), |old, name| old.text(name));
        old.text(sandbox);
        old.long(*shm_bytes);
        old.list(volumes, |old, bind| {
            old.text(&bind.source);
            old.text(&bind.target);
            old.0.push(u8::from(bind.writable));
        });
        old.list(hide, |old, path| old.text(path));
        old.list(&plan.argv, |old, arg| old.text(arg));
        old.list(&plan.env, |old, variable| old.text(variable));
        old.text(&plan.cwd);
        old.option(plan.identity.as_ref(), |old, identity| {
            [identity.uid, identity.gid].into_iter().for_each(|id| old.number(id as usize));
            old.list(&identity.groups, |old, group| old.number(*group as usize));
            old.long(identity.capabilities);
        });
        old.long(plan.open_files);
        old.list(&plan.filters, |old, program| old.text(std::ffi::OsStr::from_bytes(program)));
        let log = |name: &str| Some(sandbox.join(name));
        for log in [log("stdout"), log("stderr")] {
            old.option(log, |old, path| old.text(path));
        }
        old.option(plan.record.as_ref(), |old, path| old.text(path));
        old.list(&plan.init_groups, |old, path| old.text(path));
        old.list(&plan.task_groups, |old, path| old.text(path));
        old.0
    }
}

/// Puts what an agent of the release before would have written in the place of what this one has.
fn as_before(dir: &Path) {
    let path = dir.join("plan");
    let plan = Plan::decode(&fs::read(&path).expect("it is there")).expect("it is a plan");
    let old = Old::of(&plan);
    assert!(Plan::decode(&old).is_ok(), "it is a plan of the version before");
    fs::write(path, old).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_the_release_before_has_left_is_found_checked_measured_killed_and_told() {
    let lab = Lab::new();
    let script = "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    let specs = ["asked", "killed"].map(|name| lab.shell(name, script));
    let mut pids = Vec::new();
    for spec in &specs {
        pids.push(lab.launch(spec).await.pid);
        until("it runs", || read(spec, "stdout") == "up\n").await;
        as_before(&lab.work.join("run").join(spec.container_id.as_str()));
    }

    let next = Lab::at(lab.root(), &lab.instance);
    let found = recover(&next.containerizer).await;
    let running: Vec<u32> = found
        .iter()
        .map(|found| match found.state {
            RecoveredState::Running(launched) => launched.pid,
            RecoveredState::Ended(_) => panic!("it runs: {found:?}"),
        })
        .collect();
    assert_eq!(running, pids, "in the order of their ids");
    let [asked, killed] = [&specs[0].container_id, &specs[1].container_id];
    for id in [asked, killed] {
        let argv =
            ["/bin/sh", "-c", "test \"$LAB\" = \"$WANTED\" && pwd > checked"].map(str::to_owned).into();
        let env = vec![("WANTED".to_owned(), lab.instance.clone())];
        let check = Check { argv, env, timeout: DEADLINE };
        let end = next.containerizer.exec(id, &check).await.expect("it can be run");
        assert_eq!(end, CheckEnd::Exited(Exit::Code(0)));
        let usage = next.containerizer.usage(id).await.expect("it runs");
        assert!(usage.pids > 0 && usage.cpu > Duration::ZERO, "{usage:?}");
    }
    assert!(specs.iter().all(|spec| read(spec, "checked") == "/mnt/mesos/sandbox\n"), "where the task is");

    next.containerizer.terminate(asked).await.expect("it runs");
    assert_eq!(exit_of(&next.wait(&specs[0]).await), Exit::Code(5));
    assert_eq!(read(&specs[0], "stdout"), "up\nasked\n");
    next.containerizer.kill_all(killed).await.expect("it runs");
    assert_eq!(exit_of(&next.wait(&specs[1]).await), Exit::Signal(libc::SIGKILL));
    lab.finish().await;
}
