//! The hugetlb controller: huge pages, each size by itself.
//!
//! Files: kernel documentation, `admin-guide/cgroup-v1/hugetlb.rst` and `admin-guide/cgroup-v2.rst`.

use std::fs;
use std::path::Path;

use super::{Change, LimitsError};
use crate::spec::HugePages;

/// How a version of the control groups names its files, and says "no limit".
#[derive(Debug)]
pub struct Form {
    /// What ends the name of the file with the limit of what is used.
    used: &'static str,
    /// Likewise for what is reserved, from Linux 5.7 on. Without, a program is given what it may not touch, and killed
    /// when it does.
    reserved: &'static str,
    no_limit: &'static str,
}

/// Version 1.
pub const V1: Form = Form { used: ".limit_in_bytes", reserved: ".rsvd.limit_in_bytes", no_limit: "-1" };

/// Version 2.
pub const V2: Form = Form { used: ".max", reserved: ".rsvd.max", no_limit: "max" };

const PREFIX: &str = "hugetlb.";

/// A limit for each size of pages that is named, none for the others.
pub fn limit(dir: &Path, form: &Form, pages: &[HugePages], change: &mut Change) -> Result<(), LimitsError> {
    let sizes = sizes(dir, form);
    if let Some(missing) = pages.iter().find(|pages| !sizes.contains(&name(pages.page_bytes))) {
        return Err(LimitsError::PageSize { wanted: name(missing.page_bytes), there: sizes });
    }
    for size in &sizes {
        let wanted = pages.iter().find(|pages| name(pages.page_bytes) == *size);
        let value = wanted.map_or_else(|| form.no_limit.to_owned(), |pages| pages.bytes.to_string());
        change.write(dir, &format!("{PREFIX}{size}{}", form.used), &value)?;
        change.write_if_there(dir, &format!("{PREFIX}{size}{}", form.reserved), &value)?;
    }
    Ok(())
}

/// The sizes of pages that this machine has, by the kernel's names.
fn sizes(dir: &Path, form: &Form) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut sizes: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let size = entry.file_name().to_str()?.strip_prefix(PREFIX)?.strip_suffix(form.used)?.to_owned();
            (!size.contains('.')).then_some(size)
        })
        .collect();
    sizes.sort();
    sizes
}

/// The kernel's name of a size: `2MB`.
fn name(page_bytes: u64) -> String {
    const UNITS: [(u64, &str); 2] = [(1 << 30, "GB"), (1 << 20, "MB")];
    let (unit, word) = UNITS.into_iter().find(|&(unit, _)| page_bytes >= unit).unwrap_or((1 << 10, "KB"));
    format!("{}{word}", page_bytes / unit)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn sizes_are_named_as_the_kernel_does() {
        for (bytes, expected) in [(64 << 10, "64KB"), (2 << 20, "2MB"), (1 << 30, "1GB"), (16 << 30, "16GB")]
        {
            assert_eq!(name(bytes), expected);
        }
    }

    #[test]
    fn each_size_has_its_limit_and_those_not_named_have_none() {
        for form in [V1, V2] {
            let root = TempDir::new().expect("a temporary directory");
            let file = |size: &str, end: &str| root.path().join(format!("hugetlb.{size}{end}"));
            for size in ["2MB", "1GB"] {
                fs::write(file(size, form.used), "7\n").expect("it is writable");
            }
            fs::write(file("2MB", form.reserved), "7\n").expect("it is writable");
            let read = |size, end| fs::read_to_string(file(size, end)).expect("it is there");
            let pages = |page_bytes| HugePages { page_bytes, bytes: 64 << 20 };
            limit(root.path(), &form, &[pages(2 << 20)], &mut Change::default()).expect("it has that size");
            assert_eq!(read("2MB", form.used), (64 << 20).to_string());
            assert_eq!(read("2MB", form.reserved), (64 << 20).to_string());
            assert_eq!(read("1GB", form.used), form.no_limit);
            let error = limit(root.path(), &form, &[pages(64 << 10)], &mut Change::default())
                .expect_err("it does not have that size");
            assert!(error.to_string().contains("64KB") && error.to_string().contains("1GB, 2MB"), "{error}");
        }
    }
}
