//! Shows what a load, import or pull says on its way, and hands back the images that are there.
//!
//! On a terminal every layer has a line that is redrawn; elsewhere a layer is named once, when it is there.

use crate::{output::note, progress::Screen, terminal, units::human_size, wire::refused};
use anyhow::Result;
use shoal_api::v1::{ImageDone, ImageProgress, LayerProgress, LayerStep, image_progress::Progress};
use std::{
    io::Write,
    time::{Duration, Instant},
};
use tokio_stream::StreamExt;

/// Between two redraws: more often than the eye follows is only work for the terminal.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything until the stream ends.
pub(super) async fn show(mut stream: tonic::Streaming<ImageProgress>, quiet: bool) -> Result<Vec<ImageDone>> {
    let mut done = Vec::new();
    let mut display = Display::new(quiet);
    let ended = loop {
        match stream.next().await {
            None => break Ok(()),
            Some(Err(status)) => break Err(refused(status)),
            Some(Ok(message)) => match message.progress {
                Some(Progress::Layer(layer)) => display.layer(layer),
                Some(Progress::Status(status)) => display.status(&status),
                Some(Progress::Done(image)) => done.push(image),
                None => {}
            },
        }
    };
    display.finish();
    ended.map(|()| done)
}

struct Display {
    quiet: bool,
    live: bool,
    layers: Layers,
    screen: Screen,
    drawn: Option<Instant>,
}

impl Display {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            live: !quiet && terminal::stderr_is_terminal(),
            layers: Layers::default(),
            screen: Screen::default(),
            drawn: None,
        }
    }

    fn layer(&mut self, progress: LayerProgress) {
        let there = self.layers.take(progress);
        if self.live {
            if there.is_some() || self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE) {
                self.draw(&self.layers.lines());
            }
        } else if let (Some(line), false) = (there, self.quiet) {
            note(&line);
        }
    }

    /// A sentence stands above the layers.
    fn status(&mut self, status: &str) {
        if self.quiet {
            return;
        }
        if self.live {
            self.draw(&[]);
        }
        note(status);
    }

    /// The last state stays on the screen.
    fn finish(&mut self) {
        if self.live && self.drawn.is_some() {
            self.draw(&self.layers.lines());
        }
    }

    fn draw(&mut self, lines: &[String]) {
        let text = self.screen.redraw(lines, terminal::size());
        let mut out = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop a pull.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        self.drawn = Some(Instant::now());
    }
}

/// What is known of each layer, in the order they were first heard of.
#[derive(Debug, Default)]
struct Layers(Vec<LayerProgress>);

impl Layers {
    /// Takes the news; the layer's line if it is there now and was not before.
    fn take(&mut self, mut news: LayerProgress) -> Option<String> {
        let known = self.0.iter_mut().find(|layer| layer.digest == news.digest);
        let before = known.as_ref().map(|layer| layer.step());
        if let Some(layer) = known {
            // Only a download tells how large the layer is.
            news.total_bytes = news.total_bytes.max(layer.total_bytes);
            *layer = news.clone();
        } else {
            self.0.push(news.clone());
        }
        let there = |step| matches!(step, LayerStep::Done | LayerStep::Present);
        (there(news.step()) && !before.is_some_and(there)).then(|| line(&news))
    }

    fn lines(&self) -> Vec<String> {
        self.0.iter().map(line).collect()
    }
}

fn line(layer: &LayerProgress) -> String {
    /// Characters of a digest, as Docker shows them.
    const SHORT: usize = 12;
    let digest = layer.digest.split(':').next_back().unwrap_or_default();
    let short: String = digest.chars().take(SHORT).collect();
    let step = match layer.step() {
        LayerStep::Waiting | LayerStep::Unspecified => "Waiting".to_owned(),
        LayerStep::Downloading => format!("Downloading  {}", amount(layer)),
        LayerStep::Unpacking => "Unpacking".to_owned(),
        LayerStep::Done => "Done".to_owned(),
        LayerStep::Present => "Already exists".to_owned(),
    };
    format!("{short}: {step}")
}

/// `[=====>    ] 3MB/12MB`, without what is not known.
fn amount(layer: &LayerProgress) -> String {
    const WIDTH: u64 = 30;
    let done = human_size(layer.done_bytes);
    let share = |part: u64| (u128::from(part) * u128::from(WIDTH)).checked_div(u128::from(layer.total_bytes));
    let Some(filled) = share(layer.done_bytes) else {
        return done;
    };
    let filled = usize::try_from(filled.min(u128::from(WIDTH))).unwrap_or_default();
    let rest = usize::try_from(WIDTH).unwrap_or_default() - filled;
    let bar = format!("{}>{}", "=".repeat(filled), " ".repeat(rest));
    format!("[{bar}] {done}/{}", human_size(layer.total_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(digest: &str, step: LayerStep, done_bytes: u64, total_bytes: u64) -> LayerProgress {
        LayerProgress {
            digest: format!("sha256:{digest}"),
            done_bytes,
            total_bytes,
            step: step.into(),
        }
    }

    #[test]
    fn layers_stand_in_the_order_they_came_and_are_told_once() {
        let mut layers = Layers::default();
        for (news, told) in [
            (news("aaaaaaaaaaaaaaaa", LayerStep::Waiting, 0, 4_000_000), None),
            (news("bb", LayerStep::Present, 0, 0), Some("bb: Already exists")),
            (
                news("aaaaaaaaaaaaaaaa", LayerStep::Downloading, 2_000_000, 4_000_000),
                None,
            ),
            (news("cc", LayerStep::Downloading, 1000, 0), None),
        ] {
            assert_eq!(layers.take(news).as_deref(), told);
        }
        let half = format!("[{}>{}]", "=".repeat(15), " ".repeat(15));
        assert_eq!(
            layers.lines(),
            [
                format!("aaaaaaaaaaaa: Downloading  {half} 2MB/4MB"),
                "bb: Already exists".to_owned(),
                "cc: Downloading  1kB".to_owned(),
            ]
        );
        for (step, line) in [
            (LayerStep::Unpacking, "cc: Unpacking"),
            (LayerStep::Done, "cc: Done"),
        ] {
            let told = layers.take(news("cc", step, 0, 0));
            assert_eq!(told.as_deref(), (step == LayerStep::Done).then_some("cc: Done"));
            assert_eq!(layers.lines()[2], line);
        }
        assert_eq!(layers.take(news("cc", LayerStep::Done, 0, 0)), None);
    }

    #[test]
    fn a_bar_stays_inside_its_frame() {
        for (done, total) in [(0, 10), (10, 10), (99, 10), (u64::MAX, u64::MAX)] {
            let text = amount(&news("a", LayerStep::Downloading, done, total));
            assert_eq!(text.find(']'), Some(32), "{text}");
        }
    }
}
