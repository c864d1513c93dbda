//! The messages of RFC 1035, as far as one question with one answer needs them.

use std::net::IpAddr;

/// The longest message over UDP without extensions.
pub(super) const MAX_DATAGRAM: usize = 512;

/// The kind of question that asks for IPv4.
pub(super) const A: u16 = 1;
/// The kind of question that asks for IPv6.
pub(super) const AAAA: u16 = 28;

const HEADER: usize = 12;
const INTERNET: u16 = 1;
/// A pointer to the name of the question, which starts after the header.
const NAME_OF_QUESTION: [u8; 2] = [0xc0, 12];

/// "This is a response", "the server owns the name".
const RESPONSE: u8 = 0x84;
/// The answer did not fit.
const TRUNCATED: u8 = 0x02;
/// What of the question's flags is repeated: its operation and whether recursion is desired.
const REPEATED: u8 = 0x79;
/// Recursion is available, so that resolvers do not complain.
const RECURSION: u8 = 0x80;

const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// In lower case, without a final dot.
    pub(super) name: String,
    pub(super) kind: u16,
    /// Where the question ends in its message.
    end: usize,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Failure,
    Nothing,
}

impl Question {
    /// Reads the question of a message that has exactly one.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let is_query = message.get(2)? & 0x80 == 0;
        if !is_query || message.get(4..6)? != [0, 1] {
            return None;
        }
        let mut labels = Vec::new();
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            match length {
                0 => break,
                // Longer ones are pointers, which a first name has no use for.
                1..=63 => {
                    labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
                    at += length;
                }
                _ => return None,
            }
        }
        let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
        let end = at + 4;
        message.get(at + 2..end)?;
        Some(Self { name: labels.join("."), kind, end })
    }
}

/// Writes the answer to a message; `None` for silence. If it would be longer than `limit`, it says no more than that.
pub(super) fn write(message: &[u8], question: &Question, reply: &Reply, limit: usize) -> Option<Vec<u8>> {
    let (code, addresses): (u8, &[IpAddr]) = match reply {
        Reply::Addresses(addresses) => (0, addresses.as_slice()),
        Reply::NoSuchName => (NAME_ERROR, &[]),
        Reply::Failure => (SERVER_FAILURE, &[]),
        Reply::Nothing => return None,
    };
    let records: Vec<Vec<u8>> = addresses.iter().filter_map(|address| record(*address, question.kind)).collect();
    let length = question.end + records.iter().map(Vec::len).sum::<usize>();
    let (truncated, records) = if length > limit { (TRUNCATED, Vec::new()) } else { (0, records) };
    let count = u16::try_from(records.len()).ok()?;

    let mut answer = message.get(..2)?.to_vec();
    answer.push(RESPONSE | truncated | (message.get(2)? & REPEATED));
    answer.push(RECURSION | code);
    for number in [1, count, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(message.get(HEADER..question.end)?);
    answer.extend(records.concat());
    Some(answer)
}

/// The record of an address, if it is of the kind that was asked for.
fn record(address: IpAddr, kind: u16) -> Option<Vec<u8>> {
    let bytes = match address {
        IpAddr::V4(address) if kind == A => address.octets().to_vec(),
        IpAddr::V6(address) if kind == AAAA => address.octets().to_vec(),
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    let length = u16::try_from(bytes.len()).ok()?;
    let mut record = NAME_OF_QUESTION.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(INTERNET.to_be_bytes());
    // It lives for 0 seconds.
    record.extend([0; 4]);
    record.extend(length.to_be_bytes());
    record.extend(bytes);
    Some(record)
}
