//! Where a request's time went: the reply's `server-timing` header.

use std::{fmt, time::Duration};

/// Time spent in each stage; zero where a stage was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Bytes → business object.
    pub decode: Duration,
    /// Business object → rows, validation included.
    pub represent: Duration,
    /// Waiting for a batch.
    pub queue: Duration,
    /// The run of the batch.
    pub predict: Duration,
    /// Rows in that batch.
    pub batch_size: usize,
    /// Outputs → outcome.
    pub decide: Duration,
}

impl fmt::Display for Timings {
    /// As W3C Server Timing, in milliseconds: `decode;dur=0.012, …, predict;dur=3.100;desc="b=32"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(f, "decode;dur={:.3}", ms(self.decode))?;
        write!(f, ", represent;dur={:.3}", ms(self.represent))?;
        write!(f, ", queue;dur={:.3}", ms(self.queue))?;
        write!(
            f,
            ", predict;dur={:.3};desc=\"b={}\"",
            ms(self.predict),
            self.batch_size
        )?;
        write!(f, ", decide;dur={:.3}", ms(self.decide))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_reads_as_server_timing() {
        let timings = Timings {
            predict: Duration::from_micros(3100),
            batch_size: 32,
            ..Timings::default()
        };
        let text = timings.to_string();
        assert!(
            text.contains("predict;dur=3.100;desc=\"b=32\", decide;dur=0.000"),
            "{text}"
        );
    }
}
