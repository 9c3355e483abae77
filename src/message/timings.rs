//! How long each step took, as the reply's `server-timing` header tells it.

use std::{fmt, time::Duration};

/// Durations of the steps that a request got to. Steps it never reached stay out of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the steps")]
pub struct Timings {
    pub decode: Option<Duration>,
    pub validate: Option<Duration>,
    pub represent: Option<Duration>,
    /// Waiting for a batch.
    pub queue: Option<Duration>,
    pub predict: Option<Duration>,
    /// Rows of the batch that the request ran in.
    pub batch_rows: Option<usize>,
    pub decide: Option<Duration>,
}

impl Timings {
    /// The steps that the request got to, in its order.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let all = [
            ("decode", self.decode),
            ("validate", self.validate),
            ("represent", self.represent),
            ("queue", self.queue),
            ("predict", self.predict),
            ("decide", self.decide),
        ];
        all.into_iter()
            .filter_map(|(name, spent)| Some((name, spent?)))
    }
}

/// W3C Server Timing: `decode;dur=0.012, predict;dur=3.100;desc="b=32"`, in ms.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, duration) in self.stages() {
            // Whole microseconds: formatting floats would cost more than the shortest stages.
            let us = duration.as_micros();
            let (ms, us) = (us / 1000, us % 1000);
            write!(f, "{separator}{name};dur={ms}.{us:03}")?;
            if let ("predict", Some(rows)) = (name, self.batch_rows) {
                write!(f, ";desc=\"b={rows}\"")?;
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_that_were_reached_are_told() {
        assert_eq!(Timings::default().to_string(), "");
        let timings = Timings {
            decode: Some(Duration::from_micros(100)),
            predict: Some(Duration::from_micros(3100)),
            batch_rows: Some(32),
            decide: Some(Duration::from_nanos(1400)),
            ..Timings::default()
        };
        assert_eq!(
            timings.to_string(),
            "decode;dur=0.100, predict;dur=3.100;desc=\"b=32\", decide;dur=0.001"
        );
    }
}
