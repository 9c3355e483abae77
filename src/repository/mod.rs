//! The model repository: packages in folders, loaded whole or not at all.
//!
//! A repository is a directory `<name>/<version>/package.toml`, whose manifests say the name and version of their
//! folders. Every version found is loaded, its golden
//! examples are run, and only then is it live; the highest version answers requests that pin none.

mod company;
mod left_behind;
mod listing;
mod load;
mod measure;
mod plan;
mod sizing;
mod version;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    batcher::{self, Batcher, curve::Curve},
    message::rejection::{Code, Rejection, Stage},
    package::{Package, PackageFault, Sessions},
    predict::{Devices, Library},
};

use listing::Listing;
pub use listing::{list, newest};
use load::load;
pub use load::{load_package, profile_package};
use measure::Measure;

/// A way to run sessions, and the rows a second that all of them had, or why that is not known.
pub type Tried = (Sessions, Result<f64, String>);

/// One live version of one package: what a request needs from resolve to decide, all of one piece.
#[derive(Debug)]
pub struct Live {
    /// The package, immutable.
    pub package: Arc<Package>,
    /// Its rows wait here for the device.
    pub batcher: Batcher,
    /// The most rows that one of its golden examples makes.
    pub rows_each: usize,
    /// Where its sessions run.
    pub devices: Devices,
    /// How they run.
    pub sessions: Sessions,
    /// The ways to run them that were tried, where the manifest names none.
    pub tried: Vec<Tried>,
    /// How long so many rows take, where that was measured, at load or before: of every size, or of those that ran
    /// until the time was up.
    pub curve: Option<Curve>,
    /// Whether that is every size.
    pub whole: bool,
    /// What its author should know, although it is live.
    pub warnings: Vec<String>,
}

impl Live {
    /// Most rows that run together now: the best size as measured, and as live batches have shown it since; the
    /// package's own where nothing was measured; or 1 where rows would change each other.
    #[must_use]
    pub fn max_size(&self) -> usize {
        self.batcher.max_size()
    }
}

/// A package that did not go live.
#[derive(Debug)]
pub struct Refused {
    /// Its directory.
    pub dir: PathBuf,
    /// Everything that is wrong with it.
    pub faults: Vec<PackageFault>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dir.display())?;
        let mut faults = self.faults.iter();
        faults.try_for_each(|fault| write!(f, ": {fault}"))
    }
}

/// All live packages.
#[derive(Debug)]
pub struct Repository {
    library: Library,
    packages: BTreeMap<Arc<str>, Vec<Arc<Live>>>,
    refused: Vec<Refused>,
}

/// Why a directory is no repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryFault {
    /// It cannot be listed.
    #[error(
        "repository {dir}: cannot be read ({source}); give the folder that holds <name>/<version>/package.toml"
    )]
    Unreadable {
        /// The directory asked for.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing in it looks like a package.
    #[error(
        "repository {dir}: no package found{beside}; expected <name>/<version>/package.toml below it"
    )]
    Empty {
        /// The directory asked for.
        dir: PathBuf,
        /// The first of what is there instead, or nothing.
        beside: String,
    },
}

impl Repository {
    /// A repository without packages.
    #[must_use]
    pub fn new(library: Library) -> Repository {
        Repository {
            library,
            packages: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// The ONNX Runtime that runs all packages.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Loads every package below `dir`, and measures it as `appetite` says. A broken one, or a folder that cannot be
    /// read or holds none, is kept in [`Repository::refused`] and stops no other.
    ///
    /// # Errors
    /// When `dir` cannot be listed or holds no package at all.
    pub fn open(
        library: Library,
        dir: &Path,
        appetite: &batcher::Config,
    ) -> Result<Repository, RepositoryFault> {
        let Listing { packages, refused } =
            Listing::of(dir).map_err(|source| RepositoryFault::Unreadable {
                dir: dir.to_owned(),
                source,
            })?;
        if packages.is_empty() {
            let first = refused.first();
            let beside = first.map_or(String::new(), |refused| format!(" ({refused})"));
            let dir = dir.to_owned();
            return Err(RepositoryFault::Empty { dir, beside });
        }
        let mut repository = Repository::new(library);
        repository.refused = refused;
        let mut devices = BTreeMap::new();
        for dir in packages {
            let join = |device, name: &str, own| {
                let shared = devices.entry(device);
                let shared = shared.or_insert_with(|| load::shared(device));
                shared.join(appetite.share(name, own))
            };
            let how = Measure::UnlessKept(appetite);
            let loaded =
                Package::placed(&dir).and_then(|files| load(&repository.library, files, how, join));
            match loaded {
                Ok(live) => repository.add(live),
                Err(faults) => repository.refused.push(Refused { dir, faults }),
            }
        }
        Ok(repository)
    }

    /// Makes a loaded version available, in the place of one that has its name and version.
    pub fn add(&mut self, live: Live) {
        let versions = self
            .packages
            .entry(Arc::from(live.package.name()))
            .or_default();
        versions.retain(|other| other.package.version() != live.package.version());
        versions.push(Arc::new(live));
        versions.sort_by(|a, b| version::compare(a.package.version(), b.package.version()));
    }

    /// The version that answers a request: the pinned one, else the highest.
    ///
    /// # Errors
    /// `unknown_package` and `unknown_version`, each with what there is instead.
    pub fn resolve(&self, package: &str, pin: Option<&str>) -> Result<&Arc<Live>, Rejection> {
        let versions = self
            .packages
            .get(package)
            .ok_or_else(|| self.unknown_package(package))?;
        let found = match pin {
            None => versions.last(),
            Some(pin) => versions.iter().find(|live| live.package.version() == pin),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = versions.iter().map(|live| live.package.version()).collect();
            let detail = format!(
                "header inferq-version asks for a version of {package} that is not deployed; deployed: {}; pin one of them, or leave the header out for the highest",
                known.join(", ")
            );
            Rejection::new(Code::UnknownVersion, Stage::Resolve, detail)
        })
    }

    /// What a requester is told whose package is not here.
    #[must_use]
    pub fn unknown_package(&self, package: &str) -> Rejection {
        let nearest = self
            .names()
            .map(|name| (strsim::damerau_levenshtein(name, package), name))
            .min()
            .filter(|(distance, _)| *distance <= 3);
        let hint = nearest.map_or(String::new(), |(_, name)| {
            format!(" (did you mean {name}?)")
        });
        let detail = format!(
            "the routing key names no deployed package{hint}; publish to the exchange inferq with the package's name as routing key"
        );
        Rejection::new(Code::UnknownPackage, Stage::Resolve, detail)
    }

    /// Names of all live packages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(AsRef::as_ref)
    }

    /// Every live version of every package.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.packages.values().flatten()
    }

    /// What was found and did not go live, with the reasons.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
}
