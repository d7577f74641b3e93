//! What the node's network and its process `shoal-net` say to each other over their socket.
//!
//! Frames are bounded: a length of four bytes, lowest first, and one message in postcard. The first three requests and
//! the first reply never change, so that any version can greet, follow and end any other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::address::Prefix;
use crate::desired::{EndpointId, GroupId, Name, NetworkId, PortKey, Revision};
use crate::namespace::NamespaceId;

/// Of the messages after the first ones.
pub const VERSION: u32 = 3;
/// The longest frame. A group of 10,000 backends of two families takes a third of it.
pub const FRAME_MOST: usize = 4 << 20;
/// What one update is filled up to before the next is begun.
pub(crate) const UPDATE_FULL: usize = 256 << 10;

const LENGTH: usize = 4;

/// From the network to the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The first of every connection.
    Hello {
        /// The asker's [`VERSION`].
        version: u32,
    },
    /// Everything it holds goes to whoever reads on: see `serve/handover.rs`.
    HandOver,
    /// It shall end, with all that it does.
    End,
    /// A part of a change.
    Update(Update),
    /// Whether it is alive.
    Ping {
        /// Which time this is.
        number: u64,
    },
}

/// From the process to the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To a hello.
    Hello {
        /// The process's [`VERSION`].
        version: u32,
        /// Its process id.
        pid: u32,
    },
    /// A whole change took effect.
    Done {
        /// Which.
        number: u64,
        /// Endpoints that have names now, and the port that they are asked on inside.
        ports: Vec<(EndpointId, u16)>,
        /// Endpoints that could not be given names, and why.
        failures: Vec<(EndpointId, String)>,
    },
    /// All ports that could not be had, and who has them; said when it changed.
    Taken(Vec<(PortKey, String)>),
    /// It is alive.
    Pong {
        /// The ping's.
        number: u64,
    },
}

/// A change, or a part of one: what comes with the same key replaces it, and without a value it is gone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The same in all parts.
    pub number: u64,
    /// Whether everything from before is forgotten.
    pub fresh: bool,
    /// Whether this is its last part: it takes effect now.
    pub last: bool,
    /// Of the tables.
    pub revision: Revision,
    /// The cluster's ranges, if they changed: nobody outside is asked for names of addresses in them.
    pub pools: Option<Vec<Prefix>>,
    /// Networks; whether they are internal.
    pub networks: Vec<(NetworkId, Option<bool>)>,
    /// Names.
    pub groups: Vec<(GroupId, Option<GroupNames>)>,
    /// Published ports and their backends.
    pub ports: Vec<(PortKey, Option<Serving>)>,
    /// Who asks.
    pub endpoints: Vec<(EndpointId, Option<Asker>)>,
}

/// Who serves a published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Who gets what is new.
    pub backends: Vec<SocketAddr>,
    /// Who keeps what he has.
    pub draining: Vec<SocketAddr>,
}

/// The names of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupNames {
    /// Who may ask.
    pub network: NetworkId,
    /// Names and what they stand for.
    pub records: Vec<(Name, Vec<IpAddr>)>,
}

/// A container that asks for names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// A path of its network namespace.
    pub namespace: PathBuf,
    /// Which that was; the path may stand for another one by now.
    pub id: NamespaceId,
    /// Its networks.
    pub networks: Vec<NetworkId>,
    /// Its addresses in them.
    pub addresses: Vec<IpAddr>,
    /// Asked instead of the host's resolvers.
    pub servers: Vec<IpAddr>,
    /// The port that it was asked on before, so that who asked there is still answered.
    pub port: Option<u16>,
}

/// A frame that is none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than any.
    #[error("a frame of {0} bytes, expected at most {FRAME_MOST}")]
    Length(usize),
    /// Not a message.
    #[error("a frame that is no message")]
    Content(#[source] postcard::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// A message as it goes out.
pub fn frame(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let bytes = postcard::to_extend(message, vec![0; LENGTH]).map_err(FrameError::Content)?;
    let length = bytes.len() - LENGTH;
    frame_length(length)?;
    let mut bytes = bytes;
    let header = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    bytes[..LENGTH].copy_from_slice(&header);
    Ok(bytes)
}

fn frame_length(length: usize) -> Result<(), FrameError> {
    if length > FRAME_MOST {
        return Err(FrameError::Length(length));
    }
    Ok(())
}

/// Bytes as they come in, until they are whole messages.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Where what comes in is added.
    pub fn input(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The next whole message. After an error nothing more is to be had from the connection.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.bytes.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        frame_length(length)?;
        let Some(content) = self.bytes.get(LENGTH..LENGTH + length) else {
            return Ok(None);
        };
        let message = postcard::from_bytes(content).map_err(FrameError::Content)?;
        self.bytes.drain(..LENGTH + length);
        if self.bytes.is_empty() {
            // One large update is no reason to keep its room.
            self.bytes.shrink_to(LENGTH);
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::{FRAME_MOST, Frames, GroupNames, Reply, Request, Update, frame};
    use proptest::prelude::*;

    fn update() -> Request {
        Request::Update(Update {
            number: 7,
            last: true,
            groups: vec![
                (
                    "a/b".parse().unwrap(),
                    Some(GroupNames {
                        network: "n".parse().unwrap(),
                        records: vec![("web".parse().unwrap(), vec!["10.0.0.1".parse().unwrap()])],
                    }),
                ),
                ("gone".parse().unwrap(), None),
            ],
            ..Update::default()
        })
    }

    #[test]
    fn the_first_messages_never_change() {
        let bytes = |message: &Request| frame(message).unwrap();
        assert_eq!(bytes(&Request::Hello { version: 1 }), [2, 0, 0, 0, 0, 1]);
        assert_eq!(bytes(&Request::HandOver), [1, 0, 0, 0, 1]);
        assert_eq!(bytes(&Request::End), [1, 0, 0, 0, 2]);
        let hello = frame(&Reply::Hello { version: 1, pid: 2 }).unwrap();
        assert_eq!(hello, [3, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_frame_is_bounded_before_it_is_read() {
        let mut frames = Frames::default();
        let length = u32::try_from(FRAME_MOST + 1).unwrap();
        frames.input().extend_from_slice(&length.to_le_bytes());
        assert!(
            frames
                .take::<Request>()
                .unwrap_err()
                .to_string()
                .contains("at most")
        );
        assert!(frame(&vec![0_u8; FRAME_MOST + 1]).is_err());
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_arrive(cuts in proptest::collection::vec(1_usize..40, 1..60)) {
            let expect = [Request::Hello { version: 1 }, update(), Request::End];
            let sent: Vec<u8> = expect.iter().flat_map(|m| frame(m).unwrap()).collect();
            let (mut frames, mut heard, mut rest) = (Frames::default(), Vec::new(), &sent[..]);
            for cut in cuts.into_iter().chain([sent.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                frames.input().extend_from_slice(now);
                rest = later;
                while let Some(message) = frames.take::<Request>().unwrap() {
                    heard.push(message);
                }
            }
            prop_assert_eq!(heard, expect);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frames = Frames::default();
            let length = u32::try_from(bytes.len()).unwrap();
            frames.input().extend_from_slice(&length.to_le_bytes());
            frames.input().extend_from_slice(&bytes);
            if let Ok(message) = frames.take::<Request>() {
                let again = frame(&message.unwrap()).unwrap();
                let mut frames = Frames { bytes: again };
                prop_assert!(frames.take::<Request>().unwrap().is_some());
            }
        }
    }
}
