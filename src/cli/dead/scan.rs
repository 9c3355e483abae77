//! The letters that a filter takes, batch after batch.

use super::{Failed, filter::Filter, notes::Notes, unavailable};
use crate::{
    broker::{Letter, Letters},
    cli::output::Progress,
};

/// A walk over the letters of a package, oldest first. What it does not hand out goes back when it ends.
pub(super) struct Scan<'a> {
    pub(super) letters: Letters,
    filter: &'a Filter,
    now: u64,
    taken: usize,
    /// A step a letter; those handed out are their taker's to step.
    pub(super) progress: Progress,
}

impl<'a> Scan<'a> {
    pub(super) fn of(letters: Letters, filter: &'a Filter) -> Scan<'a> {
        let limit = filter.limit.filter(|_| filter.is_open());
        let length = limit.unwrap_or(usize::MAX).min(letters.count());
        Scan {
            letters,
            filter,
            now: Filter::now(),
            taken: 0,
            progress: Progress::of(length),
        }
    }

    /// The letters of the next batch that are meant, perhaps none of it; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(Notes, Letter)>>, Failed> {
        let left = self.filter.limit.unwrap_or(usize::MAX) - self.taken;
        let most = match left {
            0 => 0,
            left if self.filter.is_open() => left,
            // Who knows how many of them are meant.
            _ => usize::MAX,
        };
        let batch = self.letters.next(most).await.map_err(unavailable)?;
        if batch.is_empty() {
            return Ok(None);
        }
        let mut taken = Vec::new();
        for letter in batch {
            let notes = Notes::of(&letter);
            if taken.len() < left && self.filter.takes(&notes, self.now) {
                taken.push((notes, letter));
            } else {
                self.progress.step();
            }
        }
        self.taken += taken.len();
        Ok(Some(taken))
    }

    /// Gives back what is left and waits until all is settled.
    pub(super) async fn close(self) -> Result<(), Failed> {
        self.progress.finish();
        self.letters.close().await.map_err(unavailable)
    }
}
