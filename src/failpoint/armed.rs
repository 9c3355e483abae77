//! The fail points of a build for tests.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Signal, getpid, kill_process};

/// How long a clock offset that was read is good for.
const FRESH: Duration = Duration::from_millis(100);

tokio::task_local! {
    static REQUEST: Option<String>;
}

/// Where to die, and at which time of getting there.
struct Fatal {
    point: String,
    times: u64,
    count: AtomicU64,
}

static FATAL: LazyLock<Option<Fatal>> = LazyLock::new(|| {
    let text = std::env::var("INFERQ_FAIL").ok()?;
    let (point, times) = text.split_once(':')?;
    Some(Fatal {
        point: point.to_owned(),
        times: times.parse().ok()?,
        count: AtomicU64::new(0),
    })
});

static SCORED: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("INFERQ_SCORED_LOG")?;
    let mut options = OpenOptions::new();
    options.create(true).append(true).open(path).ok()
});

static OFFSET: LazyLock<Option<Mutex<Offset>>> = LazyLock::new(|| {
    let path = std::env::var_os("INFERQ_CLOCK_OFFSET_FILE")?;
    Some(Mutex::new(Offset {
        path: path.into(),
        read: None,
        ms: 0,
    }))
});

struct Offset {
    path: PathBuf,
    read: Option<Instant>,
    ms: i64,
}

pub(crate) fn hit(point: &str) {
    if point == "predicted" {
        note();
    }
    let Some(fatal) = &*FATAL else { return };
    let here = fatal.point == point;
    if here && fatal.count.fetch_add(1, Ordering::Relaxed) + 1 == fatal.times {
        // It cannot fail, and there is nobody left to tell.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

pub(crate) fn of<F: Future>(request: Option<&str>, work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(request.map(str::to_owned), work)
}

pub(crate) fn room() -> io::Result<()> {
    let full = std::env::var_os("INFERQ_STATE_FULL_FILE");
    if full.is_some_and(|file| Path::new(&file).exists()) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

pub(crate) fn clock_offset_ms() -> i64 {
    let Some(offset) = &*OFFSET else { return 0 };
    let mut offset = offset.lock().unwrap_or_else(PoisonError::into_inner);
    if offset.read.is_none_or(|read| read.elapsed() > FRESH) {
        let text = std::fs::read_to_string(&offset.path).unwrap_or_default();
        offset.ms = text.trim().parse().unwrap_or_default();
        offset.read = Some(Instant::now());
    }
    offset.ms
}

/// Enters the request in hand among those that were scored: its name, this process, the true time in ms.
fn note() {
    let Some(mut log) = SCORED.as_ref() else {
        return;
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    let _ = REQUEST.try_with(|request| {
        let name = request.as_deref().unwrap_or_default();
        let line = format!("{name} {} {ms}\n", std::process::id());
        // One write: lines of several processes do not mix.
        let _ = log.write_all(line.as_bytes());
    });
}
