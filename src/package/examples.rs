//! The folder of the golden examples: which files are examples, and which only seem to be.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{fault::PackageFault, golden::FOLDER};

/// What stands at the end of a name that was to be an example's.
const LIKE_JSON: [&str; 7] = ["json", "jsn", "jso", "js", "json5", "jsonl", "ndjson"];

/// The examples of the package in `dir`, by their paths in it, sorted. Files that look like examples and would be
/// passed over are faults.
///
/// # Errors
/// The folder is there and cannot be listed.
pub(super) fn list(
    dir: &Path,
    faults: &mut Vec<PackageFault>,
) -> Result<Vec<String>, PackageFault> {
    let (mut examples, mut folders) = (Vec::new(), Vec::new());
    for (name, path) in entries(dir, FOLDER)? {
        let file = format!("{FOLDER}/{name}");
        if path.is_dir() {
            folders.push(file);
        } else if Path::new(&name).extension() == Some("json".as_ref()) {
            examples.push(file);
        } else if is_like_json(&name) {
            faults.push(overlooked(file, "a file whose name does not end in .json"));
        }
    }
    for folder in folders {
        for (name, path) in entries(dir, &folder)? {
            if path.is_file() && is_like_json(&name) {
                faults.push(overlooked(
                    format!("{folder}/{name}"),
                    "a file in a folder of its own",
                ));
            }
        }
    }
    examples.sort_unstable();
    Ok(examples)
}

/// What lies in `folder` of the package in `dir`, except for hidden names; nothing where it is not there.
fn entries(dir: &Path, folder: &str) -> Result<Vec<(String, PathBuf)>, PackageFault> {
    let listed = fs::read_dir(dir.join(folder)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = match listed {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => {
            return Err(PackageFault::new(
                folder,
                "",
                format!("something that cannot be listed ({fault})"),
                "a folder of golden examples that inferq's user may read",
                "make it a folder, and give that user the right to read it",
            ));
        }
    };
    let named = entries.into_iter().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        (!name.starts_with('.')).then(|| (name, entry.path()))
    });
    Ok(named.collect())
}

fn is_like_json(name: &str) -> bool {
    let end = Path::new(name).extension().unwrap_or_default();
    LIKE_JSON.iter().any(|like| end.eq_ignore_ascii_case(like))
}

fn overlooked(file: String, found: &str) -> PackageFault {
    PackageFault::new(
        file,
        "",
        found,
        "an example as golden/<name>.json",
        "rename it or move it there; it would not be tried",
    )
}
