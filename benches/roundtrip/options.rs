//! The command line, the bench's own and that of the roles it starts itself in.

use crate::replies::ReplySize;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::fmt;
use std::num::NonZeroUsize;

/// Round trips per second through inferq, as a share of what a bare echo worker reaches.
///
/// Prefills a quorum queue, starts the worker, and counts from the first to the last reply.
/// Starts a private node, or uses the broker at `AMQP_URL`. Writes target/bench/results.json.
#[derive(Parser)]
#[command(name = "roundtrip")]
pub struct Options {
    /// Requests in a run (with --rss: up to the first mark) [default: 50000, with --rss 100000, with --backlog 1000000]
    #[arg(long)]
    pub requests: Option<u64>,
    /// Runs of inferq; before, between and after them runs the echo
    #[arg(long, default_value = "15")]
    pub rounds: NonZeroUsize,
    /// Measure the echo alone
    #[arg(long)]
    pub echo_only: bool,
    /// Let the echo's replies have no headers, though inferq's have
    #[arg(long)]
    pub bare_replies: bool,
    /// Look for the best echo among all 36 set-ups, not among 4 likely ones
    #[arg(long)]
    pub sweep: bool,
    /// Measure the worker's memory after N and after 10 N requests of one life
    #[arg(long)]
    pub rss: bool,
    /// Measure the worker's memory on a backlog of 100 requests and of a million, or as many as --requests says
    #[arg(long, conflicts_with_all = ["rss", "echo_only"])]
    pub backlog: bool,
    /// Measure inferq beside workers in Python, in `target/bench/venv`
    #[arg(long, conflicts_with_all = ["rss", "backlog", "echo_only"])]
    pub peers: bool,
    /// Measure the time that requests take at a tenth of what the worker can do
    #[arg(long, conflicts_with_all = ["rss", "backlog", "peers", "echo_only"])]
    pub light: bool,
    /// Give the broker the first core to itself, and everything else the others
    #[arg(long, conflicts_with_all = ["rss", "backlog", "peers", "light"])]
    pub apart: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    pub bench: bool,
    #[command(subcommand)]
    pub role: Option<Role>,
}

#[derive(Subcommand)]
pub enum Role {
    /// The bare echo worker
    #[command(hide = true)]
    Echo(EchoRole),
}

#[derive(Args)]
pub struct EchoRole {
    #[arg(long)]
    pub url: String,
    #[arg(long)]
    pub queue: String,
    #[command(flatten)]
    pub reply_size: ReplySize,
    #[command(flatten)]
    pub setup: EchoSetup,
}

/// How an echo worker goes about it.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct EchoSetup {
    #[arg(long)]
    pub channels: usize,
    #[arg(long)]
    pub window: usize,
    #[arg(long)]
    pub prefetch: u16,
    #[arg(long)]
    pub coalesce_ms: u64,
}

impl EchoSetup {
    const fn new(channels: usize, window: usize, prefetch: u16, coalesce_ms: u64) -> Self {
        EchoSetup {
            channels,
            window,
            prefetch,
            coalesce_ms,
        }
    }

    /// The set-ups that came out best where all were measured.
    pub fn likely() -> Vec<EchoSetup> {
        vec![
            EchoSetup::new(2, 128, 1000, 0),
            EchoSetup::new(2, 512, 2000, 1),
            EchoSetup::new(4, 128, 2000, 1),
            EchoSetup::new(4, 256, 2000, 1),
        ]
    }

    /// Every set-up that the yardstick names.
    pub fn all() -> Vec<EchoSetup> {
        let mut all = Vec::new();
        for channels in [1, 2, 4] {
            for window in [128, 256, 512] {
                for prefetch in [1000, 2000] {
                    for coalesce_ms in [0, 1] {
                        all.push(EchoSetup::new(channels, window, prefetch, coalesce_ms));
                    }
                }
            }
        }
        all
    }

    /// As arguments of the role.
    pub fn arguments(&self) -> Vec<String> {
        vec![
            format!("--channels={}", self.channels),
            format!("--window={}", self.window),
            format!("--prefetch={}", self.prefetch),
            format!("--coalesce-ms={}", self.coalesce_ms),
        ]
    }
}

impl fmt::Display for EchoSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EchoSetup {
            channels,
            window,
            prefetch,
            coalesce_ms,
        } = self;
        write!(
            f,
            "echo {channels} × {window}, prefetch {prefetch}, {coalesce_ms} ms"
        )
    }
}
