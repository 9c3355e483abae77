//! Two programs that are measured in turns of a few seconds, each idle while it is the other's: how fast a shared
//! machine is swings within a minute, and what is compared must meet the same of it.

use crate::packages::Kind;
use crate::results::Spread;
use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long a turn lasts.
pub const TURN: Duration = Duration::from_secs(3);

/// A program that waits for its turn. It ends when this is dropped.
pub struct Waiting {
    child: Child,
    go: Option<ChildStdin>,
    told: Lines<BufReader<ChildStdout>>,
}

impl Waiting {
    /// Starts this program in a role, and gives what it tells before its first turn.
    pub fn start<T: DeserializeOwned>(
        role: &str,
        (kind, path): (Kind, &Path),
        turn: Duration,
    ) -> Result<(Waiting, T)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, kind.name()])
            .arg(path)
            .args(["--seconds", &turn.as_secs().to_string()])
            .env("ORT_DISABLE_TELEMETRY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let go = child.stdin.take();
        let told = child.stdout.take().context("its words")?;
        let told = BufReader::new(told).lines();
        let mut waiting = Waiting { child, go, told };
        let first = waiting.told()?;
        Ok((waiting, first))
    }

    /// Its turn.
    pub fn turn<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.turn_with(&())
    }

    /// Its turn, with this in mind.
    pub fn turn_with<T: DeserializeOwned>(&mut self, this: &impl Serialize) -> Result<T> {
        let go = self.go.as_mut().context("its ear")?;
        writeln!(go, "{}", serde_json::to_string(this)?)?;
        self.told()
    }

    fn told<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.told.next().context("it has ended")??;
        serde_json::from_str(&line).with_context(|| format!("it told {line:?}"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.go.take());
        let _ = self.child.wait();
    }
}

/// The other side: tells `first`, and the figure of each turn, which it is told something for.
pub fn take<A: DeserializeOwned, T: Serialize>(
    first: &impl Serialize,
    mut turn: impl FnMut(A) -> Result<T>,
) -> Result<()> {
    crate::tell(first)?;
    for go in std::io::stdin().lines() {
        crate::tell(&turn(serde_json::from_str(&go?)?)?)?;
    }
    Ok(())
}

/// What came of turns.
#[derive(Serialize)]
pub struct Turns<T> {
    /// Of the rate of one ÷ the mean of the limit's turns before and after it.
    pub ratio: Spread,
    pub subject: Vec<T>,
    pub limit: Vec<f64>,
}

/// So many turns of one between turns of the limit.
pub fn between<T: DeserializeOwned>(
    subject: &mut Waiting,
    limit: &mut Waiting,
    turns: usize,
    rate: impl Fn(&T) -> f64,
) -> Result<Turns<T>> {
    let mut all: Turns<T> = Turns {
        ratio: Spread::once(0.0),
        subject: Vec::new(),
        limit: vec![limit.turn()?],
    };
    for _ in 0..turns {
        all.subject.push(subject.turn()?);
        all.limit.push(limit.turn()?);
    }
    let around = all
        .limit
        .windows(2)
        .map(|two| f64::midpoint(two[0], two[1]));
    let ratios = all
        .subject
        .iter()
        .zip(around)
        .map(|(one, limit)| rate(one) / limit);
    all.ratio = Spread::of(ratios).context("turns")?;
    Ok(all)
}
