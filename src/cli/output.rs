//! Standard output and error, whoever reads them, and even when nobody does any more.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::Failed;

/// Prints one line.
pub(super) fn line(text: impl Display) -> Result<(), Failed> {
    written(writeln!(io::stdout(), "{text}"))
}

/// Prints one line for people, beside the output.
pub(super) fn note(text: impl Display) {
    // A standard error that nobody reads is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}

/// `inferq … | head -1` closes the pipe when it has what it wants: not a failure.
fn written(result: io::Result<()>) -> Result<(), Failed> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failed::Enough),
        other => other
            .context("standard output cannot be written")
            .map_err(Failed::Internal),
    }
}

/// A bar on standard error, where somebody watches and there is something to wait for.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Lines and bar share a screen.
    shared: bool,
}

impl Progress {
    pub(super) fn of(length: usize) -> Progress {
        let bar = if length > 1 && io::stderr().is_terminal() {
            let bar = ProgressBar::new(length as u64);
            let style = "{wide_bar} {pos}/{len} {per_sec} {eta}";
            ProgressStyle::with_template(style).map_or(bar.clone(), |style| bar.with_style(style))
        } else {
            ProgressBar::hidden()
        };
        let shared = io::stdout().is_terminal();
        Progress { bar, shared }
    }

    /// Of a length that [`step_of`](Self::step_of) tells.
    pub(super) fn of_unknown() -> Progress {
        Progress::of(usize::MAX)
    }

    /// One of so many.
    pub(super) fn step_of(&self, length: usize) {
        self.bar.set_length(length as u64);
        self.step();
    }

    pub(super) fn step(&self) {
        self.bar.inc(1);
    }

    /// Prints one line without tearing the bar.
    pub(super) fn line(&self, text: impl Display) -> Result<(), Failed> {
        if self.shared {
            self.bar.suspend(|| line(text))
        } else {
            line(text)
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
