//! One question: an answer from the tables, or who else is to be asked. Pure.
//!
//! What comes in is from a container, and may be anything. What the cluster does not know goes on unchanged, as the
//! bytes that it is: a type, option or flag that is unknown here is none of our business.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::names::Names;
use crate::desired::NetworkId;

/// Seconds that an answer may be kept. A task may be replaced at any moment, and an asker that keeps names must not
/// hold on to its address for longer than it takes to notice that it is dead; Docker's 600 s are a known grief.
const KEEP: u32 = 2;
/// RFC 1035 section 4.2.1, for who does not say that it takes more.
const PLAIN_MOST: usize = 512;
/// Over the loopback device nothing is cut into pieces, whatever its size.
const EXTENDED_MOST: usize = 4096;
const HEADER: usize = 12;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram: a long answer is cut, and asked for again.
    Udp,
    /// In a stream.
    Tcp,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answer(Vec<u8>),
    /// Somebody outside is asked.
    Forward,
    /// It is no question, and whoever sent it waits for nothing.
    Ignore,
}

/// Answers a question of a member of these networks. `turn` is another number for each question: it rotates addresses.
pub fn answer(
    names: &Names,
    networks: &[NetworkId],
    question: &[u8],
    transport: Transport,
    turn: usize,
) -> Outcome {
    let message = match Message::from_vec(question) {
        Ok(message) => message,
        Err(_unreadable) => return unreadable(question),
    };
    if message.metadata.message_type == MessageType::Response {
        return Outcome::Ignore;
    }
    if message.metadata.op_code != OpCode::Query {
        return refuse(&message, ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else {
        return refuse(&message, ResponseCode::FormErr);
    };
    let found = match query.query_class {
        DNSClass::IN | DNSClass::ANY => known(names, networks, query, turn),
        _ => Known::Nothing,
    };
    match found {
        Known::Records(records) => reply(&message, ResponseCode::NoError, records, transport),
        Known::None => refuse(&message, ResponseCode::NXDomain),
        Known::Nothing if names.leads_out(networks) => Outcome::Forward,
        Known::Nothing => refuse(&message, ResponseCode::NXDomain),
    }
}

/// Whether an answer from outside is one to this question: the same number, and the same question in it.
pub fn answers(answer: &[u8], question: &[u8], number: u16) -> bool {
    const RESPONSE: u8 = 0x80;
    let Some(end) = question_end(question) else {
        return false;
    };
    let (Some(theirs), Some(ours)) = (answer.get(HEADER..end), question.get(HEADER..end)) else {
        return false;
    };
    answer.starts_with(&number.to_be_bytes())
        && answer[2] & RESPONSE != 0
        && answer[4..6] == [0, 1]
        && theirs.eq_ignore_ascii_case(ours)
}

/// The answer "it could not be found out" to a question that was to be passed on.
pub fn failed(question: &[u8]) -> Option<Vec<u8>> {
    let message = Message::from_vec(question).ok()?;
    match refuse(&message, ResponseCode::ServFail) {
        Outcome::Answer(bytes) => Some(bytes),
        Outcome::Forward | Outcome::Ignore => None,
    }
}

/// Where the first question ends: a name without pointers, a type, a class.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut place = HEADER;
    loop {
        match usize::from(*message.get(place)?) {
            0 => return Some(place + 5).filter(|end| *end <= message.len()),
            length if length < 64 => place += 1 + length,
            _ => return None,
        }
    }
}

enum Known {
    /// The name is the cluster's; there may be no record of the type that was asked for.
    Records(Vec<Record>),
    /// It is certain that there is no such name.
    None,
    /// It is not the cluster's.
    Nothing,
}

fn known(names: &Names, networks: &[NetworkId], query: &Query, turn: usize) -> Known {
    if query.query_type == RecordType::PTR
        && let Ok(range) = query.name.parse_arpa_name()
    {
        return pointer(names, networks, query, range.addr());
    }
    let name = query.name.to_lowercase().to_ascii();
    let name = name.trim_end_matches('.');
    let found = match names.addresses(networks, name) {
        Some(found) => found,
        None if names.is_slot(networks, name) => return Known::None,
        None => return Known::Nothing,
    };
    let wanted = |address: &IpAddr| match query.query_type {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let mut addresses: Vec<IpAddr> = found.into_iter().filter(wanted).collect();
    if !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    let record = |address| {
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        Record::from_rdata(query.name.clone(), KEEP, data)
    };
    Known::Records(addresses.into_iter().map(record).collect())
}

fn pointer(names: &Names, networks: &[NetworkId], query: &Query, address: IpAddr) -> Known {
    let name = names.name_of(networks, address);
    let name = name.and_then(|name| Name::from_ascii(format!("{name}.")).ok());
    match name {
        Some(name) => {
            let data = RData::PTR(PTR(name));
            Known::Records(vec![Record::from_rdata(query.name.clone(), KEEP, data)])
        }
        // Which of its addresses the cluster uses is nobody's business outside.
        None if names.is_ours(address) => Known::None,
        None => Known::Nothing,
    }
}

fn unreadable(question: &[u8]) -> Outcome {
    const RESPONSE: u8 = 0x80;
    let Some(header) = question.first_chunk::<HEADER>() else {
        return Outcome::Ignore;
    };
    if header[2] & RESPONSE != 0 {
        return Outcome::Ignore;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let mut reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    reply.metadata.recursion_available = true;
    encoded(&reply)
}

fn refuse(message: &Message, code: ResponseCode) -> Outcome {
    reply(message, code, Vec::new(), Transport::Tcp)
}

fn reply(message: &Message, code: ResponseCode, answers: Vec<Record>, transport: Transport) -> Outcome {
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = !answers.is_empty();
    reply.metadata.response_code = code;
    reply.queries.clone_from(&message.queries);
    reply.answers = answers;
    let mut most = usize::from(u16::MAX);
    if let Some(asked) = &message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(EXTENDED_MOST).unwrap_or(u16::MAX));
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    if transport == Transport::Udp {
        let asked = message
            .edns
            .as_ref()
            .map_or(PLAIN_MOST, |edns| usize::from(edns.max_payload()));
        most = asked.clamp(PLAIN_MOST, EXTENDED_MOST);
    }
    match reply.to_vec() {
        Ok(bytes) if bytes.len() <= most => Outcome::Answer(bytes),
        _ => {
            reply.answers.clear();
            reply.metadata.truncation = true;
            encoded(&reply)
        }
    }
}

fn encoded(reply: &Message) -> Outcome {
    reply.to_vec().map_or(Outcome::Ignore, Outcome::Answer)
}

#[cfg(test)]
mod tests;
