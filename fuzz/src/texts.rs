//! What people and frameworks write.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use bourse_containerizer::{Cores, Filters};
use bourse_hostile::judged;
use bourse_service_framework::spec;
use bourse_types::units::{format_duration, format_size, parse_duration, parse_size};
use bourse_types::{
    Attributes, ItemSet, Milli, Name, Network, Ranges, Resources, Role, Rootfs, TaskId, Volume,
};

use crate::Target;

pub const TARGETS: &[Target] = &[
    Target { name: "text", samples: texts, try_it: read_text },
    Target { name: "seccomp", samples: profiles, try_it: read_profile },
    Target { name: "service-file", samples: service_files, try_it: read_service_file },
];

fn texts() -> Vec<Vec<u8>> {
    let texts = [
        "cpus:4; mem:1.5GiB; ports:[31000-32000, 80]",
        "disk(eng/web):100;x:{a, b}",
        "rack:a;zone:b;cores:4.5;open:[80-90]\nimage:http://x:1;set:{a,b}",
        "[31000-31999, 32005-32005, 80]",
        "{a, b c, d}",
        "0.5",
        "eng/web/eu-1",
        "/srv/data:/data:ro",
        "host",
        "1.5 GiB",
        "1m30s",
        "0-3,8",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

/// By every reader of short texts: some take it.
fn read_text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let taken = [
        comes_back::<Resources>(text),
        comes_back::<Attributes>(text),
        comes_back::<Ranges>(text),
        comes_back::<ItemSet>(text),
        comes_back::<Milli>(text),
        comes_back::<Name>(text),
        comes_back::<Role>(text),
        comes_back::<TaskId>(text),
        comes_back::<Volume>(text),
        comes_back::<Rootfs>(text),
        comes_back::<Network>(text),
        comes_back::<Cores>(text),
        comes_back_by(text, parse_size, |size| format_size(*size)),
        comes_back_by(text, parse_duration, |span| format_duration(*span)),
    ];
    taken.contains(&true)
}

fn comes_back<T>(given: &str) -> bool
where
    T: FromStr + Display + PartialEq + Debug,
    T::Err: Display,
{
    comes_back_by(given, str::parse::<T>, T::to_string)
}

fn comes_back_by<T: PartialEq + Debug, E: Display>(
    given: &str,
    read: impl Fn(&str) -> Result<T, E>,
    write: impl Fn(&T) -> String,
) -> bool {
    let Some(value) = judged(|| read(given)) else { return false };
    let written = write(&value);
    match read(&written) {
        Ok(again) => assert_eq!(again, value, "it was written as {written:?}"),
        Err(refused) => panic!("it was taken, and as it is written, {written:?}, refused: {refused}"),
    }
    true
}

fn profiles() -> Vec<Vec<u8>> {
    let profile = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8", "arches": ["amd64"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "personality", "action": "SCMP_ACT_KILL", "errnoRet": 1, "comment": "x"}
        ]
    }"#;
    vec![profile.as_bytes().to_vec()]
}

fn read_profile(bytes: &[u8]) -> bool {
    judged(|| Filters::parse(bytes, Path::new("profile.json"))).is_some()
}

fn service_files() -> Vec<Vec<u8>> {
    let files = [
        "name = \"web\"\ncommand = \"serve\"\ncount = 2\nports = [\"http\"]\n",
        "name = \"hello\"\ncommand = \"echo hello\"\n\n[resources]\ncpus = 0.5\nmem = \"64MiB\"\n",
    ];
    files.map(|file| file.as_bytes().to_vec()).into()
}

fn read_service_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    judged(|| spec::parse(text, "web.toml")).is_some()
}
