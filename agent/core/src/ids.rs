//! Names that the agent makes: uuids of updates and ids of containers.

use bourse_types::ContainerId;

/// Makes names that are never made twice: random bits that the shell drew for this start of the agent, and a counter.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    incarnation: u64,
    made: u64,
}

impl Ids {
    pub(crate) fn new(incarnation: u64) -> Ids {
        Ids { incarnation, made: 0 }
    }

    /// A fresh uuid, marked as version 8 (RFC 9562: the maker's own layout).
    pub(crate) fn uuid(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.incarnation.to_be_bytes());
        uuid[8..].copy_from_slice(&self.made.to_be_bytes());
        uuid[6] = (uuid[6] & 0x0f) | 0x80;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        uuid
    }

    /// A fresh container id: a uuid as text, as Mesos' container ids are.
    pub(crate) fn container(&mut self) -> ContainerId {
        ContainerId::new(hyphenated(&self.uuid())).expect("hexadecimal digits and hyphens make an id")
    }
}

fn hyphenated(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_made_twice_and_each_is_a_version_8_uuid() {
        let mut ids = Ids::new(u64::MAX);
        let first = ids.container();
        assert_eq!(first.as_str(), "ffffffff-ffff-8fff-8000-000000000001");
        assert_ne!(first, ids.container());
    }
}
