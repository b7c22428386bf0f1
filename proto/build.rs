//! Compiles every `.proto` file below this folder, without a system protoc.
//!
//! Leaves in `OUT_DIR`: one module a package and `bourse.rs` that nests them; `required.rs`, the generated
//! [`Required`](crate::Required) of every message; `bourse.fds`, the descriptors with their comments, for
//! reflection.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "build/required.rs"]
mod required;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    collect(&root.join("bourse"), &mut files)?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build/required.rs");
    println!("cargo:rerun-if-changed=bourse");

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;

    // Not through prost's own descriptor types: they would drop the options that we add to fields.
    fs::write(out.join("bourse.fds"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("required.rs"), required::generate(&compiler.descriptor_pool())?)?;

    let mut descriptors = compiler.file_descriptor_set();
    descriptors.file.retain(|file| file.package() != "google.protobuf");
    let mut config = prost_build::Config::new();
    // So that a message can be found among the descriptors, which is how it is printed as JSON.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Clients are made from a channel that the caller has set up: this crate needs no transport.
        .build_transport(false)
        .bytes(".")
        // The same message has the same bytes each time it is encoded.
        .btree_map(".")
        .include_file("bourse.rs")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// All `.proto` files below `folder`, in the order of their names, so that a build does not depend on the
/// file system.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
