//! Steps at which a test may end the agent.
//!
//! The life of a container, from the agent's decision to launch its task to the removal of the sandbox, has moments at
//! which a `kill -9` of the agent leaves something half done. Each has its name in this list and says so when it is there.
//! Tests end an agent at each of them and look what the next one makes of it.
//!
//! In an ordinary run nothing happens there but a look at one variable. What is to happen is code that a test brings along
//! ([`observe`]): no flag, no file and no variable of the environment leads to it, so no operator can come upon it. Nor is
//! there a build with these steps and one without, as a feature of cargo would make them: what is tested is what is
//! released.

use std::sync::OnceLock;

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident)*) => {
        /// A step of the agent, or of its containerizer; each comes when what it names is done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Failpoint {
            $($(#[$doc])* $step,)*
        }

        impl Failpoint {
            /// All of them, in the order in which an agent comes to them.
            pub const ALL: &'static [Failpoint] = &[$(Failpoint::$step,)*];
        }
    };
}

steps! {
    /// At its start the agent has written its checkpoint anew, beside the old one.
    CheckpointCopied
    /// The new checkpoint is in the place of the old one.
    CheckpointReplaced
    /// Control groups that belong to no container are destroyed.
    StrangersRemoved
    /// It is known what became of a container of an earlier agent.
    ContainerFound

    /// A task is accepted, and that is not written down.
    TaskDecided
    /// That a task is accepted is in the checkpoint.
    TaskWritten
    /// The task's sandbox is made.
    SandboxMade
    /// The directory of what is written down about the container is made.
    RuntimeDirMade
    /// Its control groups are made. In process isolation there are none.
    GroupsMade
    /// The sandbox belongs to the task.
    SandboxGiven
    /// The plan is written.
    PlanWritten
    /// A copy of the agent waits to be given its users: the first process, of an agent that is not root, or one of which
    /// only the user namespace is wanted. That of a task with users of its own waits before the sandbox is given to it.
    CopyWaits
    /// The first process is made.
    FirstProcessMade
    /// The task's process has said that it is ready.
    ReadyHeard
    /// It is written down which processes there are.
    StartedWritten
    /// The task's process has the word to go on.
    GoSaid
    /// The task's program is seen to run.
    TaskRuns
    /// A launch has failed, and what was made for it is there.
    LaunchFailed
    /// That the task runs is known, and not in the checkpoint.
    StartDecided
    /// That the task runs is in the checkpoint.
    StartWritten

    /// The task is to have cores for itself, and that is not written down.
    CoresDecided
    /// The cores that the task has for itself are in the checkpoint.
    CoresWritten
    /// The task is to have another size, and that is not written down.
    ResizeDecided
    /// That the task is to have another size is in the checkpoint.
    ResizeWritten
    /// The container was given other limits, for its size or for its cores, or they were refused.
    LimitsSet
    /// The task has another size, and that is not in the checkpoint.
    ResizedDecided
    /// The task's new size is in the checkpoint.
    ResizedWritten
    /// The task keeps its size, and that is not in the checkpoint.
    RefusalDecided
    /// That the task keeps its size is in the checkpoint.
    RefusalWritten

    /// The task is to be killed, and that is not written down.
    KillDecided
    /// That the task is to be killed is in the checkpoint.
    KillWritten
    /// The task was asked to end.
    TermSent
    /// The task was killed.
    KillSent

    /// The container's first process was seen to end.
    EndSeen
    /// How it ended was read.
    RecordRead
    /// How the task ended is known, and not in the checkpoint.
    EndDecided
    /// How the task ended is in the checkpoint.
    EndWritten
    /// How the task ended is on its way to the master.
    EndSent
    /// An acknowledgement of the master was heard, and is not in the checkpoint.
    AcknowledgementDecided
    /// The acknowledgement is in the checkpoint.
    AcknowledgementWritten

    /// The container is to be removed.
    DestroyBegun
    /// No process of it is left that was known.
    ProcessesGone
    /// Its control groups are removed.
    GroupsRemoved
    /// What was written down about it is removed.
    RuntimeDirRemoved

    /// The link to an old sandbox is removed, as that is to go.
    LatestRemoved
    /// An old sandbox is removed, and the empty folders above it are there.
    SandboxRemoved
}

type Observer = Box<dyn Fn(Failpoint) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// From now on this is called at each step, by the thread that is there. For tests.
///
/// # Panics
/// On a repeat.
pub fn observe(observer: impl Fn(Failpoint) + Send + Sync + 'static) {
    assert!(OBSERVER.set(Box::new(observer)).is_ok(), "somebody observes the steps of this process already");
}

/// The agent is at this step.
pub fn reached(step: Failpoint) {
    if let Some(observer) = OBSERVER.get() {
        observer(step);
    }
}
