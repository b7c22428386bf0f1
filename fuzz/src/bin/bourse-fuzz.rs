//! One target under libFuzzer, which is told by the compiler what each input reaches. `scripts/fuzz` builds and runs it.
//!
//! FUZZ_TARGET names the target, or is `list`. FUZZ_SAMPLES is a folder that gets what the target takes, to begin with.
//! All else is for the engine: `bourse-fuzz -help=1`.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, process};

use bourse_fuzz::{Target, targets};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| {
    let target = TARGET.get().expect("the engine begins before it tries anything");
    (target.try_it)(bytes);
});

fn begin() {
    let wanted = env::var("FUZZ_TARGET").unwrap_or_default();
    if wanted == "list" {
        targets().iter().for_each(|target| println!("{}", target.name));
        process::exit(0);
    }
    let Some(target) = targets().into_iter().find(|target| target.name == wanted) else {
        eprintln!("bourse-fuzz: there is no target {wanted:?}; see FUZZ_TARGET=list");
        process::exit(2);
    };
    if let Some(folder) = env::var_os("FUZZ_SAMPLES") {
        for (at, sample) in (target.samples)().iter().enumerate() {
            let path = Path::new(&folder).join(format!("sample-{at}"));
            if let Err(error) = fs::write(&path, sample) {
                eprintln!("bourse-fuzz: writing {}: {error}", path.display());
                process::exit(2);
            }
        }
    }
    let _ = TARGET.set(target);
}
