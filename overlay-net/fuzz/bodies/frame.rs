//! What comes by the socket that `shoal-net` is told by: any bytes are messages, or an error. What is a message comes
//! out the same after it was written again, and can be taken by the table of names.

use shoal_overlay_net::message::{Frames, Request, frame};
use shoal_overlay_net::serve::names::Names;

/// Called by the fuzz target, and with random input by `tests/fuzz.rs`.
pub(crate) fn frames(bytes: &[u8]) {
    let mut frames = Frames::default();
    frames.input().extend_from_slice(bytes);
    let mut names = Names::default();
    while let Ok(Some(message)) = frames.take::<Request>() {
        let mut again = Frames::default();
        let written = frame(&message).expect("a message that was read can be written");
        again.input().extend_from_slice(&written);
        let read = again.take::<Request>().expect("and read again");
        assert_eq!(read.as_ref(), Some(&message));
        if let Request::Update(update) = &message {
            names.apply(update);
        }
    }
}
