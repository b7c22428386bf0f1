//! The plan: all that the first process of a container needs to know, decided by the agent beforehand.
//!
//! Form: the magic `BPLN`, one version byte, then the fields in the order of [`Plan`]. Numbers are little
//! endian; a text is its length (u32) and its bytes; a list is its length (u32) and its items; an optional
//! value is a byte 0 or 1 and, for 1, the value. Names are resolved by the agent (users to numbers, relative
//! paths to absolute ones), so that this process looks up nothing.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"BPLN";
const VERSION: u8 = 3;

/// Of agents that had a task write its logs itself, and knew no score. The first processes of containers that agents of
/// any of these left still run.
const VERSION_WITHOUT_LOGS: u8 = 2;

/// Where a task finds its sandbox in a container: where Mesos puts it in those that have a root of their own.
pub const SANDBOX: &str = "/mnt/mesos/sandbox";

/// The `PATH` of a task that brings none; the last is where NixOS has its programs.
pub const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// The directory of the sandbox that is a container's `/tmp` and `/var/tmp`.
pub const TMP: &str = "tmp";

/// The directory of the sandbox for what a task writes to a root of its own; the task does not see what is in it.
pub const LAYERS: &str = ".rootfs";

/// What to set up and what to run in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Around what the program runs.
    pub place: Place,
    /// The program and its arguments; the first names the program, looked up in the `PATH` of `env` if it has
    /// no `/`.
    pub argv: Vec<OsString>,
    /// The whole environment, each `NAME=value`. Nothing is inherited.
    pub env: Vec<OsString>,
    /// Working directory, absolute.
    pub cwd: PathBuf,
    /// Who the program runs as; `None` keeps the agent's own user and privileges (`--isolation=process`).
    pub identity: Option<Identity>,
    /// Open files allowed, soft and hard limit, cut to the hard limit that is there where that may not be raised; 0 leaves both
    /// alone.
    pub open_files: u64,
    /// Programs that the task's system calls have to pass, each as the kernel's `sock_filter`s of 8 bytes; installed in
    /// this order.
    pub filters: Vec<Vec<u8>>,
    /// Where stdout and stderr go; `None` throws them away.
    pub logs: Option<Logs>,
    /// File for the exit record; `None` tells the end over the report socket instead.
    pub record: Option<PathBuf>,
    /// Files by which the first process joins control groups, `tasks` of version 1: outside the task's limits, inside what is
    /// killed with it.
    pub init_groups: Vec<PathBuf>,
    /// The same for the task's process, before anything of the task runs.
    pub task_groups: Vec<PathBuf>,
    /// How much sooner than the agent the task goes when the machine is out of memory: from 0 to 1000, added to the
    /// agent's `oom_score_adj`, which counts as 0 where it is less. Without effect outside a container.
    pub oom_score: i32,
    /// The network is one of the container's own, with nothing in it but loopback. Without effect outside a container.
    pub own_network: bool,
    /// The container's own users, as the machine counts them; `None`: the machine's. With them, `identity` is one of them.
    pub users: Option<UserRange>,
    /// The control group of version 2 in which the task's process is made, a directory. Older kernels, which cannot, have it
    /// join that group first of all.
    pub task_group: Option<PathBuf>,
}

/// Users of the machine, and groups of the same numbers, that are a container's own users and groups 0 to
/// [`UserRange::COUNT`] - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRange {
    /// The machine's number of the container's root; at most 2^32 - 2 * [`UserRange::COUNT`].
    pub first: u32,
}

impl UserRange {
    /// So many, as programs and images know 16 bits of them: what subuid(5), systemd-nspawn and Kubernetes give.
    pub const COUNT: u32 = 1 << 16;

    /// The machine's number of one of the container's, which are less than [`UserRange::COUNT`].
    pub fn on_machine(self, id: u32) -> u32 {
        self.first.saturating_add(id)
    }

    fn is_possible(self) -> bool {
        u64::from(self.first) + 2 * u64::from(Self::COUNT) <= 1 << 32
    }
}

/// A user and a group of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// Around what the program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A container of its own: this process is pid 1 of new pid, mount, uts and ipc namespaces, and of a new network
    /// namespace where the plan says so.
    Container {
        /// Host name, at most 64 bytes.
        hostname: Option<OsString>,
        /// The task's own root; without, it sees the machine's programs, libraries and settings, read-only.
        root: Option<Root>,
        /// The task's own directory, by its path on the machine, with [`TMP`] in it; in the container it is
        /// [`SANDBOX`].
        sandbox: PathBuf,
        /// The most that `/dev/shm` holds, in bytes; 0 is no limit but the machine's memory.
        shm_bytes: u64,
        /// What of the machine the task sees besides what all tasks do; later ones may lie in earlier ones.
        volumes: Vec<Bind>,
        /// Directories and files of the machine that the task must not see; what does not exist is skipped.
        hide: Vec<PathBuf>,
    },
    /// Beside the agent, in its namespaces.
    Host,
    /// Beside a task that runs, for as long as the agent wants: a health check.
    Inside {
        /// Enter the namespaces of the container whose first process is given as a descriptor (the third); without, the
        /// task has none of its own. Users of its own are those of its main process, the fourth.
        namespaces: bool,
        /// The working directory is the task's sandbox.
        in_sandbox: bool,
    },
}

/// A directory that is the root of a container, and where what is written to it goes. All three are absolute paths of the
/// machine with no link on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The directory; it stays as it is.
    pub lower: PathBuf,
    /// An empty directory for what differs from it. Its owner and mode are those of `/`.
    pub upper: PathBuf,
    /// An empty directory of the same file system that overlayfs works in.
    pub work: PathBuf,
}

/// A file or directory of the machine in a container, with what is mounted below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Its path on the machine, absolute. There may be no link on the way: whoever could put one there could choose what
    /// is bound.
    pub source: PathBuf,
    /// Its path in the container, absolute; made where it is missing.
    pub target: PathBuf,
    /// Whether the task may write to it, as far as its user may.
    pub writable: bool,
}

/// The logs of a task: the files `stdout` and `stderr`, with older parts of them beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The directory that they are in, absolute.
    pub directory: PathBuf,
    /// How much of them there may be.
    pub limits: LogLimits,
}

/// How much a task may log, for each of stdout and stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// The most bytes of one file; then it is put aside, under its own name with a dot and the offset of its first byte
    /// in the whole log behind it, and the next one begins, where that is possible at the end of a line. 0 is no limit.
    pub file_bytes: u64,
    /// So many files that were put aside are kept, the newest; at least 1.
    pub files: u32,
    /// The most bytes in a second; what is more is thrown away and counted in the log. 0 is no limit.
    pub bytes_per_second: u64,
}

impl LogLimits {
    /// No limit at all.
    pub const NONE: LogLimits = LogLimits { file_bytes: 0, files: 1, bytes_per_second: 0 };
}

/// A user in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id, as the task counts: see [`Plan::owner`].
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Capabilities that stay, one bit each by the kernel's numbers; the bounding set is cut to them too. A
    /// user other than root has none in effect.
    pub capabilities: u64,
}

/// Why a plan could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadPlan {
    /// It does not begin as a plan does.
    NotAPlan,
    /// It is of another version of the form.
    Version(u8),
    /// It ends too early, or has bytes left, or a mark that does not exist.
    Damaged,
}

impl fmt::Display for BadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPlan::NotAPlan => f.write_str("not a plan of a container"),
            BadPlan::Version(found) => {
                write!(f, "plan of version {found}, this build reads version {VERSION}")
            }
            BadPlan::Damaged => f.write_str("plan of a container is damaged"),
        }
    }
}

impl std::error::Error for BadPlan {}

impl Plan {
    /// Whom the task's files belong to, as the machine counts; `None` is the agent's own user.
    pub fn owner(&self) -> Option<Owner> {
        let Identity { uid, gid, .. } = self.identity.as_ref()?;
        let on_machine = |id: u32| self.users.map_or(id, |users| users.on_machine(id));
        Some(Owner { uid: on_machine(*uid), gid: on_machine(*gid) })
    }

    /// Whether the working directory is the task's sandbox, which is its own even where it may not pass the way there.
    pub fn starts_in_sandbox(&self) -> bool {
        match &self.place {
            Place::Container { .. } => self.cwd == Path::new(SANDBOX),
            // The logs are in the sandbox.
            Place::Host => self.logs.as_ref().is_some_and(|logs| logs.directory == self.cwd),
            Place::Inside { in_sandbox, .. } => *in_sandbox,
        }
    }

    /// The plan's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.byte(VERSION);
        match &self.place {
            Place::Container { hostname, root, sandbox, shm_bytes, volumes, hide } => {
                out.byte(0);
                out.option(hostname.as_ref(), |out, name| out.text(name));
                out.option(root.as_ref(), |out, Root { lower, upper, work }| {
                    [lower, upper, work].into_iter().for_each(|path| out.path(path));
                });
                out.path(sandbox);
                out.u64(*shm_bytes);
                out.list(volumes, |out, Bind { source, target, writable }| {
                    out.path(source);
                    out.path(target);
                    out.byte(u8::from(*writable));
                });
                out.list(hide, |out, path| out.path(path));
            }
            Place::Host => out.byte(1),
            Place::Inside { namespaces, in_sandbox } => {
                out.byte(2);
                out.byte(u8::from(*namespaces));
                out.byte(u8::from(*in_sandbox));
            }
        }
        out.list(&self.argv, |out, arg| out.text(arg));
        out.list(&self.env, |out, var| out.text(var));
        out.path(&self.cwd);
        out.option(self.identity.as_ref(), |out, identity| {
            out.u32(identity.uid);
            out.u32(identity.gid);
            out.list(&identity.groups, |out, group| out.u32(*group));
            out.u64(identity.capabilities);
        });
        out.u64(self.open_files);
        out.list(&self.filters, |out, program| out.text(OsStr::from_bytes(program)));
        out.option(self.logs.as_ref(), |out, Logs { directory, limits }| {
            out.path(directory);
            out.u64(limits.file_bytes);
            out.u32(limits.files);
            out.u64(limits.bytes_per_second);
        });
        out.option(self.record.as_ref(), |out, path| out.path(path));
        out.list(&self.init_groups, |out, path| out.path(path));
        out.list(&self.task_groups, |out, path| out.path(path));
        out.i32(self.oom_score);
        out.byte(u8::from(self.own_network));
        out.option(self.users.as_ref(), |out, users| out.u32(users.first));
        out.option(self.task_group.as_ref(), |out, path| out.path(path));
        out.0
    }

    /// Reads a plan back; whatever is not exactly a plan of this version or the one before is refused.
    pub fn decode(bytes: &[u8]) -> Result<Plan, BadPlan> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BadPlan::NotAPlan)?;
        let mut input = Reader(rest);
        let version = input.byte()?;
        if !matches!(version, VERSION | VERSION_WITHOUT_LOGS) {
            return Err(BadPlan::Version(version));
        }
        let place = match input.byte()? {
            0 => Place::Container {
                hostname: input.option(Reader::text)?,
                root: input.option_since(version > VERSION_WITHOUT_LOGS, |input| {
                    Ok(Root { lower: input.path()?, upper: input.path()?, work: input.path()? })
                })?,
                sandbox: input.path()?,
                shm_bytes: input.u64()?,
                volumes: input.list(|input| {
                    Ok(Bind { source: input.path()?, target: input.path()?, writable: input.flag()? })
                })?,
                hide: input.list(Reader::path)?,
            },
            1 => Place::Host,
            2 => Place::Inside { namespaces: input.flag()?, in_sandbox: input.flag()? },
            _ => return Err(BadPlan::Damaged),
        };
        let plan = Plan {
            place,
            argv: input.list(Reader::text)?,
            env: input.list(Reader::text)?,
            cwd: input.path()?,
            identity: input.option(|input| {
                Ok(Identity {
                    uid: input.u32()?,
                    gid: input.u32()?,
                    groups: input.list(Reader::u32)?,
                    capabilities: input.u64()?,
                })
            })?,
            open_files: input.u64()?,
            filters: input.list(|input| input.text().map(OsString::into_vec))?,
            logs: match version {
                VERSION_WITHOUT_LOGS => input.logs_by_path()?,
                _ => input.option(Reader::logs)?,
            },
            record: input.option(Reader::path)?,
            init_groups: input.list(Reader::path)?,
            task_groups: input.list(Reader::path)?,
            oom_score: match version {
                VERSION_WITHOUT_LOGS => 0,
                _ => input.i32()?,
            },
            own_network: version > VERSION_WITHOUT_LOGS && input.flag()?,
            users: input.option_since(version > VERSION_WITHOUT_LOGS, |input| {
                Ok(UserRange { first: input.u32()? })
            })?,
            task_group: input.option_since(version > VERSION_WITHOUT_LOGS, Reader::path)?,
        };
        let is_possible = plan.users.is_none_or(UserRange::is_possible);
        if input.0.is_empty() && is_possible { Ok(plan) } else { Err(BadPlan::Damaged) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.u32(
            u32::try_from(length).expect("a plan is far smaller than 4 GiB: execve takes less than that"),
        );
    }

    fn text(&mut self, value: &OsStr) {
        self.length(value.len());
        self.0.extend(value.as_bytes());
    }

    fn path(&mut self, value: &Path) {
        self.text(value.as_os_str());
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl Fn(&mut Self, &T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], BadPlan> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(BadPlan::Damaged)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, BadPlan> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool, BadPlan> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadPlan::Damaged),
        }
    }

    fn u32(&mut self) -> Result<u32, BadPlan> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(u32::from_le_bytes(bytes))
    }

    fn i32(&mut self) -> Result<i32, BadPlan> {
        let bytes = self.take(4)?.try_into().expect("four bytes were taken");
        Ok(i32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, BadPlan> {
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        Ok(u64::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<OsString, BadPlan> {
        let length = self.u32()? as usize;
        Ok(OsString::from_vec(self.take(length)?.to_vec()))
    }

    fn path(&mut self) -> Result<PathBuf, BadPlan> {
        self.text().map(PathBuf::from)
    }

    fn logs(&mut self) -> Result<Logs, BadPlan> {
        Ok(Logs {
            directory: self.path()?,
            limits: LogLimits { file_bytes: self.u64()?, files: self.u32()?, bytes_per_second: self.u64()? },
        })
    }

    /// The paths of stdout and stderr, both in the sandbox.
    fn logs_by_path(&mut self) -> Result<Option<Logs>, BadPlan> {
        let limits = LogLimits::NONE;
        let (stdout, _) = (self.option(Reader::path)?, self.option(Reader::path)?);
        let directory = stdout.as_deref().and_then(Path::parent);
        Ok(directory.map(|directory| Logs { directory: directory.to_owned(), limits }))
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, BadPlan>) -> Result<Vec<T>, BadPlan> {
        // Grown item by item: a length that lies runs out of bytes before it runs out of memory.
        let length = self.u32()?;
        (0..length).map(|_| read(self)).collect()
    }

    /// An optional value that older versions do not have.
    fn option_since<T>(
        &mut self,
        has: bool,
        read: impl Fn(&mut Self) -> Result<T, BadPlan>,
    ) -> Result<Option<T>, BadPlan> {
        if has { self.option(read) } else { Ok(None) }
    }

    fn option<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, BadPlan>) -> Result<Option<T>, BadPlan> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(place: Place) -> Plan {
        Plan {
            place,
            argv: vec!["sh".into(), "-c".into(), OsString::from_vec(vec![0xff, b'x'])],
            env: vec!["PATH=/bin".into(), "EMPTY=".into()],
            cwd: "/tmp".into(),
            identity: Some(Identity { uid: 1, gid: 2, groups: vec![3, 4], capabilities: 1 << 40 }),
            open_files: 1 << 33,
            filters: vec![vec![6, 0, 0, 0, 0, 0, 255, 127], vec![]],
            logs: Some(Logs {
                directory: "/s".into(),
                limits: LogLimits { file_bytes: 1 << 20, files: 2, bytes_per_second: 3 },
            }),
            record: Some("/r/exit".into()),
            init_groups: vec![],
            task_groups: vec!["/sys/fs/cgroup/cgroup.procs".into()],
            oom_score: 300,
            own_network: true,
            users: Some(UserRange { first: 8 << 16 }),
            task_group: Some("/sys/fs/cgroup/c/task".into()),
        }
    }

    fn samples() -> Vec<Plan> {
        let container = Place::Container {
            hostname: Some("h".into()),
            root: Some(Root { lower: "/image".into(), upper: "/s/u".into(), work: "/s/w".into() }),
            sandbox: "/s".into(),
            shm_bytes: 1 << 20,
            volumes: vec![Bind { source: "/v".into(), target: "/data".into(), writable: true }],
            hide: vec!["/a".into(), "/b".into()],
        };
        let mut bare = sample(Place::Host);
        bare.identity = None;
        bare.logs = None;
        (bare.own_network, bare.users, bare.task_group) = (false, None, None);
        vec![sample(container), sample(Place::Inside { namespaces: true, in_sandbox: false }), bare]
    }

    #[test]
    fn only_the_sandbox_itself_is_the_sandbox() {
        let at = |place: Place, cwd: &str| Plan { cwd: cwd.into(), ..sample(place) }.starts_in_sandbox();
        let container = Place::Container {
            hostname: None,
            root: None,
            sandbox: "/s".into(),
            shm_bytes: 0,
            volumes: vec![],
            hide: vec![],
        };
        assert!(at(container.clone(), SANDBOX) && !at(container, "/s"));
        for (cwd, is) in [("/s", true), ("/s/below", false), ("/", false)] {
            assert_eq!(at(Place::Host, cwd), is, "{cwd}");
        }
        assert!(at(Place::Inside { namespaces: true, in_sandbox: true }, "/s"));
    }

    #[test]
    fn what_was_written_is_read_back() {
        for plan in samples() {
            assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
        }
    }

    #[test]
    fn a_plan_that_is_too_short_or_too_long_is_refused() {
        for plan in samples() {
            let mut bytes = plan.encode();
            for end in 0..bytes.len() {
                assert!(Plan::decode(&bytes[..end]).is_err());
            }
            bytes.push(0);
            assert_eq!(Plan::decode(&bytes), Err(BadPlan::Damaged));
        }
    }

    /// The plan of which the bytes below are, with a root or without; what only later versions have is as if it was not said.
    fn written(root: Option<Root>) -> Plan {
        Plan {
            place: Place::Container {
                hostname: Some("h".into()),
                root,
                sandbox: "/s".into(),
                shm_bytes: 7,
                volumes: vec![Bind { source: "/v".into(), target: "/d".into(), writable: true }],
                hide: vec!["/a".into()],
            },
            argv: vec!["sh".into()],
            env: vec!["A=1".into()],
            cwd: "/c".into(),
            identity: Some(Identity { uid: 1, gid: 2, groups: vec![3], capabilities: 4 }),
            open_files: 5,
            filters: vec![vec![6; 8]],
            logs: Some(Logs { directory: "/s".into(), limits: LogLimits::NONE }),
            record: Some("/r".into()),
            init_groups: vec!["/i".into()],
            task_groups: vec!["/t".into()],
            oom_score: 0,
            own_network: false,
            users: None,
            task_group: None,
        }
    }

    /// As the program wrote it that had a task write its logs itself.
    const BEFORE: &[u8] =
        b"BPLN\x02\0\x01\x01\0\0\0h\x02\0\0\0/s\x07\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0/v\x02\0\
            \0\0/d\x01\x01\0\0\0\x02\0\0\0/a\x01\0\0\0\x02\0\0\0sh\x01\0\0\0\x03\0\0\0A=1\x02\0\
            \0\0/c\x01\x01\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\
            \0\x01\0\0\0\x08\0\0\0\x06\x06\x06\x06\x06\x06\x06\x06\x01\x09\0\0\0/s/stdout\x01\
            \x09\0\0\0/s/stderr\x01\x02\0\0\0/r\x01\0\0\0\x02\0\0\0/i\x01\0\0\0\x02\0\0\0/t";

    #[test]
    fn a_plan_of_the_version_before_is_read() {
        assert_eq!(Plan::decode(BEFORE), Ok(written(None)));
    }

    /// As this release writes it: the next one finds such plans of containers that it did not launch.
    const NOW: &[u8] =
        b"BPLN\x03\0\x01\x01\0\0\0h\x01\x02\0\0\0/l\x02\0\0\0/u\x02\0\0\0/w\x02\0\0\0/s\x07\0\0\0\0\
            \0\0\0\x01\0\0\0\x02\0\0\0/v\x02\0\0\0/d\x01\x01\0\0\0\x02\0\0\0/a\x01\0\0\0\x02\0\0\0sh\x01\
            \0\0\0\x03\0\0\0A=1\x02\0\0\0/c\x01\x01\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\0\0\x04\0\0\0\0\0\0\0\
            \x05\0\0\0\0\0\0\0\x01\0\0\0\x08\0\0\0\x06\x06\x06\x06\x06\x06\x06\x06\x01\x02\0\0\0/s\x08\0\0\
            \0\0\0\0\0\x09\0\0\0\x0a\0\0\0\0\0\0\0\x01\x02\0\0\0/r\x01\0\0\0\x02\0\0\0/i\x01\0\0\0\x02\0\
            \0\0/t\x0b\0\0\0\x01\x01\0\0\x08\0\x01\x02\0\0\0/g";

    #[test]
    fn a_plan_of_this_version_is_read_from_the_bytes_that_are_on_disks() {
        let limits = LogLimits { file_bytes: 8, files: 9, bytes_per_second: 10 };
        let root = Root { lower: "/l".into(), upper: "/u".into(), work: "/w".into() };
        let expected = Plan {
            logs: Some(Logs { directory: "/s".into(), limits }),
            oom_score: 11,
            own_network: true,
            users: Some(UserRange { first: 8 << 16 }),
            task_group: Some("/g".into()),
            ..written(Some(root))
        };
        assert_eq!(Plan::decode(NOW), Ok(expected));
    }

    #[test]
    fn what_a_task_owns_is_its_users_as_the_machine_counts_them() {
        let plan = sample(Place::Host);
        assert_eq!(plan.owner(), Some(Owner { uid: (8 << 16) + 1, gid: (8 << 16) + 2 }));
        assert_eq!(Plan { users: None, ..plan.clone() }.owner(), Some(Owner { uid: 1, gid: 2 }));
        assert_eq!(Plan { identity: None, ..plan.clone() }.owner(), None);
        let beyond = Plan { users: Some(UserRange { first: u32::MAX - UserRange::COUNT }), ..plan };
        assert_eq!(Plan::decode(&beyond.encode()), Err(BadPlan::Damaged), "its last users are no numbers");
    }

    #[test]
    fn another_version_and_another_file_are_told_apart() {
        let mut bytes = sample(Place::Host).encode();
        bytes[4] = 9;
        assert_eq!(Plan::decode(&bytes), Err(BadPlan::Version(9)));
        assert_eq!(Plan::decode(b"\x7fELF"), Err(BadPlan::NotAPlan));
    }
}
