//! What the manifest's types cannot say: names, versions, the folder it lies in, limits that depend on each other.

use std::path::{Component, Path};

use serde_json::Value;

use super::{
    fault::PackageFault,
    manifest::{FORMAT, MANIFEST},
    words::rendered,
};
use crate::{message::reply_to::is_own, representation::pointer::Pointer};

/// Words that stand at a package's place in queues and routing keys.
const RESERVED: [&str; 6] = ["unknown", "dead", "died", "retry", "predict", "control"];

/// Whether `document` is a manifest that this inferq can read at all.
pub(super) fn format(document: &Value) -> Result<(), PackageFault> {
    match document.get("format") {
        Some(format) if format.as_u64().is_some_and(|n| n > FORMAT) => Err(fault(
            "format",
            format.to_string(),
            format!(
                "{FORMAT}, the newest that inferq {} reads",
                env!("CARGO_PKG_VERSION")
            ),
            "run a newer inferq, one whose changelog names this format, or write the package for format 1",
        )),
        _ => Ok(()),
    }
}

/// Checks the values of `document` that are of the right type; the others have been told already.
/// `placed` says that `dir` lies in a repository.
pub(super) fn check(dir: &Path, placed: bool, document: &Value, faults: &mut Vec<PackageFault>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let who = (text("name"), text("version"));
    let unfit = [who.0.and_then(name), who.1.and_then(version)];
    match who {
        (Some(name), Some(version)) if unfit == [None, None] => {
            place(dir, placed, (name, version), faults);
        }
        _ => faults.extend(unfit.into_iter().flatten()),
    }
    for key in ["model", "request_schema", "response_schema"] {
        faults.extend(text(key).and_then(|path| inside(key, path)));
    }
    faults.extend(text("default_reply_to").and_then(reply_to));
    if let Some(Err(spec)) = text("each").map(|each| Pointer::parse(each, "each")) {
        faults.push(PackageFault::spec(MANIFEST, spec));
    }
    let codes = document.get("rejection").and_then(Value::as_object);
    faults.extend(codes.into_iter().flatten().filter_map(|(c, _)| code(c)));
    rows(document, faults);
}

fn fault(
    key: impl Into<String>,
    found: impl Into<String>,
    expected: impl Into<String>,
    mend: impl Into<String>,
) -> PackageFault {
    PackageFault::new(MANIFEST, key, found, expected, mend)
}

fn name(name: &str) -> Option<PackageFault> {
    const EXPECTED: &str = "1 to 64 of a-z, 0-9, _ and -";
    if RESERVED.contains(&name) {
        return Some(fault(
            "name",
            format!("{name:?}"),
            "a name that inferq does not use itself",
            "choose another name",
        ));
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return None;
    }
    let folded: String = name.to_lowercase().replace([' ', '.', '/'], "-");
    let folded: String = folded
        .chars()
        .filter(|c| u8::try_from(*c).is_ok_and(allowed))
        .collect();
    let mend = match folded.len() {
        1..=64 => format!("write {folded:?}"),
        _ => "choose a shorter name of these characters".into(),
    };
    Some(fault("name", rendered(&name.into()), EXPECTED, mend))
}

fn version(version: &str) -> Option<PackageFault> {
    let mut bytes = version.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    (!first || !rest || version.len() > 32).then(|| {
        fault(
            "version",
            rendered(&version.into()),
            "a letter or digit, then up to 31 more of letters, digits, dot, _ and -",
            "write it as \"1.0.0\"",
        )
    })
}

/// In a repository the folders are `<name>/<version>`. A folder of which nobody says that it lies in one is taken for
/// it when it is called after the version, or by something that reads as a version, or lies in one that is called
/// after the name.
fn place(dir: &Path, placed: bool, (name, version): (&str, &str), faults: &mut Vec<PackageFault>) {
    // Names as they are given, for a folder may be linked to, unless they lead up again.
    let leads_up = dir.components().any(|part| part == Component::ParentDir);
    let full = match dir.components().next_back() {
        Some(Component::Normal(_)) if !leads_up => std::path::absolute(dir),
        _ => dir.canonicalize(),
    };
    let Ok(full) = full else { return };
    let last = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let folder = last(&full).unwrap_or_default();
    let parent = full.parent().and_then(last).unwrap_or_default();
    let numbered = folder
        .trim_start_matches('v')
        .split('.')
        .collect::<Vec<_>>();
    let is_version = numbered.len() > 1 && numbered.iter().all(|n| n.parse::<u64>().is_ok());
    if !placed && folder != version && parent != name && !is_version {
        return;
    }
    if folder != version {
        faults.push(fault(
            "version",
            format!("{version:?} in a folder called {folder:?}"),
            "the same in both",
            format!("write version = {folder:?}, or rename the folder to {version:?}"),
        ));
    }
    if parent != name {
        faults.push(fault(
            "name",
            format!("{name:?} in a folder called {parent:?}"),
            "the same in both",
            format!("write name = {parent:?}, or rename the folder to {name:?}"),
        ));
    }
}

/// Whether `path` leads to something in the package's own folder.
pub(super) fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn inside(key: &str, path: &str) -> Option<PackageFault> {
    let hidden = |part: &str| part.starts_with('.') || part == "__pycache__";
    let (expected, mend) = if !is_inside(path) {
        (
            "the name of a file in the package's folder",
            "put the file into the folder and write its name",
        )
    } else if path.split('/').any(hidden) {
        (
            "a name without a dot in front, and not in __pycache__",
            "rename the file: tools hide such names, leave them out of copies and clear them away",
        )
    } else {
        return None;
    };
    Some(fault(key, rendered(&path.into()), expected, mend))
}

fn reply_to(queue: &str) -> Option<PackageFault> {
    is_own(queue).then(|| {
        fault(
            "default_reply_to",
            rendered(&queue.into()),
            "a queue other than \"inferq\" and those whose names begin with \"inferq.\"",
            "name a queue of the consumers' own: those are inferq's",
        )
    })
}

fn code(code: &str) -> Option<PackageFault> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let fine = (1..=64).contains(&code.len()) && code.bytes().all(allowed);
    (!fine).then(|| {
        fault(
            crate::representation::nearest::dotted("rejection", code),
            rendered(&code.into()),
            "a code of 1 to 64 of a-z, 0-9 and _",
            "rename the code here and where it is used",
        )
    })
}

fn rows(document: &Value, faults: &mut Vec<PackageFault>) {
    let number = |pointer: &str| document.pointer(pointer).and_then(Value::as_u64);
    let each = document.get("each").is_some();
    let most = number("/limits/max_rows");
    if let Some(rows) = most.filter(|rows| *rows > 1 && !each) {
        faults.push(fault(
            "limits.max_rows",
            rows.to_string(),
            "1, for without `each` a request is one row",
            "add each = \"/…\", a pointer to the array whose elements become rows, or take max_rows away",
        ));
    }
    let needed = most.unwrap_or(if each { 64 } else { 1 });
    let size = number("/batch/max_size").unwrap_or(64);
    let limit = number("/batch/queue_limit").unwrap_or(4096);
    if limit < needed.max(size) {
        faults.push(fault(
            "batch.queue_limit",
            limit.to_string(),
            format!(
                "at least {}: a whole batch, and every row of one request, must find room",
                needed.max(size)
            ),
            "raise queue_limit, or lower batch.max_size and limits.max_rows",
        ));
    }
}
