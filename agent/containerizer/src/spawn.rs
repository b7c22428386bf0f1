//! Starts `bourse-init`: one `clone`, in new namespaces or not, and an `execveat` of the program in memory.
//!
//! The agent has many threads. After a fork of such a process only system calls are safe until the next
//! program runs: a lock that another thread held stays held forever. So everything that takes memory is done
//! before, and the child makes a few kinds of calls and no more.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use bourse_types::Network;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::failpoint::{Failpoint, reached};
use crate::process;
use crate::user_map::UserMap;

/// The exit code of a child that could not become `bourse-init`.
pub const NOT_EXECUTED: i32 = 126;

/// The namespaces of a container.
const NAMESPACES: u64 =
    (libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC) as u64;

/// Why a process could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The control group does not take it.
    #[error("its control group does not take it ({0})")]
    Group(#[source] io::Error),
    /// Anything else.
    #[error(transparent)]
    Process(#[from] io::Error),
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        match error {
            SpawnError::Group(error) | SpawnError::Process(error) => error,
        }
    }
}

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Its id, as this machine counts.
    pub pid: u32,
    /// Its descriptor.
    pub fd: OwnedFd,
}

/// The namespaces that a process begins in.
#[derive(Debug, Clone, Copy)]
pub enum Around<'a> {
    /// The agent's.
    Nothing,
    /// New ones, of which it is pid 1, and of this network.
    Namespaces(Network),
    /// The same in a user namespace of its own, of which it is the root.
    Users(&'a UserMap, Network),
}

/// Starts `program` (a descriptor) with an empty environment, as `bourse-init NAME FD...`. It inherits
/// standard input and output and the descriptors in `pass`. It is in a control group of version 2 from its first moment on,
/// if one is given by its directory.
pub fn spawn(
    program: BorrowedFd<'_>,
    name: &str,
    pass: &[BorrowedFd<'_>],
    around: Around<'_>,
    group: Option<BorrowedFd<'_>>,
) -> Result<Child, SpawnError> {
    let numbers: Vec<RawFd> = pass.iter().map(AsRawFd::as_raw_fd).collect();
    let texts: Vec<CString> = ["bourse-init".to_owned(), name.to_owned()]
        .into_iter()
        .chain(numbers.iter().map(RawFd::to_string))
        .map(CString::new)
        .collect::<Result<_, _>>()
        .map_err(io::Error::from)?;
    let container = |network| match network {
        Network::Host => NAMESPACES,
        Network::Loopback => NAMESPACES | libc::CLONE_NEWNET as u64,
    };
    let (namespaces, users) = match around {
        Around::Nothing => (0, None),
        Around::Namespaces(network) => (container(network), None),
        Around::Users(users, network) => (container(network) | libc::CLONE_NEWUSER as u64, Some(users)),
    };
    start(program, &texts, &numbers, namespaces, users, group)
}

/// Runs a program with an empty environment as the root of a new user namespace, and waits for its end.
pub fn run<'a>(
    program: &'a Path,
    arguments: impl IntoIterator<Item = &'a OsStr>,
    users: &UserMap,
) -> io::Result<WaitStatus> {
    let texts: Vec<CString> = [program.as_os_str()]
        .into_iter()
        .chain(arguments)
        .map(|text| CString::new(text.as_bytes()))
        .collect::<Result<_, _>>()?;
    let program = File::open(program)?;
    let child = start(program.as_fd(), &texts, &[], libc::CLONE_NEWUSER as u64, Some(users), None)?;
    Ok(waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED)?)
}

/// Starts a program with these arguments, of which the first is its name, and the descriptors in `pass`. Where a new user
/// namespace is among the namespaces, it begins once that has its users: a program that is started before is nobody, and
/// has no rights.
fn start(
    program: BorrowedFd<'_>,
    texts: &[CString],
    pass: &[RawFd],
    namespaces: u64,
    users: Option<&UserMap>,
    group: Option<BorrowedFd<'_>>,
) -> Result<Child, SpawnError> {
    let argv: Vec<*const c_char> = texts.iter().map(|arg| CStr::as_ptr(arg)).chain([ptr::null()]).collect();
    let env: [*const c_char; 1] = [ptr::null()];
    let gate = users.map(|_| io::pipe()).transpose()?;
    let ends = gate.as_ref().map(|(theirs, ours)| [theirs.as_raw_fd(), ours.as_raw_fd()]);
    let mut keep = [&[0, 1, 2, program.as_raw_fd()], pass].concat();
    keep.extend(ends.map(|[theirs, _]| theirs));
    keep.sort_unstable();

    // One that waits for us needs memory of its own, as we are to go on meanwhile.
    let memory = if ends.is_some() { Memory::Copied } else { Memory::Lent };
    let child = made_with_signals_blocked(namespaces, group, memory, || {
        // SAFETY: in the child; system calls only, on memory that the parent prepared and that is copied, or left alone by
        // a parent that waits.
        unsafe {
            if let Some(ends) = ends
                && !wait_for_word(ends, &keep)
            {
                return NOT_EXECUTED;
            }
            for &fd in pass {
                libc::fcntl(fd, libc::F_SETFD, 0);
            }
            libc::syscall(
                libc::SYS_execveat,
                program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                env.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        NOT_EXECUTED
    })?;
    if let (Some(users), Some((_theirs, mut ours))) = (users, gate) {
        reached(Failpoint::CopyWaits);
        if let Err(error) = users.apply(child.pid).and_then(|()| ours.write_all(&[1])) {
            end(&child)?;
            return Err(error.into());
        }
    }
    Ok(child)
}

/// Waits for a word of the agent by a pipe, of which it is given both ends; tells whether it came. It does not when the
/// agent is gone. `keep`, in order, are the descriptors that stay open besides: of all others it has copies too, and two
/// that wait would each keep the other's pipe open, and the agent's lock with it.
///
/// # Safety
/// Only in a child, whose own copies all of its descriptors are.
unsafe fn wait_for_word([theirs, ours]: [RawFd; 2], keep: &[RawFd]) -> bool {
    let mut word = 0_u8;
    // SAFETY: system calls only, on memory of this function.
    unsafe {
        // Where ranges cannot be closed, at least its own copy.
        libc::close(ours);
        let mut first = 0;
        for &fd in keep {
            if first < fd {
                libc::syscall(libc::SYS_close_range, first, fd - 1, 0);
            }
            first = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, first, RawFd::MAX, 0);
        libc::read(theirs, (&raw mut word).cast(), 1) == 1
    }
}

/// Makes a user namespace that stays as long as its descriptor. A repeat makes another one. For other users than our own it
/// needs the rights of root in the namespace that we are in.
pub fn user_namespace(users: &UserMap) -> io::Result<OwnedFd> {
    let (theirs, ours) = io::pipe()?;
    let ends = [theirs.as_raw_fd(), ours.as_raw_fd()];
    let child = made_with_signals_blocked(libc::CLONE_NEWUSER as u64, None, Memory::Copied, || {
        // SAFETY: in the child; waits for the signal that ends it, or for the end of an agent that cannot send it any more.
        unsafe { wait_for_word(ends, &[ends[0]]) };
        0
    })?;
    reached(Failpoint::CopyWaits);
    let place = Path::new("/proc").join(child.pid.to_string()).join("ns/user");
    let made = users.apply(child.pid).and_then(|()| File::open(place));
    end(&child)?;
    made.map(OwnedFd::from)
}

/// Ends a child that only waits.
fn end(child: &Child) -> io::Result<()> {
    process::send_signal(child.fd.as_fd(), libc::SIGKILL)?;
    waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED)?;
    Ok(())
}

/// What memory a child has until it is another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Its own, as after a fork. The tables that say what is where are copied, which for an agent is the most of all work
    /// here.
    Copied,
    /// Ours, and this thread waits meanwhile, as with posix_spawn(3). Where that cannot be, a copy.
    Lent,
}

/// Makes a child that does `work` (system calls only) in the group and exits with its result. Signals are blocked in
/// between: one that came to the child before it is another program would run the agent's handler there.
fn made_with_signals_blocked(
    namespaces: u64,
    group: Option<BorrowedFd<'_>>,
    memory: Memory,
    mut work: impl FnMut() -> i32,
) -> Result<Child, SpawnError> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(io::Error::from)?;
    let lent = match memory {
        Memory::Copied => Err(io::ErrorKind::Unsupported.into()),
        Memory::Lent => clone3_lending(namespaces, group, &mut work),
    };
    let made = match lent {
        Ok(child) => Ok(Some(child)),
        Err(_) => clone(namespaces, group),
    };
    if let Ok(None) = made {
        let code = work();
        // SAFETY: in the child; ends it without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None).map_err(io::Error::from)?;
    made.map(|child| child.expect("the child never gets here"))
}

/// A fork with a pid descriptor: `None` in the child, which is in the group.
fn clone(namespaces: u64, group: Option<BorrowedFd<'_>>) -> Result<Option<Child>, SpawnError> {
    match clone3(namespaces, group) {
        // Docker and Podman answer ENOSYS without `--privileged`: their filter cannot read the flags, which lie in memory,
        // and so cannot tell a fork from new namespaces. Docker before 20.10.10 said EPERM. Linux before 5.7 knows no group
        // and says that the arguments are too many. Where it is the namespaces that are not allowed, the older call says
        // so, too.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOSYS | libc::EPERM | libc::E2BIG | libc::EINVAL | libc::EOPNOTSUPP)
            ) =>
        {
            match group {
                Some(group) => older_clone_into(namespaces, group),
                None => Ok(older_clone(namespaces)?),
            }
        }
        // What it says of a group only: clone(2) has the first two, and the others are for one that is removed just now
        // (`cgroup_css_set_fork` in the kernel's cgroup.c) or was before (seen on Linux 6.18).
        Err(error)
            if group.is_some()
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EACCES | libc::EBUSY | libc::ENODEV | libc::ENOENT)
                ) =>
        {
            Err(SpawnError::Group(error))
        }
        made => Ok(made?),
    }
}

/// What `clone3` is asked for; the pid descriptor goes to `fd`.
fn clone_args(namespaces: u64, group: Option<BorrowedFd<'_>>, fd: &mut RawFd) -> libc::clone_args {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zero is the valid "nothing asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    args.pidfd = ptr::from_mut(fd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args
}

/// A child that does `work` with our memory, on a stack of its own, while this thread waits until it is another program or
/// has ended.
#[cfg(target_arch = "x86_64")]
fn clone3_lending(
    namespaces: u64,
    group: Option<BorrowedFd<'_>>,
    mut work: &mut dyn FnMut() -> i32,
) -> io::Result<Child> {
    /// In bytes; `work` makes a few system calls.
    const STACK: usize = 64 << 10;

    unsafe extern "C" fn begin(work: *mut &mut dyn FnMut() -> i32) -> i32 {
        // SAFETY: the parent's `work`, which it does not touch while it waits.
        unsafe { (*work)() }
    }

    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut fd: RawFd = -1;
    let mut args = clone_args(namespaces, group, &mut fd);
    args.flags |= (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = STACK as u64;
    let pid: libc::c_long;
    // SAFETY: The kernel gets arguments that outlive the call. The child begins behind the first `syscall` with copies of
    // our registers and an empty stack of its own, aligned to 16 bytes as a `call` wants it; it never comes back here,
    // as it ends by `exit_group`. Our memory it changes by way of `work` only: this thread, and with it all that is
    // borrowed here, stands still until it has gone (CLONE_VFORK), and what other threads do to the memory does not concern
    // a few system calls. Of our registers the call changes those that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "mov edi, eax",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "2:",
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") &raw mut args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") &raw mut work,
            in("r13") begin as unsafe extern "C" fn(*mut &mut dyn FnMut() -> i32) -> i32,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    drop(stack);
    match pid {
        // SAFETY: the kernel has just made it for us (it closes on exec); nobody else owns it.
        1.. => Ok(Child { pid: pid as u32, fd: unsafe { OwnedFd::from_raw_fd(fd) } }),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    }
}

/// On other machines the memory is copied.
#[cfg(not(target_arch = "x86_64"))]
fn clone3_lending(_: u64, _: Option<BorrowedFd<'_>>, _: &mut dyn FnMut() -> i32) -> io::Result<Child> {
    Err(io::ErrorKind::Unsupported.into())
}

fn clone3(namespaces: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Child>> {
    let mut fd: RawFd = -1;
    let mut args = clone_args(namespaces, group, &mut fd);
    // SAFETY: no memory is shared with the child (no CLONE_VM) and it keeps this stack (no new one), so it
    // goes on as after fork; the descriptor is written before the call returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    made(pid, &fd)
}

/// The same by the call that takes its flags in a register.
fn older_clone(namespaces: u64) -> io::Result<Option<Child>> {
    let mut fd: RawFd = -1;
    let flags = namespaces | (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: as above. With CLONE_PIDFD the third argument is where the descriptor goes (clone(2)); the last two are
    // not looked at with these flags, so that it does not matter that architectures differ in their order.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut fd, none, none) };
    made(pid, &fd)
}

/// The same, with a child that joins the group before all else and tells whether it could.
fn older_clone_into(namespaces: u64, group: BorrowedFd<'_>) -> Result<Option<Child>, SpawnError> {
    let (mut told, tell) = io::pipe()?;
    let Some(child) = older_clone(namespaces)? else {
        // In the child: system calls only.
        let errno = join(group).map_or_else(Errno::raw_os_error, |()| 0);
        // A word in any case, and not the end of the pipe: another child of ours may have a copy of it meanwhile.
        let is_told = rustix::io::write(&tell, &errno.to_ne_bytes()).is_ok();
        if errno != 0 || !is_told {
            // SAFETY: in the child; ends it without running anything of the parent's.
            unsafe { libc::_exit(NOT_EXECUTED) };
        }
        return Ok(None);
    };
    drop(tell);
    let mut errno = [0; size_of::<i32>()];
    let heard = told.read_exact(&mut errno).map(|()| i32::from_ne_bytes(errno));
    let error = match heard {
        Ok(0) => return Ok(Some(child)),
        Ok(errno) => SpawnError::Group(io::Error::from_raw_os_error(errno)),
        Err(error) => error.into(),
    };
    end(&child)?;
    Err(error)
}

/// Joins a group of version 2 with this process, which takes no memory.
fn join(group: BorrowedFd<'_>) -> Result<(), Errno> {
    let file = openat(group, c"cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // To the kernel, 0 is the writer itself.
    rustix::io::write(&file, b"0").map(drop)
}

/// What a clone returned, and the descriptor that it has written by then.
fn made(pid: libc::c_long, fd: &RawFd) -> io::Result<Option<Child>> {
    match pid {
        0 => Ok(None),
        // SAFETY: the kernel has just made it for us (it closes on exec); nobody else owns it.
        1.. => Ok(Some(Child { pid: pid as u32, fd: unsafe { OwnedFd::from_raw_fd(*fd) } })),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_user_namespace_outlives_the_process_that_it_was_made_with() {
        let one = user_namespace(&UserMap::only(65_534)).expect("we are root");
        let ours = fs::metadata("/proc/self/ns/user").expect("/proc is mounted");
        let made = File::from(one).metadata().expect("it is open");
        assert_ne!(std::os::unix::fs::MetadataExt::ino(&made), std::os::unix::fs::MetadataExt::ino(&ours));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_child_that_was_lent_our_memory_does_its_work_and_ends_before_we_go_on() {
        let mut done = 0;
        let child = clone3_lending(0, None, &mut || {
            done += 1;
            7
        });
        let child = child.expect("it can be made");
        assert_eq!(done, 1);
        let status = waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).expect("our child");
        assert_eq!(status, WaitStatus::Exited(nix::unistd::Pid::from_raw(child.pid as i32), 7));
    }

    /// This thread may not make processes by `clone3` any more: a filter as Docker sets it, on a thread of its own.
    fn deny_clone3(errno: i32) {
        let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let mut steps = [
            // The number of the call comes first in what the filter sees.
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_clone3 as u32, 1),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the program and its steps outlive the calls.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0), 0);
        }
    }

    /// Does something on a thread that may not.
    fn without_clone3(errno: i32, work: impl FnOnce() + Send) {
        let on_thread = || {
            deny_clone3(errno);
            let denied = clone3(0, None).expect_err("it is filtered");
            assert_eq!(denied.raw_os_error(), Some(errno));
            work();
        };
        let done = std::thread::scope(|scope| scope.spawn(on_thread).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    fn spawn_true(group: Option<BorrowedFd<'_>>) -> Result<Child, SpawnError> {
        let program = File::open("/bin/true").expect("it is there");
        spawn(program.as_fd(), "c1", &[], Around::Nothing, group)
    }

    fn assert_succeeds(child: &Child) {
        let status = waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).expect("our child");
        assert_eq!(status, WaitStatus::Exited(nix::unistd::Pid::from_raw(child.pid as i32), 0));
    }

    #[test]
    fn where_clone3_is_filtered_a_process_is_made_all_the_same() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            without_clone3(errno, || assert_succeeds(&spawn_true(None).expect("it can be made")));
        }
    }

    #[test]
    fn where_clone3_is_filtered_a_process_joins_its_group_or_is_told_not_to_be_taken() {
        // As far as a process can tell, a file with that name in a directory is a control group.
        let folder = tempfile::TempDir::new().expect("a temporary directory");
        let (group, procs) =
            (File::open(folder.path()).expect("it is there"), folder.path().join("cgroup.procs"));
        fs::write(&procs, "").expect("it is writable");
        without_clone3(libc::ENOSYS, || {
            assert_succeeds(&spawn_true(Some(group.as_fd())).expect("it can be made"));
            assert_eq!(fs::read_to_string(&procs).expect("it is there"), "0");
            fs::remove_file(&procs).expect("it is there");
            let refused = spawn_true(Some(group.as_fd())).expect_err("there is nothing to join");
            let SpawnError::Group(error) = refused else { panic!("it is about the group: {refused:?}") };
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        });
    }

    /// The name of a group at the top of version 2; `None` where that is not mounted.
    fn a_group_of_version_2() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        let v2 = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        Some(Path::new(v2.split(' ').nth(4)?).join(format!("bourse-test-spawn-{}", std::process::id())))
    }

    #[test]
    fn a_group_that_was_removed_is_told_as_one_that_takes_no_process() {
        // A machine of version 1 alone has no such groups.
        let Some(path) = a_group_of_version_2() else { return };
        fs::create_dir(&path).expect("we are root");
        let group = File::open(&path).expect("it was made");
        assert_succeeds(&spawn_true(Some(group.as_fd())).expect("it takes one"));
        // The kernel may call it busy for a moment after its last process has ended.
        let since = Instant::now();
        while let Err(error) = fs::remove_dir(&path) {
            assert!(since.elapsed() < Duration::from_secs(60), "{error}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let assert_refused = || {
            let refused = spawn_true(Some(group.as_fd())).expect_err("it is gone");
            assert!(matches!(refused, SpawnError::Group(_)), "it is about the group: {refused:?}");
        };
        assert_refused();
        without_clone3(libc::ENOSYS, assert_refused);
    }
}
