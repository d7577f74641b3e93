//! Asking for names, and resolvers outside that answer.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use shoal_overlay_net::namespace::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::world::DEADLINE;

/// Where containers ask.
pub(crate) const NAMESERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

/// A question as a program's libc sends it.
pub(crate) fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

/// The code and the data of an answer, in words; `cut` when it is asked to come back in a stream.
pub(crate) fn words(answer: &[u8]) -> String {
    let message = Message::from_vec(answer).unwrap();
    assert_eq!(message.metadata.id, 4711);
    if message.metadata.truncation {
        return "cut".to_owned();
    }
    let data = message.answers.iter().map(|record| match &record.data {
        RData::A(a) => a.to_string(),
        RData::AAAA(a) => a.to_string(),
        RData::PTR(name) => name.to_string(),
        other => format!("{other:?}"),
    });
    let mut words: Vec<String> = data.collect();
    words.sort();
    words.insert(0, format!("{:?}", message.metadata.response_code));
    words.join(" ")
}

/// Asks by a datagram.
pub(crate) async fn lookup(from: &Namespace, name: &str, kind: RecordType) -> String {
    let socket = socket(from);
    socket.send_to(&question(name, kind), NAMESERVER).await.unwrap();
    let mut answer = [0; 4096];
    let answered = tokio::time::timeout(DEADLINE, socket.recv_from(&mut answer)).await;
    let (length, by) = answered
        .unwrap_or_else(|_elapsed| panic!("no answer for {name}"))
        .unwrap();
    assert_eq!(by, NAMESERVER);
    words(&answer[..length])
}

pub(crate) async fn a(from: &Namespace, name: &str) -> String {
    lookup(from, name, RecordType::A).await
}

/// A socket for questions.
pub(crate) fn socket(from: &Namespace) -> UdpSocket {
    let socket = from
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// Asks in a stream.
pub(crate) async fn lookup_in_stream(from: &Namespace, name: &str, kind: RecordType) -> io::Result<String> {
    let socket = from.enter(TcpSocket::new_v4).unwrap()?;
    let mut stream = socket.connect(NAMESERVER).await?;
    let answer = tokio::time::timeout(DEADLINE, exchange(&mut stream, &question(name, kind))).await??;
    Ok(words(&answer))
}

async fn exchange(stream: &mut TcpStream, question: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_u16(u16::try_from(question.len()).unwrap()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A resolver outside: what it was asked, and one address for all names.
#[derive(Clone, Default)]
pub(crate) struct Resolver {
    pub(crate) asked: Rc<Cell<usize>>,
}

impl Resolver {
    /// One that answers with this address; in datagrams, cut if `long`.
    pub(crate) fn at(place: &Namespace, address: Ipv4Addr, answer: Ipv4Addr, long: bool) -> Self {
        let resolver = Self::default();
        let at = SocketAddr::from((address, 53));
        let (udp, tcp) = place
            .enter(|| {
                (
                    std::net::UdpSocket::bind(at).unwrap(),
                    std::net::TcpListener::bind(at).unwrap(),
                )
            })
            .unwrap();
        udp.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (udp, tcp) = (
            UdpSocket::from_std(udp).unwrap(),
            TcpListener::from_std(tcp).unwrap(),
        );
        let asked = Rc::clone(&resolver.asked);
        tokio::task::spawn_local(async move {
            let mut question = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut question).await {
                asked.set(asked.get() + 1);
                let reply = reply(&question[..length], answer, long);
                let _asker_may_be_gone = udp.send_to(&reply, from).await;
            }
        });
        let asked = Rc::clone(&resolver.asked);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                asked.set(asked.get() + 1);
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let reply = reply(&question, answer, false);
                stream
                    .write_u16(u16::try_from(reply.len()).unwrap())
                    .await
                    .unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        resolver
    }

    /// One that takes questions and never says anything.
    pub(crate) fn silent(place: &Namespace, address: Ipv4Addr) -> std::net::UdpSocket {
        place
            .enter(|| std::net::UdpSocket::bind((address, 53)).unwrap())
            .unwrap()
    }
}

fn reply(question: &[u8], answer: Ipv4Addr, cut: bool) -> Vec<u8> {
    let mut reply = Message::from_vec(question).unwrap().into_response();
    if cut {
        reply.metadata.truncation = true;
    } else {
        let name = reply.queries[0].name.clone();
        reply.add_answer(Record::from_rdata(name, 60, RData::A(A(answer))));
    }
    reply.to_vec().unwrap()
}

/// Puts a file of the test's own in the place of the host's resolv.conf, for this host alone.
pub(crate) fn resolv_conf(folder: &Path, text: &str) {
    let file = folder.join("resolv.conf");
    let mounted = file.exists();
    std::fs::write(&file, text).unwrap();
    if !mounted {
        rustix::mount::mount_bind(&file, "/etc/resolv.conf").unwrap();
    }
}
