//! Builds `bourse-init`, the first process of a container, so that it can be embedded in the agent.
//!
//! It is built by calling rustc directly, not as a cargo dependency, because it needs other settings than the
//! rest: static, small, without a panic runtime. A cargo profile could not say that for one binary only, and
//! cargo cannot hand a binary of one crate to another on the stable toolchain.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    // Asked for when it runs: this program may be older than the place where the sources are now.
    let here = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let source = Path::new(&here).join("../init/src");
    println!("cargo::rerun-if-changed={}", source.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));

    rustc(&out)
        .args(["--crate-type", "rlib", "--crate-name", "bourse_init"])
        .arg(source.join("lib.rs"))
        .run();
    let library = format!("bourse_init={}", out.join("libbourse_init.rlib").display());
    rustc(&out)
        .args(["--crate-type", "bin", "--crate-name", "bourse_init_bin", "--extern", &library])
        .arg(source.join("main.rs"))
        .arg("-o")
        .arg(out.join("bourse-init"))
        .run();
}

struct Rustc(Command);

fn rustc(out: &Path) -> Rustc {
    let variable =
        |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let mut command = Command::new(variable("RUSTC"));
    command.args(["--edition", "2024", "--target", &variable("TARGET"), "--out-dir"]).arg(out);
    // Not position independent: a page that is relocated at start is a page of memory in every container.
    for setting in ["target-feature=+crt-static", "relocation-model=static", "panic=abort", "opt-level=s"] {
        command.args(["-C", setting]);
    }
    command.args([
        "-C",
        "strip=symbols",
        "-C",
        "codegen-units=1",
        "-C",
        "lto=fat",
        "-C",
        "embed-bitcode=yes",
    ]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    Rustc(command)
}

impl Rustc {
    fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.0.args(args);
        self
    }

    fn run(mut self) {
        let status = self.0.status().unwrap_or_else(|error| panic!("could not start {:?}: {error}", self.0));
        assert!(
            status.success(),
            "building bourse-init failed ({status}); a static C library is needed (Debian: libc6-dev)"
        );
    }
}
