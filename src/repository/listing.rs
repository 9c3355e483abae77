//! What lies in a repository's folder: packages, and what only looks like one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Refused, version};
use crate::package::{MANIFEST, Package, PackageFault};

/// What file systems put where they are mounted.
const LOST_AND_FOUND: &str = "lost+found";

/// The folders in a repository, `<name>/<version>`.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those with a manifest, sorted.
    pub(super) packages: Vec<PathBuf>,
    /// Those without, and those that cannot be read.
    pub(super) refused: Vec<Refused>,
}

/// The directories `<dir>/<name>/<version>` that hold a `package.toml`, sorted. Names that begin with a dot are
/// passed over, for tools put there what is not ready or not theirs to serve; so is `lost+found`.
///
/// # Errors
/// `dir` cannot be listed.
pub fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(Listing::of(dir)?.packages)
}

/// The folder of a package's highest version, whether or not it can be read.
#[must_use]
pub fn newest(dir: &Path, package: &str) -> Option<PathBuf> {
    let version = |dir: &PathBuf| {
        dir.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let versions = subdirectories(&dir.join(package)).ok()?.into_iter();
    let versions = versions.filter(|dir| is_there(&dir.join(MANIFEST)));
    versions.max_by(|a, b| {
        let (a, b) = (
            version(a).unwrap_or_default(),
            version(b).unwrap_or_default(),
        );
        version::compare(&a, &b)
    })
}

impl Listing {
    pub(super) fn of(dir: &Path) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for name in subdirectories(dir)? {
            if is_there(&name.join(MANIFEST)) {
                listing.refuse(name, misplaced());
                continue;
            }
            match subdirectories(&name) {
                Ok(versions) => versions.into_iter().for_each(|dir| listing.version(dir)),
                Err(fault) => listing.refuse(name, unreadable(&fault)),
            }
        }
        listing.packages.sort();
        Ok(listing)
    }

    fn version(&mut self, dir: PathBuf) {
        if is_there(&dir.join(MANIFEST)) {
            return self.packages.push(dir);
        }
        match fs::read_dir(&dir) {
            Ok(_) => {
                let fault = Package::without_manifest(&dir);
                self.refuse(dir, fault);
            }
            Err(fault) => self.refuse(dir, unreadable(&fault)),
        }
    }

    fn refuse(&mut self, dir: PathBuf, fault: PackageFault) {
        let faults = vec![fault];
        self.refused.push(Refused { dir, faults });
    }
}

/// Whether something is called so: what it is, is for the package's reader to judge.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn unreadable(fault: &io::Error) -> PackageFault {
    PackageFault::new(
        ".",
        "",
        format!("a folder that cannot be listed ({fault})"),
        "one that inferq's user may read",
        "give that user the right to read and enter it, or move it out of the repository",
    )
}

fn misplaced() -> PackageFault {
    PackageFault::new(
        MANIFEST,
        "",
        "a manifest in a folder that stands for a name",
        "<name>/<version>/package.toml",
        "move the package into a folder of its own below this one, called after its version",
    )
}

fn subdirectories(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let passed_over = |name: &str| name.starts_with('.') || name == LOST_AND_FOUND;
    let mut found: Vec<_> = entries
        .into_iter()
        .filter(|entry| !passed_over(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listing: &Listing, root: &Path) -> Vec<String> {
        let told = |refused: &Refused| {
            let place = refused
                .dir
                .strip_prefix(root)
                .unwrap()
                .display()
                .to_string();
            format!("{place}: {}", refused.faults[0])
        };
        listing.refused.iter().map(told).collect()
    }

    #[test]
    fn folders_without_a_package_are_refused_and_those_of_tools_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| fs::create_dir_all(root.path().join(name)).unwrap();
        let file = |name: &str| fs::write(root.path().join(name), "").unwrap();
        for name in [
            "fraud/1.0.0",
            "fraud/1.1.0",
            "digits/2.0.0",
            "flat/golden",
            ".git/x",
            "fraud/.staging",
            "lost+found/a",
        ] {
            dir(name);
        }
        for name in [
            "fraud/1.0.0/package.toml",
            "fraud/1.1.0/Package.toml",
            "fraud/README.md",
            "flat/package.toml",
            ".git/x/package.toml",
            "fraud/.staging/package.toml",
            "lost+found/a/package.toml",
        ] {
            file(name);
        }
        let listing = Listing::of(root.path()).unwrap();
        assert_eq!(listing.packages, [root.path().join("fraud/1.0.0")]);
        let told = told(&listing, root.path());
        for (told, words) in told.iter().zip([
            "digits/2.0.0: package.toml: found nothing, expected a file; add the file",
            "flat: package.toml: found a manifest in a folder that stands for a name",
            "fraud/1.1.0: package.toml: found nothing, expected a file; rename \"Package.toml\"",
        ]) {
            assert!(told.starts_with(words), "{told}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
