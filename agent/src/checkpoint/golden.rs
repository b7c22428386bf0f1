//! The log byte by byte, as the release before wrote it: what is in it has to be read by every release to come.

use std::time::Duration;

use bourse_agent_core::{Health, Kill, KillCause, TaskKey, Work};
use bourse_types::{Command, Epoch, FrameworkId, Reason, Resources, TaskId, TaskState, Wall};

use super::Checkpoint;

/// One record of each kind that tells of what runs.
const BEFORE: &[u8] = b"bourse agent checkpoint 1\n\
      \x06\0\0\0\xf9\xff\xff\xff\xa2\x1e\xa8I\n\x04\n\x02S1\
      \x04\0\0\0\xfb\xff\xff\xff\xd4O\0\x89\x12\x02\x08\x03\
      \x05\0\0\0\xfa\xff\xff\xff3c\xf7I\x1a\x03\n\x01b\
      \x0b\0\0\0\xf4\xff\xff\xff;1\x83\x96j\x09\n\x07\n\x01F\x12\x02t0\
      )\0\0\0\xd6\xff\xff\xffO\x1e\x01\xec\"'\n\x01F\x12\"\n\x06nobody\x12\x01f\x1a\x03\n\x01F!\0\
      \0\0\0\0\0\0\0(\x012\x01*R\x02\x08\x02\
      \xfd\0\0\0\x02\xff\xff\xff\xd6ae\xb2r\xfa\x01\n\xad\x012\xaa\x01\n\x07\n\x01F\x12\x02t1\x12\
      \x02c1\x1ae\n\x02t1\x12\x04\n\x02t1\x1a\x04\n\x02S1\"\x18\n\x04cpus\x10\0\x1a\x09\x09\0\0\0\
      \0\0\0\xe0?Z\x03\n\x01*\"\x17\n\x03mem\x10\0\x1a\x09\x09\0\0\0\0\0\0P@Z\x03\n\x01*:\x0e\x1a\
      \necho $HOME0\x01b\x08\n\x06\x08\x80\xbc\xc1\x96\x0br\x06\x08\x80\xde\xa0\xcb\x05\"\x01**\
      \x18\n\x04cpus\x10\0\x1a\x09\x09\0\0\0\0\0\0\xe0?Z\x03\n\x01**\x17\n\x03mem\x10\0\x1a\x09\
      \x09\0\0\0\0\0\0P@Z\x03\n\x01*\nHBF\n\x07\n\x01F\x12\x02t1\x12;\n\x04\n\x02t1\x10\0*\x04\n\
      \x02S11\0\0\0\0\0\0\xf8?:\x04\n\x02t1H\x02Z\x10\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
      \x07\x07\x07\x07\x07j\x08\x18)\"\x04\n\x02c1\
      \x10\0\0\0\xef\xff\xff\xff\xba\xab\xef\x80:\x0e\n\x07\n\x01F\x12\x02t1\x10)\x18\xc4\x13\
      H\0\0\0\xb7\xff\xff\xff7\xede\xe3BF\n\x07\n\x01F\x12\x02t1\x12;\n\x04\n\x02t1\x10\x01*\x04\n\
      \x02S11\0\0\0\0\0\0\x04@:\x04\n\x02t1H\x02Z\x10\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\
      \x08\x08\x08\x08\x08j\x08\x18)\"\x04\n\x02c1\
      \x1d\0\0\0\xe2\xff\xff\xff\xfc\xe4\xe5\xa3J\x1b\n\x07\n\x01F\x12\x02t1\x12\x10\x07\x07\x07\
      \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
      \x11\0\0\0\xee\xff\xff\xff\xa5\xb3\xa5\xf1Z\x0f\n\x07\n\x01F\x12\x02t1\x10\x02\x18\x01 \0\
      4\0\0\0\xcb\xff\xff\xff\xcc\xa3\xeaUR2\n\x07\n\x01F\x12\x02t1\x10\x01\x1a\x15REASON_AGENT_DR\
      AINING \x80\xb0\x9d\xc2\xdf\x01(\x80\x90\xdf\xc0J0\x88'";

fn key(task: &str) -> TaskKey {
    TaskKey { framework: FrameworkId::new("F").expect("valid"), task: TaskId::new(task).expect("valid") }
}

#[test]
fn a_checkpoint_of_the_release_before_is_read_to_the_last_word() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("checkpoint"), BEFORE).expect("written");
    let (checkpoint, state) = Checkpoint::open(folder.path()).expect("readable");
    assert_eq!(state.agent.as_ref().map(|agent| agent.as_str()), Some("S1"));
    assert_eq!((state.epoch, state.boot.as_deref(), &state.described), (Epoch(3), Some("b"), &None));
    assert_eq!(state.ended, [key("t0")]);
    let framework = &state.frameworks[&key("t1").framework];
    assert_eq!((framework.user.as_str(), framework.name.as_str()), ("nobody", "f"));
    assert!(framework.checkpoint && framework.capabilities.task_killing);

    let task = &state.tasks[&key("t1")];
    assert_eq!((task.container.as_str(), task.started), ("c1", Some((41, Wall::from_millis(2_500)))));
    let told: Vec<TaskState> = task.unacknowledged.iter().map(|status| status.state).collect();
    assert_eq!(told, [TaskState::Running], "the first one is acknowledged");
    assert_eq!(task.latest.as_ref().and_then(|status| status.uuid), Some([8; 16]));
    assert_eq!(task.health, Health { failures: 2, passed: true, healthy: Some(false) });
    let kill = Kill {
        cause: KillCause::Asked(Some(Reason::AgentDraining)),
        grace: Duration::from_secs(60),
        left: Duration::from_secs(20),
        at: Wall::from_millis(5_000),
    };
    assert_eq!(task.kill, Some(kill));
    let Work::Run(spec) = &task.assignment.work else { panic!("it can be run: {task:?}") };
    assert_eq!(spec.command, Command::shell("echo $HOME"));
    let resources: Resources = "cpus:0.5; mem:64".parse().expect("valid");
    assert_eq!(spec.resources, resources);
    assert_eq!(spec.kill_policy.grace, Some(Duration::from_secs(3)));
    assert_eq!(spec.max_completion_time, Some(Duration::from_millis(1_500)));

    drop(checkpoint);
    let (_, again) = Checkpoint::open(folder.path()).expect("readable");
    assert_eq!(again, state, "as this release writes it, it says the same");
}
