//! The workers of a run: processes that are started again when they end.

use std::{
    fmt::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Mutex,
    time::Instant,
};

use super::schedule::BOUND;
use crate::{faults::tick, worker::Worker};

/// The slot whose worker no fault kills: its memory is watched.
pub(super) const SPARED: usize = 0;

/// Workers in numbered slots.
pub(super) struct Crew {
    urls: Vec<String>,
    repository: PathBuf,
    scored: PathBuf,
    clock: PathBuf,
    /// Where they keep what they measured, and what says that there is no room.
    state: PathBuf,
    full: PathBuf,
    store: String,
    slots: Mutex<Vec<Slot>>,
}

struct Slot {
    worker: Worker,
    /// How the present worker is to end, if it is to end at all.
    sentenced: Option<Sentence>,
    restarts: u32,
    /// How those before it ended.
    ends: Vec<(Sentence, ExitStatus)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sentence {
    Kill,
    Drain,
    /// None was passed: it ended by itself.
    None,
}

impl Crew {
    /// Starts a worker for each URL; `store` is where they keep replies already given.
    pub(super) fn start(
        urls: Vec<String>,
        store: String,
        (repository, home): (&Path, &Path),
    ) -> Crew {
        let crew = Crew {
            urls,
            repository: repository.to_owned(),
            scored: home.join("scored"),
            clock: home.join("clock"),
            state: home.join("state"),
            full: home.join("full"),
            store,
            slots: Mutex::default(),
        };
        let workers = crew.urls.iter().map(|url| Slot {
            worker: crew.spawn(url, None),
            sentenced: None,
            restarts: 0,
            ends: Vec::new(),
        });
        let workers = workers.collect();
        *crew.slots.lock().unwrap() = workers;
        crew
    }

    fn spawn(&self, url: &str, fail: Option<&str>) -> Worker {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (scored, clock) = (path(&self.scored), path(&self.clock));
        let (state, full) = (path(&self.state), path(&self.full));
        let mut environment = vec![
            ("INFERQ_SCORED_LOG", scored.as_str()),
            ("INFERQ_CLOCK_OFFSET_FILE", clock.as_str()),
            ("INFERQ_STATE_FULL_FILE", full.as_str()),
            ("INFERQ__APPETITE__STATE_DIR", state.as_str()),
            ("INFERQ__DUPLICATES__URL", self.store.as_str()),
            // That it is slow on a busy machine is none of the faults.
            ("INFERQ__DUPLICATES__TIMEOUT_MS", "5000"),
        ];
        environment.extend(fail.map(|fail| ("INFERQ_FAIL", fail)));
        Worker::spawn(url, &self.repository, &environment)
    }

    pub(super) fn size(&self) -> usize {
        self.urls.len()
    }

    /// Starts again what has ended; to be called often.
    pub(super) fn tend(&self) {
        let mut slots = self.slots.lock().unwrap();
        for (slot, url) in slots.iter_mut().zip(&self.urls) {
            let Some(status) = slot.worker.ended() else {
                continue;
            };
            let sentence = slot.sentenced.take().unwrap_or(Sentence::None);
            if sentence == Sentence::None {
                eprintln!(
                    "a worker ended by itself, {status}: {}",
                    tail(&slot.worker.log())
                );
            }
            slot.ends.push((sentence, status));
            slot.restarts += 1;
            slot.worker = self.spawn(url, None);
        }
    }

    pub(super) fn kill(&self, slot: usize) {
        self.sentence(slot, Sentence::Kill, "KILL");
    }

    /// Has one finish and leave, and waits until it has.
    pub(super) async fn drain(&self, slot: usize) {
        let before = self.restarts_of(slot);
        self.sentence(slot, Sentence::Drain, "TERM");
        let start = Instant::now();
        while self.restarts_of(slot) == before {
            assert!(start.elapsed() < BOUND, "no end: {}", self.log(slot));
            tick().await;
        }
    }

    /// Has one make room for another that has nowhere to keep what it measures; whether that one said so and served.
    pub(super) async fn without_room(&self, slot: usize) -> bool {
        std::fs::write(&self.full, "").unwrap();
        // One that starts this moment may be writing there; then the other finds that, and it is no hit.
        let _ = std::fs::remove_dir_all(&self.state);
        self.drain(slot).await;
        self.ready().await;
        std::fs::remove_file(&self.full).unwrap();
        let log = self.log(slot);
        log.contains("appetite.state_dir") && log.contains("cannot be written")
    }

    fn sentence(&self, slot: usize, sentence: Sentence, signal: &str) {
        let mut slots = self.slots.lock().unwrap();
        // One that has ended by itself this moment is started again as any other.
        if slots[slot].worker.ended().is_none() {
            slots[slot].sentenced = Some(sentence);
            slots[slot].worker.signal(signal);
        }
    }

    /// Stops one, or all, or lets them go on.
    pub(super) fn signal(&self, slots: std::ops::Range<usize>, signal: &str) {
        for slot in &mut self.slots.lock().unwrap()[slots] {
            if slot.worker.ended().is_none() {
                slot.worker.signal(signal);
            }
        }
    }

    fn restarts_of(&self, slot: usize) -> u32 {
        self.slots.lock().unwrap()[slot].restarts
    }

    fn log(&self, slot: usize) -> String {
        self.slots.lock().unwrap()[slot].worker.log()
    }

    /// Waits until a fresh worker has died where it was told to; whether it did.
    pub(super) async fn doom(&self, slot: usize, point: &str, times: u64) -> bool {
        let fail = format!("{point}:{times}");
        let mut doomed = self.spawn(&self.urls[slot], Some(&fail));
        let start = Instant::now();
        while start.elapsed() < BOUND {
            if let Some(status) = doomed.ended() {
                return status.signal() == Some(9);
            }
            tick().await;
        }
        eprintln!("never {fail}: {}", tail(&doomed.log()));
        false
    }

    /// A worker beside the others.
    pub(super) fn guest(&self, slot: usize) -> Worker {
        self.spawn(&self.urls[slot], None)
    }

    /// Waits until all are ready.
    pub(super) async fn ready(&self) {
        let start = Instant::now();
        while let Some(why) = self.not_ready() {
            assert!(start.elapsed() < BOUND, "a worker is not ready: {why}");
            tick().await;
        }
    }

    fn not_ready(&self) -> Option<String> {
        let slots = self.slots.lock().unwrap();
        slots.iter().find_map(|slot| {
            let page = slot.worker.get("/readyz");
            (page.as_ref().map(|(code, _)| *code) != Some(200))
                .then(|| format!("{page:?} {}", tail(&slot.worker.log())))
        })
    }

    /// Sets every worker's clock wrong by so much.
    pub(super) fn clock(&self, offset_ms: i64) {
        std::fs::write(&self.clock, offset_ms.to_string()).unwrap();
    }

    /// Resident bytes of the spared worker.
    pub(super) fn rss(&self) -> u64 {
        let id = self.slots.lock().unwrap()[SPARED].worker.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    pub(super) fn restarts(&self) -> u32 {
        self.slots
            .lock()
            .unwrap()
            .iter()
            .map(|slot| slot.restarts)
            .sum()
    }

    /// Workers that did not end as they should have.
    pub(super) fn misconduct(&self) -> Vec<String> {
        let slots = self.slots.lock().unwrap();
        let each = slots.iter().enumerate().flat_map(|(number, slot)| {
            slot.ends
                .iter()
                .map(move |(sentence, status)| (number, *sentence, *status))
        });
        let wrong = each.filter(|(_, sentence, status)| match sentence {
            Sentence::Kill => false,
            Sentence::Drain => status.code() != Some(0),
            // 69: the broker is not there at boot.
            Sentence::None => status.code() != Some(69),
        });
        wrong.map(|end| format!("{end:?}")).collect()
    }

    /// What each says of itself.
    pub(super) fn state(&self) -> String {
        let mut text = String::new();
        for slot in self.slots.lock().unwrap().iter() {
            let status = slot.worker.get("/status").map(|(_, body)| body);
            let _ = writeln!(text, "{status:?}\n{}", tail(&slot.worker.log()));
        }
        text
    }

    /// What workers scored: request, process, true time in ms.
    pub(super) fn scored(&self) -> Vec<(String, u32, u64)> {
        let text = std::fs::read_to_string(&self.scored).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let request = words.next()?.to_owned();
            Some((
                request,
                words.next()?.parse().ok()?,
                words.next()?.parse().ok()?,
            ))
        };
        text.lines().filter_map(line).collect()
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
