//! inferq beside what people write without it, all on the same backlog, in turns.

use crate::load;
use crate::mosec;
use crate::options::{EchoSetup, Options};
use crate::ratio;
use crate::report::{self, Spread};
use crate::subject::{PEERS, Peer, Subject};
use crate::trial::{self, Figures, Site};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// Enough for a look at what the replies are like.
const GLIMPSE: u64 = 2_000;

/// What one worker came to.
#[derive(Serialize)]
struct Row {
    subject: String,
    /// Whether replies are persistent and confirmed before their request is acknowledged.
    as_safe: bool,
    requests: u64,
    runs: Vec<Figures>,
    /// A run ÷ the mean of the echo before and the echo after its round.
    to_echo: Option<Spread>,
    /// inferq's run of the round ÷ this one's.
    inferq_to_it: Option<Spread>,
}

pub async fn run(options: &Options, site: &Site, repository: &Path) -> Result<()> {
    let python = site.folder.join("venv/bin/python");
    ensure!(
        python.exists(),
        "{} is missing; `make bench` makes it, or: python3 -m venv target/bench/venv && \
         target/bench/venv/bin/pip install -r benches/roundtrip/peers/requirements.txt",
        python.display()
    );
    let inferq = Subject::Inferq {
        repository: repository.to_owned(),
    };
    let requests = options.requests.unwrap_or(50_000);
    println!(
        "backlogs of {requests} requests of {} bytes, quorum queues",
        load::body(0).len()
    );
    report::heading();
    let reply_size = trial::run(site, &inferq, GLIMPSE).await?.reply_size;
    let choice = ratio::choose(options, site, reply_size, requests.min(20_000)).await?;
    let setup = best(&choice)?;
    let echo = Subject::Echo { setup, reply_size };
    let mut rows = vec![row(inferq.to_string(), true, requests)];
    let mut subjects = vec![inferq];
    for (name, as_safe, part) in PEERS {
        rows.push(row(name.to_owned(), as_safe, requests / part));
        subjects.push(Subject::Peer(Peer {
            name,
            python: python.clone(),
            model: repository
                .join(crate::package::NAME)
                .join("1.0.0/model.onnx"),
        }));
    }
    let mut echoes = vec![trial::run(site, &echo, requests).await?];
    for round in 1..=options.rounds.get() {
        for (row, subject) in rows.iter_mut().zip(&subjects) {
            let figures = trial::run(site, subject, row.requests).await?;
            report::line(&format!("round {round}: {subject}"), &figures);
            row.runs.push(figures);
        }
        let figures = trial::run(site, &echo, requests).await?;
        report::line(&format!("round {round}: {echo}"), &figures);
        echoes.push(figures);
    }
    compare(&mut rows, &echoes);
    let mut figures: Vec<report::Row> = rows.iter().flat_map(figures).collect();
    let model = repository
        .join(crate::package::NAME)
        .join("1.0.0/model.onnx");
    figures.extend(mosec::run(&python, &model, &site.folder, options.rounds.get()).await?);
    report::write(
        site,
        "peers",
        &figures,
        &json!({ "echo": echoes, "echo_setup": setup, "rows": rows }),
    )
}

fn row(subject: String, as_safe: bool, requests: u64) -> Row {
    Row {
        subject,
        as_safe,
        requests,
        runs: Vec::new(),
        to_echo: None,
        inferq_to_it: None,
    }
}

const LOAD: &str = "backlog, beside peers";

fn figures(row: &Row) -> Vec<report::Row> {
    let ratios = [("÷ echo", row.to_echo), ("inferq ÷ it", row.inferq_to_it)];
    let ratios = ratios.into_iter().filter_map(|(figure, spread)| {
        let of = (report::MODEL, LOAD, row.subject.as_str());
        Some(report::Row::new(of, figure, spread?))
    });
    let mut figures = report::rows(LOAD, &row.subject, &row.runs);
    figures.extend(ratios);
    figures
}

fn best(choice: &[(EchoSetup, Figures)]) -> Result<EchoSetup> {
    let best = choice
        .iter()
        .max_by(|(_, a), (_, b)| a.round_trips_per_s.total_cmp(&b.round_trips_per_s));
    Ok(best.context("no set-up of the echo")?.0)
}

fn compare(rows: &mut [Row], echoes: &[Figures]) {
    let rates = |runs: &[Figures]| -> Vec<f64> {
        let rates = runs.iter().map(|figures| figures.round_trips_per_s);
        rates.collect()
    };
    let echo = rates(echoes);
    let around: Vec<f64> = echo
        .windows(2)
        .map(|two| f64::midpoint(two[0], two[1]))
        .collect();
    let ours = rates(&rows[0].runs);
    println!(
        "\n{:<24} {:>14} {:>14} {:>22} {:>24}",
        "", "round trips/s", "worker µs/msg", "÷ echo", "inferq ÷ it"
    );
    for row in rows {
        let theirs = rates(&row.runs);
        let ratio = |a: &[f64], b: &[f64]| Spread::of(a.iter().zip(b).map(|(a, b)| a / b));
        row.to_echo = ratio(&theirs, &around);
        row.inferq_to_it = ratio(&ours, &theirs);
        let cpu = Spread::of(row.runs.iter().map(|figures| figures.cpu_us));
        let shown = |spread: Option<Spread>, digits: usize| {
            spread.map_or_else(String::new, |Spread { median, min, max }| {
                format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
            })
        };
        println!(
            "{:<24} {:>14} {:>14} {:>22} {:>24}",
            row.subject,
            Spread::of(theirs).map_or_else(String::new, |rate| format!("{:.0}", rate.median)),
            cpu.map_or_else(String::new, |cpu| format!("{:.1}", cpu.median)),
            shown(row.to_echo, 3),
            shown(row.inferq_to_it, 2),
        );
    }
}
