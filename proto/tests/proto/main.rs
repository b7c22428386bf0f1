//! What the wire promises: names, numbers and bytes of Mesos v1, docs on everything, carriers that lose
//! nothing.

mod bytes;
mod captures;
mod carriers;
mod docs;
mod names;
mod required;

use std::path::PathBuf;
use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The descriptors as a client gets them by reflection.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(bourse_proto::FILE_DESCRIPTOR_SET)
        .expect("the build has just encoded these descriptors")
});

/// The golden file or folder of that name.
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn read_golden(name: &str) -> String {
    let path = golden(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
