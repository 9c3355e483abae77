//! `inferq dead purge`.

use std::io::{self, IsTerminal, Write};

use anyhow::anyhow;
use serde_json::json;

use super::{Failed, filter::Filter, letters, open, output, owner, scan::Scan, unavailable};
use crate::{broker::Ticket, config::Config};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Removes what the filters take, and all of it when there is none. It asks before it does, or wants --yes.

Example:
  inferq dead purge fraud --older-than 30d --yes")]
pub(super) struct Args {
    /// Whose dead letters.
    #[arg(value_name = "PACKAGE", value_parser = owner)]
    package: String,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: &Args, config: &Config, json: bool) -> Result<(), Failed> {
    let found = open(&config.broker, &args.package).await?;
    let mut scan = Scan::of(found, &args.filter);
    let tickets = match tickets(&mut scan).await {
        Ok(tickets) => tickets,
        Err(failed) => {
            // The connection is gone, and the letters with it are back.
            let _ = scan.close().await;
            return Err(failed);
        }
    };
    scan.progress.finish();
    let count = letters(tickets.len());
    if !(args.yes || tickets.is_empty() || confirmed(&count, &args.package)) {
        scan.close().await?;
        return Err(Failed::Usage(anyhow!(
            "{count} of {} would be removed, none was; give --yes to remove them",
            args.package
        )));
    }
    for ticket in &tickets {
        scan.letters.remove(*ticket).map_err(unavailable)?;
    }
    scan.close().await?;
    if json {
        output::line(json!({ "removed": tickets.len() }))
    } else {
        output::line(format_args!("removed {count}"))
    }
}

async fn tickets(scan: &mut Scan<'_>) -> Result<Vec<Ticket>, Failed> {
    let mut tickets = Vec::new();
    while let Some(batch) = scan.next().await? {
        for (_, letter) in batch {
            scan.progress.step();
            tickets.push(letter.ticket);
        }
    }
    Ok(tickets)
}

/// Asks, where somebody is there to answer.
fn confirmed(count: &str, package: &str) -> bool {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return false;
    }
    let mut error = io::stderr();
    let asked = write!(error, "remove {count} of {package} for good? [y/N] ");
    let mut answer = String::new();
    asked.is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}
