//! Shows what a load, import or pull says on its way.
//!
//! Layers are shown on a terminal only, each on its line; images that are there are handed back.

use crate::{output::note, terminal, units::human_size, wire::refused};
use anyhow::Result;
use shoal_api::v1::{ImageDone, ImageProgress, LayerProgress, LayerStep, image_progress::Progress};
use std::{collections::BTreeMap, io::Write};
use tokio_stream::StreamExt;

/// Everything until the stream ends.
pub(super) async fn show(mut stream: tonic::Streaming<ImageProgress>, quiet: bool) -> Result<Vec<ImageDone>> {
    let mut done = Vec::new();
    let mut layers = Layers::default();
    let live = !quiet && terminal::stderr_is_terminal();
    let ended = loop {
        match stream.next().await {
            None => break Ok(()),
            Some(Err(status)) => break Err(refused(status)),
            Some(Ok(message)) => match message.progress {
                Some(Progress::Layer(layer)) if live => layers.draw(layer),
                Some(Progress::Status(status)) if !quiet => {
                    layers.clear();
                    note(&status);
                }
                Some(Progress::Done(image)) => done.push(image),
                Some(Progress::Layer(_) | Progress::Status(_)) | None => {}
            },
        }
    };
    layers.clear();
    ended.map(|()| done)
}

#[derive(Debug, Default)]
struct Layers {
    /// By digest, in the order they were first heard of.
    known: Vec<(String, String)>,
    bytes: BTreeMap<String, u64>,
    drawn: bool,
}

impl Layers {
    /// One line that sums the layers up: enough to see that it moves.
    fn draw(&mut self, layer: LayerProgress) {
        let step = match layer.step() {
            LayerStep::Waiting | LayerStep::Unspecified => "waiting",
            LayerStep::Downloading => "downloading",
            LayerStep::Unpacking => "unpacking",
            LayerStep::Done => "done",
            LayerStep::Present => "present",
        };
        match self.known.iter_mut().find(|(digest, _)| *digest == layer.digest) {
            Some((_, known)) => step.clone_into(known),
            None => self.known.push((layer.digest.clone(), step.to_owned())),
        }
        self.bytes.insert(layer.digest, layer.done_bytes);
        let finished = self
            .known
            .iter()
            .filter(|(_, step)| step == "done" || step == "present")
            .count();
        let total: u64 = self.bytes.values().sum();
        let line = format!("{finished} of {} layers, {}", self.known.len(), human_size(total));
        drop(write!(std::io::stderr().lock(), "\r\x1b[K{line}"));
        self.drawn = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            drop(write!(std::io::stderr().lock(), "\r\x1b[K"));
        }
    }
}
