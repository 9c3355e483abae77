//! Runs of inferq, each between two of the echo, and what they give.

use crate::load;
use crate::options::{EchoSetup, Options};
use crate::replies::ReplySize;
use crate::report::{self, Row, Spread};
use crate::subject::Subject;
use crate::trial::{self, Figures, Site};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::num::NonZeroUsize;

/// Enough for a look at what the replies are like.
const GLIMPSE: u64 = 2_000;
/// The shorter runs that the echo's set-up is chosen by.
const CHOICE: u64 = 20_000;

/// Runs in their order: an echo, then inferq and an echo as often as there are rounds.
#[derive(Default, Serialize)]
struct Runs {
    echo: Vec<Figures>,
    inferq: Vec<Figures>,
}

pub async fn run(options: &Options, site: &Site, inferq: &Subject) -> Result<()> {
    let requests = options.requests.unwrap_or(50_000);
    println!(
        "{requests} requests of {} bytes a run, quorum queues",
        load::body(0).len()
    );
    report::heading();
    let mut reply_size = if options.echo_only {
        crate::REPLY_SIZE
    } else {
        trial::run(site, inferq, GLIMPSE).await?.reply_size
    };
    if options.bare_replies {
        reply_size.header_bytes = 0;
    }
    let ReplySize {
        body_bytes,
        header_bytes,
    } = reply_size;
    println!("the echo replies with {body_bytes} bytes and {header_bytes} of headers");
    let choice = choose(options, site, reply_size, requests.min(CHOICE)).await?;
    let (setup, _) = *choice
        .iter()
        .max_by(|(_, a), (_, b)| a.round_trips_per_s.total_cmp(&b.round_trips_per_s))
        .context("no set-up of the echo")?;
    let echo = Subject::Echo { setup, reply_size };
    let inferq = (!options.echo_only).then_some(inferq);
    let runs = rounds(options.rounds, site, &echo, inferq, requests).await?;
    let ratio = to_echo(&runs, |run| run.round_trips_per_s);
    let cpu = to_echo(&runs, |run| run.cpu_us);
    let summary = summarise(&runs, ratio);
    let results = json!({
        "requests": requests,
        "echo_setups": choice,
        "echo_setup": setup,
        "reply_size": reply_size,
        "runs": runs,
        "summary": summary,
    });
    let (section, load) = if options.apart {
        ("apart", "backlog, the broker on a core of its own")
    } else {
        ("round_trips", "backlog")
    };
    let mut rows = report::rows(load, "echo", &runs.echo);
    rows.extend(report::rows(load, "inferq", &runs.inferq));
    let inferq = (report::MODEL, load, "inferq");
    rows.extend(ratio.map(|ratio| Row::new(inferq, "÷ echo", ratio)));
    rows.extend(cpu.map(|times| Row::new(inferq, "worker µs ÷ echo's", times)));
    report::write(site, section, &rows, &results)
}

/// Measures the echo's set-ups. Whichever comes out best by luck is measured again in the rounds.
pub async fn choose(
    options: &Options,
    site: &Site,
    reply_size: ReplySize,
    requests: u64,
) -> Result<Vec<(EchoSetup, Figures)>> {
    let setups = if options.sweep {
        EchoSetup::all()
    } else {
        EchoSetup::likely()
    };
    let mut measured = Vec::new();
    for setup in setups {
        let echo = Subject::Echo { setup, reply_size };
        let figures = trial::run(site, &echo, requests).await?;
        report::line(&echo.to_string(), &figures);
        measured.push((setup, figures));
    }
    Ok(measured)
}

/// The machine's speed swings, so that each run of inferq is compared with those of the echo before and after it.
async fn rounds(
    rounds: NonZeroUsize,
    site: &Site,
    echo: &Subject,
    inferq: Option<&Subject>,
    requests: u64,
) -> Result<Runs> {
    let run = async |subject: &Subject, round: usize| {
        let figures = trial::run(site, subject, requests).await?;
        report::line(&format!("round {round}: {subject}"), &figures);
        anyhow::Ok(figures)
    };
    let mut runs = Runs::default();
    runs.echo.push(run(echo, 0).await?);
    for round in 1..=rounds.get() {
        if let Some(inferq) = inferq {
            runs.inferq.push(run(inferq, round).await?);
        }
        runs.echo.push(run(echo, round).await?);
    }
    Ok(runs)
}

/// A figure of each run of inferq ÷ the mean of the echo's before and after it.
fn to_echo(Runs { echo, inferq }: &Runs, of: fn(&Figures) -> f64) -> Option<Spread> {
    let around = echo
        .windows(2)
        .map(|two| f64::midpoint(of(&two[0]), of(&two[1])));
    Spread::of(
        inferq
            .iter()
            .zip(around)
            .map(|(ours, echo)| of(ours) / echo),
    )
}

fn summarise(Runs { echo, inferq }: &Runs, ratio: Option<Spread>) -> Value {
    let rates = |runs: &[Figures]| Spread::of(runs.iter().map(|run| run.round_trips_per_s));
    let (echo, inferq) = (rates(echo), rates(inferq));
    for (name, rate) in [("echo", echo), ("inferq", inferq)] {
        if let Some(Spread { median, min, max }) = rate {
            println!("{name}: median {median:.0}/s, {min:.0} to {max:.0}");
        }
    }
    if let Some(Spread { median, min, max }) = ratio {
        println!("inferq ÷ echo: median {median:.3}, {min:.3} to {max:.3}");
    }
    json!({
        "echo_round_trips_per_s": echo,
        "inferq_round_trips_per_s": inferq,
        "ratio": ratio,
    })
}
