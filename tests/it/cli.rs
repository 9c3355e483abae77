//! The command line as its users meet it: the real binary, its exit codes and its words.

mod boot;
mod commands;
mod dead;
mod device;
mod profile;
mod score;
mod send;
mod topology;

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::worker::samples;

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: i32,
    out: String,
    err: String,
}

impl Done {
    fn of(output: &Output) -> Done {
        Done {
            code: output.status.code().expect("an exit code, not a signal"),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// It ended with `code`, and its error says each of `parts`.
    #[track_caller]
    fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }

    /// It did what it was asked; its output, a JSON value a line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// `inferq` with `args`, where no configuration lies around; ended after a minute.
fn inferq(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["60", env!("CARGO_BIN_EXE_inferq")])
        .args(args)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_remove("ORT_DYLIB_PATH")
        .stdin(Stdio::null());
    command
}

pub(crate) fn run(args: &[&str]) -> Done {
    Done::of(&inferq(args).output().unwrap())
}

/// Runs it with `input` on standard input.
pub(crate) fn run_with(args: &[&str], input: &[u8]) -> Done {
    let mut command = inferq(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Done::of(&child.wait_with_output().unwrap())
}

/// A sample package's folder.
fn package(name: &str) -> String {
    let dir = samples().join(name).join("1.0.0");
    dir.to_str().unwrap().to_owned()
}

/// A sample request's file.
pub(crate) fn sample(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("compose/samples").join(name);
    file.to_str().unwrap().to_owned()
}

/// A repository with some of the sample packages.
pub(crate) struct Packages(TempDir);

impl Packages {
    pub(crate) fn of(names: &[&str]) -> Packages {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            symlink(samples().join(name), dir.path().join(name)).unwrap();
        }
        Packages(dir)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Adds a changed copy of a sample package: `old` in its manifest becomes `new`.
    pub(crate) fn changed(&self, name: &str, old: &str, new: &str) -> PathBuf {
        let (from, to) = (
            samples().join(name).join("1.0.0"),
            self.0.path().join(name).join("1.0.0"),
        );
        copy(&from, &to);
        let manifest = to.join("package.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(old), "no {old} in {text}");
        fs::write(&manifest, text.replacen(old, new, 1)).unwrap();
        to
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}
