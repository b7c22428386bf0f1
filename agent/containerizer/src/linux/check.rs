//! A command inside a running container.
//!
//! A process of `bourse-init` beside the container enters its namespaces, starts the command there as the
//! task's user and in the task's control groups, and tells its end over the report socket. When we hang up,
//! it kills the command: that is how a timeout works, and what happens if this agent dies.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bourse_init::plan::{Place, Plan};
use bourse_init::record::{Failure, Record};
use bourse_init::step::Step;
use bourse_types::Exit;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::time::timeout;

use super::{Container, Life, LinuxContainerizer};
use crate::containerizer::{Check, CheckEnd, ContainerError};
use crate::conversation::{Conversation, Message};
use crate::spawn::{Around, Child};
use crate::spec::check_command;
use crate::{init_image, process, spawn};

pub async fn run(
    containerizer: &LinuxContainerizer,
    container: Arc<Container>,
    check: &Check,
) -> Result<CheckEnd, ContainerError> {
    let bad = |bad| ContainerError::Spec { id: container.id.clone(), bad };
    if check.argv.is_empty() {
        return Err(bad(crate::spec::BadSpec::NoCommand));
    }
    check_command(&check.argv, &check.env).map_err(bad)?;

    let (started, command) = (container.clone(), check.clone());
    // Whether or not anybody still waits here when the command has been started.
    let start = move |_: &_| {
        let (conversation, child) = start(&started, &command)?;
        tokio::spawn(reap_in_time(child.fd));
        Ok(conversation)
    };
    let conversation = containerizer.blocking(start).await?;

    let message = match timeout(check.timeout, conversation.next_async()).await {
        Ok(message) => message.map_err(container.io("hear of the end of a check"))?,
        // Hanging up kills the command.
        Err(_) => return Ok(CheckEnd::TimedOut),
    };
    match message {
        Message::Record(Record::Exited { code, .. }) => Ok(CheckEnd::Exited(Exit::Code(code))),
        Message::Record(Record::Signaled { signal, .. }) => Ok(CheckEnd::Exited(Exit::Signal(signal))),
        // The container ended after we had looked.
        Message::Record(Record::Failed(Failure {
            step: Step::Namespaces | Step::Users,
            errno: libc::ESRCH,
            ..
        })) => Err(ContainerError::Ended(container.id.clone())),
        Message::Record(Record::Failed(failure)) => {
            Err(ContainerError::Check { id: container.id.clone(), failure })
        }
        Message::Ready(_) | Message::Closed => {
            let detail = "the process that starts it was killed".to_owned();
            let failure = Failure { step: Step::Fork, errno: 0, detail };
            Err(ContainerError::Check { id: container.id.clone(), failure })
        }
    }
}

fn start(container: &Container, check: &Check) -> Result<(Conversation, Child), ContainerError> {
    let Life::Known { init, started } = &container.life else {
        return Err(ContainerError::Ended(container.id.clone()));
    };
    let task = started.task.open().map_err(container.io("find the task's main process"))?;
    let task = task.ok_or_else(|| ContainerError::Ended(container.id.clone()))?;
    let of_task = container.dir.read_plan().map_err(container.io("read its plan"))?;
    let isolated = matches!(of_task.place, Place::Container { .. });
    let own_users = of_task.users.is_some();
    let plan = plan_file(&plan(of_task, check)).map_err(container.io("hand over the plan of a check"))?;
    let (conversation, theirs) = Conversation::begin().map_err(container.io("open a socket for a check"))?;
    let mut pass = vec![plan.as_fd(), theirs.as_fd()];
    if isolated {
        pass.push(init.as_fd());
    }
    if own_users {
        pass.push(task.as_fd());
    }
    let child = init_image::image()
        .and_then(|program| Ok(spawn::spawn(program, container.id.as_str(), &pass, Around::Nothing, None)?))
        .map_err(container.io("start a check"))?;
    Ok((conversation, child))
}

/// The task's own plan with another command: same user, same limits, same view, same filters.
fn plan(of_task: Plan, check: &Check) -> Plan {
    let place = Place::Inside {
        namespaces: matches!(of_task.place, Place::Container { .. }),
        in_sandbox: of_task.starts_in_sandbox(),
    };
    let mut env = of_task.env;
    for (name, value) in &check.env {
        let prefix = OsString::from(format!("{name}="));
        env.retain(|var| !var.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()));
        env.push(format!("{name}={value}").into());
    }
    Plan {
        place,
        argv: check.argv.iter().map(OsString::from).collect(),
        env,
        logs: None,
        record: None,
        init_groups: Vec::new(),
        ..of_task
    }
}

/// A plan in memory: nobody needs it after the check.
fn plan_file(plan: &Plan) -> std::io::Result<File> {
    let mut file = File::from(memfd_create(c"bourse-check", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&plan.encode())?;
    file.rewind()?;
    Ok(file)
}

/// On its own, so that a check that nobody waits for any more leaves no zombie.
async fn reap_in_time(child: OwnedFd) {
    if process::ended(child.as_fd()).await.is_ok() {
        process::reap(child.as_fd());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bourse_init::plan::{LogLimits, Logs, UserRange};

    use super::*;

    #[test]
    fn a_check_runs_as_the_task_does_with_its_variables_on_top() {
        let of_task = Plan {
            place: Place::Host,
            argv: vec!["task".into()],
            env: vec!["A=1".into(), "AB=2".into()],
            cwd: "/s".into(),
            identity: None,
            open_files: 7,
            filters: vec![vec![1; 8]],
            logs: Some(Logs { directory: "/s".into(), limits: LogLimits::NONE }),
            record: Some("/r".into()),
            init_groups: vec!["/g/init".into()],
            task_groups: vec!["/g/task".into()],
            oom_score: 300,
            task_group: Some("/g/task".into()),
            own_network: true,
            users: Some(UserRange { first: 1 << 20 }),
        };
        let check = Check {
            argv: vec!["check".into()],
            env: vec![("A".into(), "3".into())],
            timeout: Duration::from_secs(1),
        };
        let plan = plan(of_task.clone(), &check);
        assert_eq!(plan.env, ["AB=2", "A=3"]);
        assert_eq!(
            (plan.task_groups, plan.cwd, plan.filters, plan.oom_score),
            (of_task.task_groups, of_task.cwd, of_task.filters, 300)
        );
        assert_eq!((plan.own_network, plan.users), (of_task.own_network, of_task.users));
        assert_eq!((plan.record, plan.logs, plan.init_groups), (None, None, vec![]));
        assert_eq!(plan.place, Place::Inside { namespaces: false, in_sandbox: true });
    }
}
