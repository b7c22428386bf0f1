//! Checksummed payloads, one behind the other, in a file that is only added to.
//!
//! **What is this room for?** Each payload has a head of [`HEAD`] bytes: its length, the length with every bit turned over,
//! and the CRC-32 of the payload, each as 32 bits, low byte first. The second length tells a damaged head from a file that
//! ends early: without it, one flipped bit in a length could make the rest of the file look like the torn end of one
//! record, and be cut off.
//!
//! **What does it promise?** What is split off whole was written so, as far as a checksum can tell, and where a file was
//! torn by a crash, all in front of that is still read.
//!
//! **What does it leave to others?** What a payload is, what the file begins with, and what becomes of a torn end.

#![warn(missing_docs)]

/// The bytes in front of each payload.
pub const HEAD: usize = 12;

/// What a file goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A payload.
    Whole {
        /// The payload, without its head.
        payload: &'a [u8],
        /// All that stands behind it.
        after: &'a [u8],
    },
    /// The file ends within a payload, as it does after a crash.
    Torn,
    /// What stands here was changed after it was written. Says in what way.
    Damaged(&'static str),
}

/// Adds a payload.
///
/// # Panics
///
/// When it has 4 GiB or more.
pub fn write(payload: &[u8], into: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a record is bounded by the size of a message");
    into.extend(length.to_le_bytes());
    into.extend((!length).to_le_bytes());
    into.extend(crc32fast::hash(payload).to_le_bytes());
    into.extend(payload);
}

/// The first payload of these bytes. Of none at all it says [`Frame::Torn`]: ask whether there are any before.
pub fn split(bytes: &[u8]) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Frame::Torn };
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 of 12 bytes"));
    let (length, inverse, sum) = (number(0), number(4), number(8));
    if length != !inverse {
        // A file system may have grown the file and lost the data: zeros to the end are a torn record.
        let zeros = bytes.iter().all(|byte| *byte == 0);
        return if zeros { Frame::Torn } else { Frame::Damaged("the length of a record is damaged") };
    }
    let Some((payload, after)) = rest.split_at_checked(length as usize) else { return Frame::Torn };
    match crc32fast::hash(payload) == sum {
        true => Frame::Whole { payload, after },
        // Only the last record can have been torn.
        false if after.is_empty() => Frame::Torn,
        false => Frame::Damaged("the checksum of a record does not match"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_in_their_order_and_a_torn_or_damaged_one_is_told_apart() {
        let mut bytes = Vec::new();
        write(b"first", &mut bytes);
        let second = bytes.len();
        write(b"", &mut bytes);
        let Frame::Whole { payload: b"first", after } = split(&bytes) else { panic!("it is whole") };
        assert_eq!(split(after), Frame::Whole { payload: b"", after: b"" });

        assert_eq!(split(&bytes[..HEAD + 2]), Frame::Torn);
        assert_eq!(split(&bytes[..3]), Frame::Torn);
        assert_eq!(split(&[0; 40]), Frame::Torn);
        for bit in 0..second * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(split(&flipped), Frame::Damaged(_)), "bit {bit}");
        }
    }
}
