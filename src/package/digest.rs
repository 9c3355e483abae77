//! What a package version *is*: SHA-256 over every file in its folder.
//!
//! The hash runs over `inferq package 1\0` and then, for each file in the order of the bytes of its path, the path's
//! length, the path (relative, `/` between names), the content's length and the content; lengths are 64-bit little
//! endian. External data of a model, tokenizers and the README are files like any other, and so are those whose names
//! begin with a dot, for a model may name them. Left out is only what tools are known to leave behind. Links are
//! refused: what they lead to is not the package's own, and can change under it.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::fault::PackageFault;

/// Folders within folders, at most.
const MAX_DEPTH: usize = 16;

/// Files of a package, at most.
const MAX_FILES: usize = 10_000;

/// What tools leave behind, by the whole name.
const LEFT_BEHIND: [&str; 9] = [
    ".DS_Store",
    ".directory",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".gitkeep",
    ".idea",
    ".ipynb_checkpoints",
    ".vscode",
];

/// Whether `name`, in a folder whose path is `folder`, is what a tool leaves behind and no part of the package.
fn is_left_behind(folder: &str, name: &str) -> bool {
    let in_cache = folder.rsplit('/').next() == Some("__pycache__");
    let compiled = Path::new(name).extension() == Some("pyc".as_ref());
    let swap = name.starts_with('.') && Path::new(name).extension() == Some("swp".as_ref());
    let marked = ["._", ".#", ".nfs"];
    LEFT_BEHIND.contains(&name)
        || swap
        || in_cache && compiled
        || marked.iter().any(|mark| name.starts_with(mark))
}

/// SHA-256 of a package's files; prints in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of the package in `dir`, and the bytes of all its files.
pub(super) fn digest(dir: &Path) -> Result<(Digest, u64), Vec<PackageFault>> {
    let mut listing = Listing::default();
    listing.folder(dir, "", 0);
    let Listing { mut files, faults } = listing;
    if !faults.is_empty() {
        return Err(faults);
    }
    files.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(b"inferq package 1\0");
    let mut bytes = 0;
    for name in &files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        bytes += content(&dir.join(name), &mut hash)
            .map_err(|fault| vec![PackageFault::told(name, "", fault, "")])?;
    }
    Ok((Digest(hash.finalize().into()), bytes))
}

/// Hashes a file's length, which it gives, and content, a piece at a time: models can be large.
fn content(path: &Path, hash: &mut Sha256) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    hash.update(length.to_le_bytes());
    let mut piece = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let n = file.read(&mut piece)?;
        let Some(read) = piece.get(..n).filter(|read| !read.is_empty()) else {
            break;
        };
        hash.update(read);
        total += read.len() as u64;
    }
    if total == length {
        Ok(length)
    } else {
        Err(io::Error::other("it changed while it was read"))
    }
}

#[derive(Default)]
struct Listing {
    files: Vec<String>,
    faults: Vec<PackageFault>,
}

impl Listing {
    fn refuse(&mut self, name: &str, found: &str, expected: &str, mend: &str) {
        let fault = PackageFault::new(name, "", found, expected, mend);
        self.faults.push(fault);
    }

    fn told(&mut self, name: &str, fault: &io::Error) {
        self.faults.push(PackageFault::told(name, "", fault, ""));
    }

    /// Adds what lies in `dir`, whose path within the package is `prefix`.
    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) {
        let folder = if prefix.is_empty() { "." } else { prefix };
        if depth > MAX_DEPTH || self.files.len() > MAX_FILES {
            return self.refuse(
                folder,
                "too many files or folders",
                "a package of at most 10000 files, 16 folders deep",
                "keep training data and environments outside the package's folder",
            );
        }
        let entries = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(fault) => return self.told(folder, &fault),
        };
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                self.refuse(
                    folder,
                    "a file name that is not UTF-8",
                    "UTF-8",
                    "rename the file",
                );
                continue;
            };
            if is_left_behind(prefix, &name) {
                continue;
            }
            let path = match prefix {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.folder(&entry.path(), &path, depth + 1),
                Ok(kind) if kind.is_file() => self.files.push(path),
                Ok(kind) => self.refuse(
                    &path,
                    if kind.is_symlink() {
                        "a symbolic link"
                    } else {
                        "neither a file nor a folder"
                    },
                    "a file of the package's own",
                    "put a copy of the file here",
                ),
                Err(fault) => self.told(&path, &fault),
            }
        }
    }
}
