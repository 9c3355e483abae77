//! When requests are due.

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// Between bursts.
const PAUSE: Duration = Duration::from_secs(2);

/// A load, as shares of what the worker can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At random times, whatever becomes of those before.
    Poisson(f64),
    /// Every two seconds as many at once as the worker does in one.
    Bursts,
}

impl Load {
    /// What tells how long the way to the worker and back is.
    pub const LIGHT: (&str, Load) = ("poisson-10", Load::Poisson(0.1));

    pub fn of(name: &str) -> Result<Load> {
        Ok(match name {
            "poisson-50" => Load::Poisson(0.5),
            "poisson-90" => Load::Poisson(0.9),
            "overload" => Load::Poisson(1.5),
            "bursts" => Load::Bursts,
            _ => bail!(
                "{name} is no load; expected poisson-50, poisson-90, bursts, overload or shared"
            ),
        })
    }

    /// When each request is due, from the start.
    pub fn schedule(self, capacity: f64, lasts: Duration) -> Vec<Duration> {
        match self {
            Load::Poisson(share) => {
                let mut rng = StdRng::seed_from_u64(1);
                let mut due = Duration::ZERO;
                let next = || {
                    due += Duration::from_secs_f64(
                        -(1.0 - rng.random::<f64>()).ln() / (share * capacity),
                    );
                    Some(due)
                };
                std::iter::from_fn(next)
                    .take_while(|due| *due < lasts)
                    .collect()
            }
            Load::Bursts => {
                let starts = (0..).map(|burst| PAUSE * burst);
                let starts = starts.take_while(|start| *start < lasts);
                let burst = (capacity.ceil() as usize).max(1);
                starts
                    .flat_map(|start| std::iter::repeat_n(start, burst))
                    .collect()
            }
        }
    }
}
