//! How long each step took, as the reply's `server-timing` header tells it.

use std::time::Duration;

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
    /// All of it, and what lies between: from the delivery's arrival until it is known what to answer.
    pub total: Option<Duration>,
}

impl Timings {
    /// W3C Server Timing: `decode;dur=0.012, predict;dur=3.100;desc="b=32"`, in ms. Empty where no step was reached.
    #[must_use]
    pub fn header(&self) -> String {
        // Every reply has one: format_args would cost more than the shortest stages.
        let (mut text, mut number) = (String::with_capacity(160), itoa::Buffer::new());
        let total = self.total.map(|total| ("total", total));
        for (name, spent) in self.stages().chain(total) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(name);
            text.push_str(";dur=");
            text.push_str(number.format(spent.as_millis()));
            text.push('.');
            // of 1000 to 1999, what follows the first digit
            let us = number.format(1000 + spent.subsec_micros() % 1000);
            text.push_str(us.get(1..).unwrap_or_default());
            if let ("predict", Some(rows)) = (name, self.batch_rows) {
                text.push_str(";desc=\"b=");
                text.push_str(number.format(rows));
                text.push('"');
            }
        }
        text
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_that_were_reached_are_told() {
        assert_eq!(Timings::default().header(), "");
        let timings = Timings {
            decode: Some(Duration::from_micros(100)),
            predict: Some(Duration::from_micros(3100)),
            batch_rows: Some(32),
            decide: Some(Duration::from_nanos(1400)),
            total: Some(Duration::from_millis(5)),
            ..Timings::default()
        };
        assert_eq!(
            timings.header(),
            "decode;dur=0.100, predict;dur=3.100;desc=\"b=32\", decide;dur=0.001, total;dur=5.000"
        );
    }
}
