//! Interleaved pairs of the echo and inferq, and what they give.

use crate::load;
use crate::options::{EchoSetup, Options};
use crate::replies::ReplySize;
use crate::report::{self, Spread};
use crate::subject::Subject;
use crate::trial::{self, Figures, Site};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Enough for a look at what the replies are like.
const GLIMPSE: u64 = 2_000;
/// The shorter runs that the echo's set-up is chosen by.
const CHOICE: u64 = 20_000;

/// One run of the echo, and one of inferq unless the echo is measured alone.
type Pair = (Figures, Option<Figures>);

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
    let mut pairs = Vec::new();
    for number in 0..options.pairs {
        pairs.push(pair(site, &echo, inferq, requests, number).await?);
    }
    let (summary, ratio) = summarise(&pairs);
    let results = json!({
        "requests": requests,
        "echo_setups": choice,
        "echo_setup": setup,
        "reply_size": reply_size,
        "pairs": pairs,
        "summary": summary,
    });
    report::write(site, "round_trips", &results)?;
    if let (Some(wanted), Some(ratio)) = (options.at_least, ratio) {
        let median = ratio.median;
        ensure!(
            median >= wanted,
            "the median ratio is {median:.3}, below {wanted}"
        );
    }
    Ok(())
}

/// Measures the echo's set-ups. Whichever comes out best by luck is measured again in the pairs.
async fn choose(
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

/// One pair; every other one begins with inferq.
async fn pair(
    site: &Site,
    echo: &Subject,
    inferq: Option<&Subject>,
    requests: u64,
    number: usize,
) -> Result<Pair> {
    let run = async |subject: &Subject| {
        let figures = trial::run(site, subject, requests).await?;
        report::line(&format!("pair {}: {subject}", number + 1), &figures);
        anyhow::Ok(figures)
    };
    match inferq {
        None => Ok((run(echo).await?, None)),
        Some(inferq) if number.is_multiple_of(2) => {
            let echoed = run(echo).await?;
            Ok((echoed, Some(run(inferq).await?)))
        }
        Some(inferq) => {
            let inferred = run(inferq).await?;
            Ok((run(echo).await?, Some(inferred)))
        }
    }
}

fn summarise(pairs: &[Pair]) -> (Value, Option<Spread>) {
    let spread = |pick: fn(&Pair) -> Option<f64>| Spread::of(pairs.iter().filter_map(pick));
    let ratio = spread(|(echo, inferq)| {
        inferq.map(|inferq| inferq.round_trips_per_s / echo.round_trips_per_s)
    });
    let echo_rate = spread(|(echo, _)| Some(echo.round_trips_per_s));
    let inferq_rate = spread(|(_, inferq)| inferq.map(|inferq| inferq.round_trips_per_s));
    for (name, rate) in [("echo", echo_rate), ("inferq", inferq_rate)] {
        if let Some(Spread { median, min, max }) = rate {
            println!("{name}: median {median:.0}/s, {min:.0} to {max:.0}");
        }
    }
    if let Some(Spread { median, min, max }) = ratio {
        println!("inferq ÷ echo: median {median:.3}, {min:.3} to {max:.3}");
    }
    let summary = json!({
        "echo_round_trips_per_s": echo_rate,
        "inferq_round_trips_per_s": inferq_rate,
        "ratio": ratio,
    });
    (summary, ratio)
}
