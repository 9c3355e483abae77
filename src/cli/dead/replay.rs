//! `inferq dead replay`: letters become requests again. A letter is removed only after the broker has confirmed
//! its request: killed in between, this publishes a request twice and loses none.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::anyhow;
use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::json;

use super::{
    Failed, age,
    filter::Filter,
    letters,
    notes::{MARKS, Notes},
    open, output, owner, package,
    scan::Scan,
    unavailable,
};
use crate::{
    broker::{Broker, Letter, Properties, Publication, PublishFault, Publisher, topology},
    config::Config,
    intake::head,
    message::{
        deadline::{resolve_deadline, unix_ms},
        reply_to::{NoReply, ReplyTo, reply_to},
        request::{DEADLINE, REPLAYED},
    },
    package::Package,
    repository,
};

/// How long the broker may take to confirm a request: it may be short of memory, or have no majority.
const CONFIRM: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A letter's request is published as it came, without what inferq and the broker noted on it. A letter stays where
it is when nobody takes its request, when its deadline has passed and no --deadline is given, or when nobody
would get the reply: no --reply-to is given, and it has direct reply-to, whose channel may be long closed, or none
and the package has no default_reply_to. The exit code is then 69 (nobody takes it) or 64 (a flag is missing).
A request that is sent again is another one to the duplicate store and to whoever drops replies by message_id.

Examples:
  inferq dead replay fraud --reason dependency_fault --deadline 30s
  inferq dead replay fraud --id 7f3c --deadline 30s --reply-to fraud-replies")]
pub(super) struct Args {
    /// Whose dead letters.
    #[arg(value_name = "PACKAGE", value_parser = owner)]
    package: String,
    #[command(flatten)]
    filter: Filter,
    /// Nobody wants the answer after this time from now: 30s, 5m.
    #[arg(long, value_name = "TIME", value_parser = age::duration)]
    deadline: Option<Duration>,
    /// The queue for the replies [default: the one of each request].
    #[arg(long, value_name = "QUEUE", value_parser = queue)]
    reply_to: Option<String>,
    /// The package that gets the requests [default: PACKAGE; letters of unknown and died need one].
    #[arg(long, value_name = "NAME", value_parser = package)]
    to: Option<String>,
    /// The folder that holds <name>/<version>/package.toml, for the package's default reply queue.
    #[arg(long, value_name = "DIR")]
    pub(super) repository: Option<String>,
}

fn queue(text: &str) -> Result<String, String> {
    match reply_to(Some(text), None) {
        Ok(ReplyTo::Queue(name)) => Ok(name.to_owned()),
        Ok(ReplyTo::Direct(_)) => {
            Err("direct reply-to ends with this command; name a queue".to_owned())
        }
        Err(fault) => Err(format!("{fault}; name a queue of yours")),
    }
}

/// Why letters were left where they were.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    NoReply(String),
    Late,
    Unroutable(String),
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Left::NoReply(why) => write!(f, "{why}; give --reply-to QUEUE"),
            Left::Late => write!(
                f,
                "the deadline has passed, or is no time; give --deadline TIME"
            ),
            Left::Unroutable(why) => write!(f, "{why}"),
        }
    }
}

pub(super) async fn run(args: &Args, config: &Config, json: bool) -> Result<(), Failed> {
    let to = match (&args.to, args.package.as_str()) {
        (Some(to), _) => to,
        (None, "unknown" | "died") => {
            return Err(Failed::Usage(anyhow!(
                "letters of {} are of no package; give --to NAME, the package that is to get them",
                args.package
            )));
        }
        (None, _) => &args.package,
    };
    let found = open(&config.broker, &args.package).await?;
    // Without its queue a request would go to inferq.unknown, and the letter with it.
    if found.count() > 0 && !found.serves(to).await.map_err(unavailable)? {
        return Err(Failed::Unavailable(anyhow!(
            "nobody takes requests for {to}: there is no queue {}; start a worker that serves it, or give --to NAME; no letter was touched",
            topology::queue_of(to)
        )));
    }
    let replay = Replay {
        args,
        to,
        default_reply_to: default_reply_to(&config.repository.dir, to),
        deadline: args.deadline.map(|wait| {
            unix_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        }),
        json,
    };
    let broker = Broker::start(config.broker.clone());
    let mut scan = Scan::of(found, &args.filter);
    let mut tally = Tally::default();
    let ended = replay.all(&mut scan, &broker.publisher(), &mut tally).await;
    let closed = scan.close().await;
    broker.close().await;
    tally.say(json)?;
    ended.and(closed).and(tally.verdict())
}

/// The queue that workers reply to where a request names none.
fn default_reply_to(repository: &Path, name: &str) -> Option<String> {
    let newest = repository::newest(repository, name)?;
    let files = Package::draft(&newest).ok()?;
    files.manifest().default_reply_to.clone()
}

#[derive(Default)]
struct Tally {
    replayed: usize,
    left: BTreeMap<Left, usize>,
}

impl Tally {
    fn say(&self, json: bool) -> Result<(), Failed> {
        if !json {
            output::line(format_args!("replayed {}", letters(self.replayed)))?;
        }
        for (why, count) in &self.left {
            output::note(format_args!("inferq: left {}: {why}", letters(*count)));
        }
        Ok(())
    }

    fn verdict(&self) -> Result<(), Failed> {
        let left: usize = self.left.values().sum();
        if left == 0 {
            return Ok(());
        }
        let error = anyhow!("{} left where they were", letters(left));
        let unroutable = self
            .left
            .keys()
            .any(|why| matches!(why, Left::Unroutable(_)));
        Err(if unroutable {
            Failed::Unavailable(error)
        } else {
            Failed::Usage(error)
        })
    }
}

struct Replay<'a> {
    args: &'a Args,
    to: &'a str,
    default_reply_to: Option<String>,
    /// Unix ms.
    deadline: Option<u64>,
    json: bool,
}

impl Replay<'_> {
    async fn all(
        &self,
        scan: &mut Scan<'_>,
        publisher: &Publisher,
        tally: &mut Tally,
    ) -> Result<(), Failed> {
        while let Some(batch) = scan.next().await? {
            let mut publishing = FuturesUnordered::new();
            for (notes, letter) in batch {
                let ticket = letter.ticket;
                match self.request(&notes, &letter) {
                    Ok(request) => publishing.push(async move {
                        let confirm = tokio::time::timeout(CONFIRM, publisher.publish(request));
                        (notes, ticket, confirm.await)
                    }),
                    Err(why) => self.left(scan, tally, &notes, why)?,
                }
            }
            let mut refused = None;
            loop {
                let next = tokio::select! {
                    next = publishing.next() => next,
                    fault = scan.letters.lost() => return Err(unavailable(fault)),
                };
                let Some((notes, ticket, end)) = next else {
                    break;
                };
                match end {
                    Ok(Ok(())) => {
                        scan.letters.remove(ticket).map_err(unavailable)?;
                        tally.replayed += 1;
                        scan.progress.step();
                        if self.json {
                            let line = json!({ "id": notes.id, "status": "replayed" });
                            scan.progress.line(line)?;
                        }
                    }
                    Ok(Err(fault @ PublishFault::Unroutable { .. })) => {
                        self.left(scan, tally, &notes, Left::Unroutable(fault.to_string()))?;
                    }
                    Ok(Err(fault)) => refused = Some(anyhow!(fault)),
                    Err(_) => {
                        refused = Some(anyhow!(
                            "the broker confirms nothing; is it short of memory or disk, or without a majority?"
                        ));
                    }
                }
            }
            // What is refused to one is refused to all.
            if let Some(fault) = refused {
                let fault = fault.context("letters that were not replayed are where they were");
                return Err(Failed::Unavailable(fault));
            }
        }
        Ok(())
    }

    fn left(
        &self,
        scan: &Scan<'_>,
        tally: &mut Tally,
        notes: &Notes,
        why: Left,
    ) -> Result<(), Failed> {
        scan.progress.step();
        if self.json {
            let line = json!({ "id": notes.id, "status": "left", "why": why.to_string() });
            scan.progress.line(line)?;
        }
        *tally.left.entry(why).or_default() += 1;
        Ok(())
    }

    /// The request that a letter was.
    fn request(&self, notes: &Notes, letter: &Letter) -> Result<Publication, Left> {
        let original = &letter.properties;
        let wanted = self.args.reply_to.as_deref().or(original.reply_to());
        let default = self.default_reply_to.as_deref();
        let to = reply_to(wanted, default).map_err(|nobody| {
            Left::NoReply(match nobody {
                NoReply::Absent => format!(
                    "nobody would get the reply: there is no reply_to, and no default_reply_to of {} in this repository",
                    self.to
                ),
                nobody @ (NoReply::Forbidden | NoReply::Malformed | NoReply::TooLong) => nobody.to_string(),
            })
        })?;
        if let ReplyTo::Direct(_) = to {
            return Err(Left::NoReply(
                "perhaps nobody would get the reply: it was for a channel that waited for it (direct reply-to)".to_owned(),
            ));
        }
        let died_at = notes.died_at.and_then(|at| i64::try_from(at).ok());
        let mut properties = original
            .kept()
            .without_headers(&MARKS)
            .with_header(REPLAYED, died_at.unwrap_or_default());
        if let Some(queue) = &self.args.reply_to {
            properties = properties.with_reply_to(queue);
        }
        if let Some(deadline) = self.deadline {
            let deadline = i64::try_from(deadline).unwrap_or(i64::MAX);
            properties = properties.with_header(DEADLINE, deadline);
        } else if late(&properties) {
            return Err(Left::Late);
        }
        Ok(Publication {
            exchange: topology::EXCHANGE.to_owned(),
            routing_key: self.to.to_owned(),
            body: letter.body.clone(),
            properties: properties.into(),
            mandatory: true,
        })
    }
}

/// A worker would reject the request at once for the deadline that it says.
fn late(properties: &Properties) -> bool {
    let now = unix_ms();
    let deadline = resolve_deadline(&head(properties), now, u64::MAX);
    deadline.map_or(true, |deadline| deadline.passed(now))
}
