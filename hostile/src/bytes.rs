//! Damaged bytes. Some of the ways know that most of ours are protobuf messages.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// The kind of a field that has its length before it, in the low bits of its key.
const DELIMITED: u8 = 2;

/// One thing that is wrong. A place beyond the end is the end.
#[derive(Clone, Debug)]
enum Damage {
    Flip {
        at: Index,
        bit: u8,
    },
    Overwrite {
        at: Index,
        with: Vec<u8>,
    },
    Insert {
        at: Index,
        what: Vec<u8>,
    },
    Delete {
        at: Index,
        length: usize,
    },
    Cut {
        at: Index,
    },
    Append {
        what: Vec<u8>,
    },
    Double {
        at: Index,
        length: usize,
    },
    Swap {
        one: Index,
        other: Index,
        length: usize,
    },
    /// A number that never ends.
    Endless {
        at: Index,
    },
    /// A length that nothing has.
    Huge {
        at: Index,
        is_largest: bool,
    },
    /// The whole as a part of a part of a part.
    Nest {
        field: u8,
        depth: u8,
    },
    /// The same field again and again, with nothing in it: it costs two bytes to send.
    Many {
        field: u8,
        times: u16,
    },
}

/// What is wrong with bytes that are known only later: 1 to 8 things.
#[derive(Clone, Debug)]
pub struct Damages(Vec<Damage>);

impl Damages {
    /// The bytes with all of that wrong.
    pub fn apply(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.0.iter().fold(bytes, |bytes, damage| damage.apply(bytes))
    }
}

/// 1 to 8 things that are wrong.
pub fn damages() -> impl Strategy<Value = Damages> {
    vec(damage(), 1..=8).prop_map(Damages)
}

/// Valid bytes with 1 to 8 things wrong, and once in a while bytes that never were valid.
pub fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (valid, damages()).prop_map(|(valid, damages)| damages.apply(valid));
    prop_oneof![15 => damaged, 1 => vec(any::<u8>(), 0..200)]
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let some = || vec(any::<u8>(), 1..16);
    let field = || 1..16u8;
    prop_oneof![
        6 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        4 => (at(), some()).prop_map(|(at, with)| Damage::Overwrite { at, with }),
        2 => (at(), some()).prop_map(|(at, what)| Damage::Insert { at, what }),
        2 => (at(), 1..16usize).prop_map(|(at, length)| Damage::Delete { at, length }),
        1 => at().prop_map(|at| Damage::Cut { at }),
        1 => some().prop_map(|what| Damage::Append { what }),
        2 => (at(), 1..64usize).prop_map(|(at, length)| Damage::Double { at, length }),
        2 => (at(), at(), 1..16usize).prop_map(|(one, other, length)| Damage::Swap { one, other, length }),
        1 => at().prop_map(|at| Damage::Endless { at }),
        1 => (at(), any::<bool>()).prop_map(|(at, is_largest)| Damage::Huge { at, is_largest }),
        1 => (field(), 1..=200u8).prop_map(|(field, depth)| Damage::Nest { field, depth }),
        1 => (field(), 1..=2_000u16).prop_map(|(field, times)| Damage::Many { field, times }),
    ]
}

impl Damage {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let end = bytes.len();
        let place = |at: &Index| at.index(end + 1);
        match self {
            Damage::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1u8 << *bit;
                }
            }
            Damage::Overwrite { at, with } => {
                bytes[place(at)..].iter_mut().zip(with).for_each(|(byte, with)| *byte = *with);
            }
            Damage::Insert { at, what } => {
                bytes.splice(place(at)..place(at), what.iter().copied());
            }
            Damage::Delete { at, length } => {
                bytes.drain(place(at)..(place(at) + length).min(end));
            }
            Damage::Cut { at } => bytes.truncate(place(at)),
            Damage::Append { what } => bytes.extend(what),
            Damage::Double { at, length } => {
                let last = (place(at) + length).min(end);
                let again = bytes[place(at)..last].to_vec();
                bytes.splice(last..last, again);
            }
            Damage::Swap { one, other, length } => {
                let (one, other) = (place(one), place(other));
                let length = (*length).min(end - one.max(other));
                (0..length).for_each(|at| bytes.swap(one + at, other + at));
            }
            Damage::Endless { at } => {
                bytes.splice(place(at)..place(at), [0xff; 10]);
            }
            Damage::Huge { at, is_largest } => {
                let mut huge = Vec::new();
                varint(if *is_largest { u64::MAX } else { i32::MAX as u64 }, &mut huge);
                bytes.splice(place(at)..(place(at) + 1).min(end), huge);
            }
            Damage::Nest { field, depth } => {
                for _ in 0..*depth {
                    let mut outer = vec![key(*field)];
                    varint(bytes.len() as u64, &mut outer);
                    outer.append(&mut bytes);
                    bytes = outer;
                }
            }
            Damage::Many { field, times } => {
                bytes.extend([key(*field), 0].repeat(usize::from(*times)));
            }
        }
        bytes
    }
}

/// What begins a field of that number that has its length before it.
fn key(field: u8) -> u8 {
    (field << 3) | DELIMITED
}

/// A number as protobuf writes it: seven bits a byte, the lowest first.
fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_protobuf_has_it() {
        let written = |number| {
            let mut bytes = Vec::new();
            varint(number, &mut bytes);
            bytes
        };
        assert_eq!((written(1), written(300)), (vec![1], vec![0xac, 2]));
        assert_eq!(written(u64::MAX).len(), 10);
    }

    #[test]
    fn what_is_nested_is_a_part_of_a_part() {
        let nested = Damage::Nest { field: 1, depth: 2 }.apply(b"x".to_vec());
        assert_eq!(nested, [0x0a, 3, 0x0a, 1, b'x']);
    }

    proptest! {
        #[test]
        fn every_damage_is_bearable_for_bytes_of_any_length(valid in vec(any::<u8>(), 0..4), damages in vec(damage(), 1..9)) {
            for damage in damages {
                damage.apply(valid.clone());
            }
        }
    }
}
