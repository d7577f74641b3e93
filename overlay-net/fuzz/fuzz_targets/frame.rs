//! What comes by the socket that `shoal-net` is told by: any bytes are messages, or an error. What is a message comes
//! out the same after it was written again, and can be taken by the table of names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shoal_overlay_net::message::{Frames, Request, frame};
use shoal_overlay_net::serve::names::Names;

fuzz_target!(|bytes: &[u8]| {
    let mut frames = Frames::default();
    frames.input().extend_from_slice(bytes);
    let mut names = Names::default();
    while let Ok(Some(message)) = frames.take::<Request>() {
        let mut again = Frames::default();
        again.input().extend_from_slice(&frame(&message).expect("a message that was read can be written"));
        assert_eq!(again.take::<Request>().expect("and read again"), Some(message.clone()));
        if let Request::Update(update) = &message {
            names.apply(update);
        }
    }
});
