//! The task's process: from a fork of the first process to the task's program.
//!
//! Order matters. Control groups come first, so that nothing runs outside its limits; what needs root comes
//! before the switch of the user, and the working directory after it, so that it is entered with the task's
//! own rights. Only the way to the task's own sandbox is not asked for them: it may lead through directories that
//! the agent keeps for itself.

use std::env::split_paths;
use std::ffi::{CString, OsStr};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::slice;

use bourse_init::plan::{DEFAULT_PATH, Identity, Plan, SANDBOX};
use bourse_init::record::Failure;
use bourse_init::report;
use bourse_init::step::Step;

use crate::errno::{E2BIG, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM};
use crate::failure::{At, failure};
use crate::{standing, sys};

/// The files of a task that have to be opened before the view of the file system changes.
pub struct Files {
    groups: Vec<File>,
    /// The control group in which the task's process is made, and the file by which it is joined where that cannot be.
    group: Option<(File, File)>,
    /// Where stdout and stderr go; `None` throws them away.
    logs: Option<[File; 2]>,
}

impl Files {
    pub fn open(plan: &Plan, logs: Option<[File; 2]>) -> Result<Files, Failure> {
        let group = plan.task_group.as_deref().map(open_group).transpose()?;
        Ok(Files { groups: open_groups(&plan.task_groups)?, group, logs })
    }

    /// Makes the task's process: `None` in the child, its id in the parent. Tells whether the child has yet to join the
    /// group that it should be made in.
    pub fn make_child(&self) -> io::Result<(Option<i32>, bool)> {
        // Older kernels cannot, or a filter of system calls hides that they can: see `clone` of the containerizer's
        // `spawn.rs`.
        const CANNOT: [i32; 5] = [EPERM, E2BIG, EINVAL, ENOSYS, EOPNOTSUPP];
        let Some((group, _)) = &self.group else { return Ok((sys::make_child()?, false)) };
        match sys::make_child_in(group.as_fd()) {
            Err(error) if error.raw_os_error().is_some_and(|number| CANNOT.contains(&number)) => {
                Ok((sys::make_child()?, true))
            }
            made => Ok((made?, false)),
        }
    }
}

/// Opens `cgroup.procs` or `tasks` files, to join through them later.
pub fn open_groups(paths: &[PathBuf]) -> Result<Vec<File>, Failure> {
    paths
        .iter()
        .map(|path| File::options().write(true).open(path).at(Step::Cgroup, || path.display().to_string()))
        .collect()
}

fn open_group(path: &Path) -> Result<(File, File), Failure> {
    let at = || path.display().to_string();
    let directory = File::open(path).at(Step::Cgroup, at)?;
    let join = File::options().write(true).open(path.join("cgroup.procs")).at(Step::Cgroup, at)?;
    Ok((directory, join))
}

/// Moves this process into the groups.
pub fn join(groups: &[File], paths: &[PathBuf]) -> Result<(), Failure> {
    for (mut group, path) in groups.iter().zip(paths) {
        // To the kernel, 0 is the writer itself, whatever its number is in this pid namespace.
        group.write_all(b"0").at(Step::Cgroup, || path.display().to_string())?;
    }
    Ok(())
}

/// Follows no link in its place. In a container none on the way either: the task may be able to put one there by now, to
/// what only this process may open, such as the descriptors of the first one.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    match path == Path::new(SANDBOX) {
        true => sys::open_place(path, sys::Links::Refuse),
        false => OpenOptions::new().read(true).custom_flags(sys::O_NOFOLLOW).open(path).map(OwnedFd::from),
    }
}

/// Becomes the task's program; returns only with the reason why it could not. `joins` as [`Files::make_child`] told; `users`
/// are the task's own, if it has such; `gate` is the report socket when the agent wants to write down who runs before
/// anything runs.
pub fn become_task(
    plan: &Plan,
    files: Files,
    joins: bool,
    users: Option<BorrowedFd<'_>>,
    oom_score: Option<i32>,
    gate: Option<&OwnedFd>,
) -> Failure {
    match prepare(plan, files, joins, users, oom_score, gate) {
        Ok(()) => execute(plan),
        Err(failure) => failure,
    }
}

fn prepare(
    plan: &Plan,
    files: Files,
    joins: bool,
    users: Option<BorrowedFd<'_>>,
    oom_score: Option<i32>,
    gate: Option<&OwnedFd>,
) -> Result<(), Failure> {
    if let (true, Some((_, group)), Some(path)) = (joins, &files.group, &plan.task_group) {
        join(slice::from_ref(group), slice::from_ref(path))?;
    }
    join(&files.groups, &plan.task_groups)?;
    sys::setsid();
    sys::default_signals();
    if let Some(score) = oom_score {
        // The first process is kept from the OOM killer; its children are not.
        standing::take_oom_score(plan, score)?;
    }
    // Here and not before: a task of root could change the mode and the owner of the machine's own.
    let null =
        File::options().read(true).write(true).open("/dev/null").at(Step::Output, || "/dev/null".into())?;
    let [stdout, stderr] = files.logs.as_ref().map_or([&null; 2], |logs| logs.each_ref());
    for (file, target) in [(&null, 0), (stdout, 1), (stderr, 2)] {
        sys::dup_onto(file.as_fd(), target).at(Step::Output, || format!("descriptor {target}"))?;
    }
    sys::umask(0o022);
    let cwd = || plan.cwd.display().to_string();
    let sandbox = match plan.identity.is_some() && plan.starts_in_sandbox() {
        true => Some(open_directory(&plan.cwd).at(Step::Cwd, cwd)?),
        false => None,
    };
    if let Some(identity) = &plan.identity {
        switch(identity, users)?;
    }
    match sandbox {
        Some(sandbox) => sys::enter_directory(sandbox.as_fd()).at(Step::Cwd, cwd)?,
        None => std::env::set_current_dir(&plan.cwd).at(Step::Cwd, cwd)?,
    }
    gate.map_or(Ok(()), wait_for_go)?;
    // The last of all, so that nothing of the set-up needs to be allowed.
    plan.filters.iter().enumerate().try_for_each(|(number, program)| {
        sys::filter_calls(program).at(Step::Seccomp, || format!("program {number}"))
    })
}

fn switch(identity: &Identity, users: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    let Identity { uid, gid, groups, capabilities } = identity;
    // As root, so that it does not count against the keys of the user, who may have but a few.
    sys::leave_keys().at(Step::Capabilities, || "session keyring".into())?;
    // Until it is one of them, this process is the machine's root, which nobody of them can look into: it is not dumpable,
    // and its memory belongs to where its program was started (ptrace(2)).
    if let Some(users) = users {
        sys::enter_users(users).at(Step::Users, String::new)?;
    }
    // Afterwards, as who enters users begins with all capabilities among them.
    sys::cut_bounding_set(*capabilities).at(Step::Capabilities, || "bounding set".into())?;
    sys::become_user(*uid, *gid, groups).at(Step::User, || format!("uid {uid} gid {gid}"))?;
    // A user other than root has lost all of them with the switch, unless whoever it was before is nobody among its users.
    let kept = if *uid == 0 { *capabilities } else { 0 };
    if *uid == 0 || users.is_some() {
        sys::set_capabilities(kept).at(Step::Capabilities, || "effective set".into())?;
    }
    sys::no_new_privileges().at(Step::Capabilities, || "no new privileges".into())
}

fn wait_for_go(gate: &OwnedFd) -> Result<(), Failure> {
    sys::send_message(gate.as_fd(), report::READY).at(Step::Gate, || "say that all is ready".into())?;
    let mut answer = [0; 16];
    let length =
        sys::receive_message(gate.as_fd(), &mut answer).at(Step::Gate, || "wait for the answer".into())?;
    if &answer[..length] == report::GO {
        Ok(())
    } else {
        Err(Failure { step: Step::Gate, errno: 0, detail: "the agent went away".into() })
    }
}

fn execute(plan: &Plan) -> Failure {
    let Some(name) = plan.argv.first() else {
        return Failure { step: Step::Exec, errno: EINVAL, detail: "the command is empty".into() };
    };
    let texts = |list: &[std::ffi::OsString]| -> Option<Vec<CString>> {
        list.iter().map(|text| CString::new(text.as_bytes()).ok()).collect()
    };
    let (Some(argv), Some(env)) = (texts(&plan.argv), texts(&plan.env)) else {
        return Failure {
            step: Step::Exec,
            errno: EINVAL,
            detail: "an argument or variable holds a zero byte".into(),
        };
    };
    // As execvp does: the first that can be started wins, and "not found" is said only if nothing better can
    // be.
    let mut worst = io::Error::from_raw_os_error(ENOENT);
    for program in candidates(name, &plan.env) {
        let error = sys::execute(&program, &argv, &env);
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            worst = error;
            if worst.kind() != io::ErrorKind::PermissionDenied {
                break;
            }
        }
    }
    failure(Step::Exec, &worst, name.to_string_lossy().into_owned())
}

/// The files that a command's name may mean.
fn candidates(name: &OsStr, env: &[std::ffi::OsString]) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![name.into()];
    }
    let path = env.iter().find_map(|var| var.as_bytes().strip_prefix(b"PATH=")).map(OsStr::from_bytes);
    split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))).map(|dir| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_slash_is_taken_as_it_is() {
        assert_eq!(candidates(OsStr::new("./run"), &["PATH=/bin".into()]), [PathBuf::from("./run")]);
    }

    #[test]
    fn a_command_without_a_slash_is_looked_up_in_the_path_of_the_task() {
        let found = candidates(OsStr::new("sh"), &["HOME=/".into(), "PATH=/a:/b".into()]);
        assert_eq!(found, [PathBuf::from("/a/sh"), PathBuf::from("/b/sh")]);
    }

    #[test]
    fn without_a_path_the_usual_places_are_tried() {
        assert!(candidates(OsStr::new("sh"), &[]).contains(&PathBuf::from("/bin/sh")));
    }
}
