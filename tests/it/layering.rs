//! The house keeps its order: imports point down, and every foreign crate has one home.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Top to bottom; a module imports only what stands further right.
const ORDER: [&str; 23] = [
    "main",
    "cli",
    "worker",
    "config",
    "intake",
    "admin",
    "engine",
    "repository",
    "batcher",
    "package",
    "predict",
    "hooks",
    "decision",
    "representation",
    "fault",
    "broker",
    "duplicates",
    "message",
    "tensor",
    "features",
    "telemetry",
    "failpoint",
    "",
];

/// A crate and the only module that may name it.
const HOMES: [(&str, &str); 6] = [
    ("lapin", "broker"),
    ("async_rs", "broker"),
    ("deadpool_redis", "duplicates"),
    ("redis", "duplicates"),
    ("ort", "predict"),
    ("cudarc", "predict"),
];

/// Modules that own no clock and no channel.
const PURE: [&str; 6] = [
    "src/decision",
    "src/representation",
    "src/message",
    "src/tensor.rs",
    "src/batcher/curve.rs",
    "src/batcher/policy.rs",
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below `src` with its path from the top and its code, tests and comments left out.
fn code() -> Vec<(String, String)> {
    let files = sources(&root().join("src")).into_iter();
    files
        .filter(|path| !path.components().any(|c| c.as_os_str() == "tests"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, untested(&text))
        })
        .collect()
}

/// What is neither a comment nor a module of tests at the file's end; `mod tests;` may stand anywhere.
fn untested(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The module a file belongs to: the folder or file name right below `src`.
fn module(file: &str) -> String {
    let below = file.strip_prefix("src/").unwrap();
    below
        .split('/')
        .next()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

fn rank(module: &str) -> usize {
    ORDER
        .iter()
        .position(|m| *m == module)
        .unwrap_or_else(|| panic!("src/{module} has no place in the house: see ARCHITECTURE.md"))
}

/// Every word of `code` that follows `prefix` and names a path segment.
fn names_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        // A longer name, or a string: log targets are named after crates.
        if before.is_some_and(|c| c.is_alphanumeric() || "_$\"".contains(c)) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(top_level(group));
        } else {
            names.extend(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next(),
            );
        }
    }
    names
}

/// The first segments of a `{a::b, c::{d, e}}` group, given from after its opening brace.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..at].trim();
                names.extend(
                    item.split(|c: char| !c.is_alphanumeric() && c != '_')
                        .next(),
                );
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn imports_point_only_down_the_house() {
    let mut wrong = Vec::new();
    for (file, code) in code() {
        let from = module(&file);
        if from == "lib" {
            continue;
        }
        let prefix = if from == "main" {
            "inferq::"
        } else {
            "crate::"
        };
        for to in names_after(&code, prefix) {
            if to != from && rank(to) <= rank(&from) {
                wrong.push(format!("{file} ({from}) imports {to}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_foreign_crate_with_a_home_stays_there() {
    let mut wrong = Vec::new();
    for (file, code) in code() {
        for (name, home) in HOMES {
            if module(&file) != home && !names_after(&code, &format!("{name}::")).is_empty() {
                wrong.push(format!("{file} names {name}"));
            }
        }
        if PURE.iter().any(|pure| file.starts_with(pure)) && code.contains("tokio") {
            wrong.push(format!("{file} names tokio"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let mut files = sources(&root().join("src"));
    files.extend(sources(&root().join("tests")));
    files.extend(sources(&root().join("benches")));
    let long: Vec<_> = files
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > 400)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_checker_sees_a_planted_upward_import() {
    let code = "use crate::{\n    broker::{Delivery, x},\n    engine::Engine,\n};\nfn f() { crate::cli::run() }";
    assert_eq!(names_after(code, "crate::"), ["broker", "engine", "cli"]);
    assert!(rank("engine") < rank("broker") && rank("broker") < rank("message"));
}

#[test]
fn the_checker_reads_on_behind_a_declaration_of_tests() {
    let file = "#[cfg(test)]\nmod tests;\n// use crate::admin;\nuse crate::cli::run;\n#[cfg(test)]\nmod tests {\n    use crate::worker;\n}";
    assert_eq!(names_after(&untested(file), "crate::"), ["cli"]);
}
