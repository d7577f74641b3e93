//! What the fuzz targets try, with random input: bytes from nowhere, and bytes near to what makes sense.
//!
//! `cargo fuzz` finds more in an hour than this in a second; this keeps it compiling and true.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/bodies/frame.rs"]
mod frame_body;
#[path = "../fuzz/bodies/question.rs"]
mod question_body;

use frame_body::frames;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use question_body::question;
use shoal_overlay_net::message::{GroupNames, Request, Update, frame};

/// `tasks.web`, IPv4 addresses, with room for a long answer.
const QUESTION: &[u8] =
    b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x05tasks\x03web\x00\x00\x01\x00\x01\
    \x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";

/// An update as it comes by the socket, and an end behind it.
fn said() -> Vec<u8> {
    let group = GroupNames {
        network: "blue".parse().unwrap(),
        records: vec![("web".parse().unwrap(), vec!["10.0.0.1".parse().unwrap()])],
    };
    let update = Update {
        number: 7,
        last: true,
        pools: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        networks: vec![("blue".parse().unwrap(), Some(false))],
        groups: vec![
            ("g".parse().unwrap(), Some(group)),
            ("gone".parse().unwrap(), None),
        ],
        ..Update::default()
    };
    let mut bytes = frame(&Request::Update(update)).unwrap();
    bytes.extend(frame(&Request::End).unwrap());
    bytes
}

/// Other bytes at some places, and an end that is missing.
fn damaged(bytes: impl Into<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let bytes: Vec<u8> = bytes.into();
    let places = vec((any::<Index>(), any::<u8>()), 0..6);
    (places, 0_usize..20).prop_map(move |(places, missing)| {
        let mut bytes = bytes.clone();
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - missing.saturating_sub(10));
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_of_a_container(bytes in vec(any::<u8>(), 0..600)) {
        question(&bytes);
    }

    #[test]
    fn a_question_with_other_bytes(bytes in damaged(QUESTION)) {
        question(&bytes);
    }

    #[test]
    fn any_bytes_on_the_socket(bytes in vec(any::<u8>(), 0..300)) {
        frames(&bytes);
    }

    /// Almost no bytes begin with a length that is true.
    #[test]
    fn any_bytes_in_a_frame(content in vec(any::<u8>(), 0..300)) {
        let mut bytes = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(content);
        frames(&bytes);
    }

    #[test]
    fn an_update_with_other_bytes(bytes in damaged(said())) {
        frames(&bytes);
    }
}
