//! `inferq dead list`.

use std::collections::BTreeMap;

use super::{Failed, age, filter::Filter, letters, notes::Notes, open, output, owner, scan::Scan};
use crate::config::Config;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A letter's id is its message_id or, where it has none, a hash of what it is. What the broker itself
dead-lettered has the broker's reason, and the queue it died in for a stage.

Example:
  inferq dead list fraud --reason poison --reason model_fault --limit 20")]
pub(super) struct Args {
    /// Whose dead letters.
    #[arg(value_name = "PACKAGE", value_parser = owner)]
    package: String,
    #[command(flatten)]
    filter: Filter,
}

pub(super) async fn run(args: &Args, config: &Config, json: bool) -> Result<(), Failed> {
    let letters = open(&config.broker, &args.package).await?;
    let mut scan = Scan::of(letters, &args.filter);
    let listed = print(&mut scan, json).await;
    let closed = scan.close().await;
    let reasons = listed?;
    if !json {
        output::line(footer(&reasons))?;
    }
    closed
}

async fn print(scan: &mut Scan<'_>, json: bool) -> Result<BTreeMap<String, usize>, Failed> {
    let mut reasons = BTreeMap::new();
    while let Some(batch) = scan.next().await? {
        for (notes, _) in batch {
            scan.progress.step();
            if json {
                scan.progress.line(notes.json())?;
            } else {
                if reasons.is_empty() {
                    scan.progress.line(HEAD)?;
                }
                scan.progress.line(row(&notes))?;
            }
            let reason = notes.reason.unwrap_or_else(|| "-".to_owned());
            *reasons.entry(reason).or_default() += 1;
        }
    }
    Ok(reasons)
}

const HEAD: &str = "DIED                  REASON                STAGE       TRIES       SIZE  ID                                    TYPE  WORKER";

fn row(notes: &Notes) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let died = or_none(&notes.died_at.and_then(age::written));
    let tries = notes
        .attempts
        .map_or_else(|| "-".to_owned(), |count| count.to_string());
    format!(
        "{died:<20}  {:<20}  {:<10}  {tries:>5}  {:>9}  {:<36}  {}  {}",
        or_none(&notes.reason),
        or_none(&notes.stage),
        notes.size,
        notes.id,
        or_none(&notes.content_type),
        or_none(&notes.worker),
    )
}

fn footer(reasons: &BTreeMap<String, usize>) -> String {
    let all = letters(reasons.values().sum());
    let each = reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"));
    let each: Vec<_> = each.collect();
    if each.is_empty() {
        return all;
    }
    format!("{all}: {}", each.join(", "))
}
