//! Docker's format of a profile, which is that of the OCI runtime specification with conditions on top.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is answered to a call that no rule names, and the rules.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    pub default_action: Action,
    pub default_errno_ret: Option<u32>,
    #[serde(default)]
    pub syscalls: Vec<Rule>,
    /// Programs are compiled for the machine's own architecture only, and those of others are killed, x32 among them.
    #[serde(default, rename = "archMap")]
    _arch_map: Option<IgnoredAny>,
    #[serde(default, rename = "architectures")]
    _architectures: Option<IgnoredAny>,
    #[serde(default, rename = "flags")]
    _flags: Option<IgnoredAny>,
}

/// What is answered to some calls, if the conditions hold here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Those that this machine does not have are skipped.
    #[serde(default)]
    pub names: Vec<String>,
    /// The form of old profiles, for one name.
    pub name: Option<String>,
    pub action: Action,
    pub errno_ret: Option<u32>,
    /// All have to hold; one of them, if there are several about one argument, as in runc.
    pub args: Option<Vec<Argument>>,
    pub includes: Option<Conditions>,
    pub excludes: Option<Conditions>,
    #[serde(default, rename = "comment")]
    _comment: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
}

/// A condition on an argument of the call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Argument {
    /// 0 to 5.
    pub index: u8,
    pub value: u64,
    /// Of a masked comparison, where `value` is the mask.
    #[serde(default)]
    pub value_two: u64,
    pub op: Comparison,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// What has to be so for a rule to hold, or what must not.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conditions {
    /// The task keeps these capabilities: all of them to include a rule, any to exclude it.
    pub caps: Vec<String>,
    /// The machine's architecture is one of these, by Go's names.
    pub arches: Vec<String>,
    /// The kernel is at least this, such as `4.8`.
    pub min_kernel: Option<String>,
}
