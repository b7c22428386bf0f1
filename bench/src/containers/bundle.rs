//! What other runtimes are told: the same container, as the OCI runtime specification has it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The machine's directories that our containers show, with those that are links on machines of today.
const SHOWN: [&str; 8] = ["bin", "etc", "lib", "lib32", "lib64", "opt", "sbin", "usr"];

/// Makes `config.json` and the root for a runtime; tells where.
pub fn write(folder: &Path, runtime: &str) -> anyhow::Result<PathBuf> {
    let bundle = folder.join(format!("{runtime}-bundle"));
    let (root, sandbox) = (bundle.join("rootfs"), bundle.join("sandbox"));
    fs::create_dir_all(sandbox.join("tmp"))?;
    for path in ["proc", "sys", "dev", "tmp", "var/tmp", "mnt/mesos/sandbox", "home", "root", "run"] {
        fs::create_dir_all(root.join(path))?;
    }
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "noexec", "mode=755", "size=64k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
               "options": ["nosuid", "nodev", "noexec", "mode=1777", "size=32m"]}),
    ];
    let mut bind = |source: &Path, target: &str, options: &[&str]| {
        mounts.push(json!({"destination": target, "type": "bind", "source": source, "options": options}));
    };
    bind(Path::new("/sys"), "/sys", &["bind", "ro", "nosuid", "nodev", "noexec"]);
    for name in SHOWN {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(what) if what.is_symlink() => symlink(fs::read_link(&path)?, root.join(name))?,
            Ok(_) => {
                fs::create_dir_all(root.join(name))?;
                bind(&path, &format!("/{name}"), &["rbind", "ro", "nosuid", "nodev"]);
            }
            Err(_) => {}
        }
    }
    for (source, target) in
        [(sandbox.join("tmp"), "/tmp"), (sandbox.join("tmp"), "/var/tmp"), (sandbox, "/mnt/mesos/sandbox")]
    {
        bind(&source, target, &["bind", "rw", "nosuid", "nodev"]);
    }
    fs::write(root.join("program"), "")?;
    bind(&folder.join("true"), "/program", &["bind", "ro", "nosuid", "nodev"]);
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config(mounts)?)?)?;
    Ok(bundle)
}

fn config(mounts: Vec<Value>) -> anyhow::Result<Value> {
    let kept = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_AUDIT_WRITE"
    ]);
    Ok(json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/program"],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/mnt/mesos/sandbox",
            "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "mounts": mounts,
        "linux": {
            "resources": {
                "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
                "memory": {"limit": 64 << 20},
                "pids": {"limit": 64},
            },
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                            "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
                            "/proc/timer_stats", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": seccomp()?,
        },
    }))
}

/// Our default profile without what only Docker's format has; its conditions hold here.
fn seccomp() -> anyhow::Result<Value> {
    let mut profile: Value =
        serde_json::from_str(include_str!("../../../agent/containerizer/src/seccomp/default.json"))?;
    profile["architectures"] = json!([format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase())]);
    for rule in profile["syscalls"].as_array_mut().into_iter().flatten() {
        if let Some(rule) = rule.as_object_mut() {
            rule.remove("comment");
            rule.remove("includes");
        }
    }
    Ok(profile)
}
