//! Numbers of errors that something is made of (errno(3); these are the same on all 64-bit machines).

pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const ESRCH: i32 = 3;
pub const E2BIG: i32 = 7;
pub const EBADF: i32 = 9;
pub const EACCES: i32 = 13;
pub const ENOTDIR: i32 = 20;
pub const EINVAL: i32 = 22;
pub const ENOSYS: i32 = 38;
pub const ELOOP: i32 = 40;
pub const EOPNOTSUPP: i32 = 95;
pub const ESTALE: i32 = 116;
