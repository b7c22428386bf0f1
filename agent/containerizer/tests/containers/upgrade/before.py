# The agent and the first process of the release whose plans are of version 2, as far as a later agent can tell from that
# one: as that release did, in the same order and with the same bytes. See upgrade.rs.
#
# before.py DIRECTORY DONOR [PROGRAM]: runs the plan in a container's runtime directory. PROGRAM is the first process of that
# release itself. Without it, it is played: the process DONOR lends the mounts that the container sees. DONOR is killed in any
# case. Ends with the container.
import ctypes, os, select, signal, socket, struct, sys, time

NEWNS, NEWUTS, NEWIPC, NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
KILL = 40
PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
libc = ctypes.CDLL(None, use_errno=True)


def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Plan:
    """Reads the bytes as that release did, and refuses what it would have refused."""

    def __init__(self, rest):
        self.rest = rest
        assert self.take(5) == b"BPLN\2", "it is no plan of version 2"
        assert self.take(1) == b"\0", "it is no container"
        self.hostname, self.sandbox, self.shm_bytes = self.option(self.text), self.text(), self.u64()
        self.volumes = self.many(lambda: (self.text(), self.text(), self.take(1)))
        self.hide, self.argv, self.env = self.many(self.text), self.many(self.text), self.many(self.text)
        self.cwd = self.text()
        self.identity = self.option(lambda: (self.u32(), self.u32(), self.many(self.u32), self.u64()))
        self.open_files, self.filters = self.u64(), self.many(self.text)
        self.stdout, self.stderr, self.record = (self.option(self.text) for _ in range(3))
        self.init_groups, self.task_groups = self.many(self.text), self.many(self.text)
        assert not self.rest, "there is more than a plan"

    def take(self, count):
        assert len(self.rest) >= count, "it is cut off"
        part, self.rest = self.rest[:count], self.rest[count:]
        return part

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def u64(self):
        return int.from_bytes(self.take(8), "little")

    def text(self):
        return self.take(self.u32())

    def option(self, read):
        return {b"\0": lambda: None, b"\1": read}[self.take(1)]()

    def many(self, read):
        return [read() for _ in range(self.u32())]


def join(groups):
    for group in groups:
        os.write(group, b"0")


def open_output(path, owner):
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    os.fchown(output, *owner)
    return output


def first_process(plan, report, donor_mounts, donor_root):
    libc.prctl(15, b"bourse-init", 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.setsid()
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    record = os.open(plan.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    join([os.open(path, os.O_WRONLY) for path in plan.init_groups])
    task_groups = [os.open(path, os.O_WRONLY) for path in plan.task_groups]
    outputs = [open_output(path, plan.identity[:2]) for path in (plan.stdout, plan.stderr)]
    call(libc.setns(donor_mounts, NEWNS))
    os.fchdir(donor_root)
    os.chroot(".")
    call(libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None))
    if plan.hostname is not None:
        socket.sethostname(plan.hostname)
    main = os.fork()
    if main == 0:
        try:
            become_task(plan, report, task_groups, [null, *outputs])
        finally:
            os._exit(125)
    libc.prctl(4, 0, 0, 0, 0)  # Nobody may trace it.
    report.close()
    # Of the set-up nothing stays open but the record.
    os.closerange(3, record)
    os.closerange(record + 1, 1024)
    os.write(record, supervise(main))
    os._exit(0)


def become_task(plan, report, groups, outputs):
    join(groups)
    os.setsid()
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number, output in enumerate(outputs):
        os.dup2(output, number)
    uid, gid, others, _ = plan.identity
    sandbox = os.open(plan.cwd, os.O_RDONLY | os.O_NOFOLLOW)
    os.setgroups(others)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.fchdir(sandbox)
    report.send(b"ready")
    if report.recv(16) == b"go":
        os.execve(plan.argv[0], plan.argv, dict(text.split(b"=", 1) for text in plan.env))


def supervise(main):
    """Until the main process has ended, and all others too if they were asked to: the record of its end."""
    end, asked = None, False
    while True:
        others = True
        while others:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                others = False
                break
            if pid == 0:
                break
            if pid == main:
                how = f"signaled {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exited {os.WEXITSTATUS(status)}"
                end = f"1 {how} {int(time.time() * 1000)}\n".encode()
        if end and not (asked and others):
            return end
        number = signal.sigwaitinfo(signal.valid_signals()).si_signo
        try:
            if number == KILL:
                os.kill(-1, signal.SIGKILL)
            elif number in ENDING:
                asked = True
                os.kill(-1, number)
            elif number in PASSED_ON and not end:
                os.kill(main, number)
        except ProcessLookupError:
            pass  # Nobody is left to hear it.


def process(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return f"{pid} {stat.read().rsplit(')', 1)[1].split()[19]}"


def become(program, container, plan, report):
    """The first process itself, as the agent of then started it."""
    call(libc.unshare(NEWNS))
    os.set_inheritable(plan, True)
    report.set_inheritable(True)
    os.execve(program, ["bourse-init", container, str(plan), str(report.fileno())], {})


def agent(directory, donor, program):
    with open(f"{directory}/plan", "rb") as file:
        plan = Plan(file.read())
    donor_mounts, donor_root = (os.open(f"/proc/{donor}/{name}", os.O_RDONLY) for name in ("ns/mnt", "root"))
    gone = os.pidfd_open(donor)
    os.kill(donor, signal.SIGKILL)
    select.select([gone], [], [])
    os.unlink(plan.record)

    report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    call(libc.unshare(NEWPID | NEWUTS | NEWIPC))
    init = os.fork()
    if init == 0:
        report.close()
        try:
            if program:
                become(program, os.path.basename(directory), os.open(f"{directory}/plan", os.O_RDONLY), theirs)
            first_process(plan, theirs, donor_mounts, donor_root)
        finally:
            os._exit(125)
    for number in (donor_mounts, donor_root, gone):
        os.close(number)
    theirs.close()
    ready, about, _, _ = report.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
    assert ready == b"ready", f"the first process gave up: {ready}"
    task, _, _ = struct.unpack("3i", about[0][2])
    with open("/proc/sys/kernel/random/boot_id") as boot:
        line = f"1 {boot.read().strip()} {process(init)} {process(task)}\n"
    with open(f"{directory}/started.new", "w") as file:
        file.write(line)
    os.rename(f"{directory}/started.new", f"{directory}/started")
    report.send(b"go")
    assert report.recv(64) == b"", "the program could not be started"
    os.waitpid(init, 0)


agent(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
