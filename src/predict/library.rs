//! Finding and loading ONNX Runtime: one shared library, at run time, once a process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};

use super::{Devices, memory, probe::probe};

/// The library's file name on this platform, as the system's loader knows it.
const FILE: &str = if cfg!(windows) {
    "onnxruntime.dll"
} else if cfg!(target_vendor = "apple") {
    "libonnxruntime.dylib"
} else {
    "libonnxruntime.so"
};

/// What its CUDA build has beside it.
const PROVIDER: &str = if cfg!(windows) {
    "onnxruntime_providers_cuda.dll"
} else {
    "libonnxruntime_providers_cuda.so"
};

/// The loaded ONNX Runtime, and where its sessions run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    environment: Environment,
    version: Arc<str>,
    devices: Devices,
    /// Where those of some packages run instead.
    by_package: Arc<BTreeMap<String, Devices>>,
    /// Whether runs can be held to a limit of memory, or why not.
    limits: Result<(), Arc<str>>,
}

/// Why ONNX Runtime could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryFault {
    /// No such file in any of the places.
    #[error(
        "no ONNX Runtime library found; looked at {}; run `make setup`, or set ORT_DYLIB_PATH or `runtime.library` to the path of {FILE}",
        list(.searched)
    )]
    NotFound {
        /// Where it was looked for, in order.
        searched: Vec<PathBuf>,
    },
    /// The file is there, and the system's loader refuses it.
    #[error(
        "{} cannot be loaded: {reason}; expected an ONNX Runtime library built for this machine; run `make setup`, or set ORT_DYLIB_PATH or `runtime.library`",
        path.display()
    )]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// A library, but of something else.
    #[error(
        "{} is not an ONNX Runtime library: it does not export OrtGetApiBase; run `make setup`, or set ORT_DYLIB_PATH or `runtime.library` to the path of {FILE}",
        path.display()
    )]
    NotOnnxRuntime {
        /// The file.
        path: PathBuf,
    },
    /// An ONNX Runtime whose interface is older than what this program speaks.
    #[error(
        "{} is ONNX Runtime {found}; expected 1.{} or newer; run `make setup`, or set ORT_DYLIB_PATH or `runtime.library` to a newer one",
        path.display(),
        ort::MINOR_VERSION
    )]
    WrongVersion {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// It was loaded and would not start.
    #[error("ONNX Runtime does not start: {reason}")]
    NotStarted {
        /// Its own words.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    shown.join(", ")
}

impl Library {
    /// Loads ONNX Runtime from `path`, else from `$ORT_DYLIB_PATH`, else from where it usually lies.
    ///
    /// A place that somebody named is the only one tried. Later calls return the library that the first
    /// successful one loaded, whatever their `path`: a process holds one ONNX Runtime.
    ///
    /// # Errors
    /// Says where it looked, what it found there, and how to mend it.
    pub fn open(path: Option<&Path>) -> Result<Library, LibraryFault> {
        static LOADED: Mutex<Option<Library>> = Mutex::new(None);

        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*loaded {
            return Ok(library.clone());
        }
        let library = match locate(path)? {
            Place::File(file) => load(&file)?,
            Place::System { searched } => match load(Path::new(FILE)) {
                Err(LibraryFault::NotLoadable { .. }) => Err(LibraryFault::NotFound { searched }),
                loaded => loaded,
            }?,
        };
        Ok(loaded.insert(library).clone())
    }

    /// What the library says of its version: `1.31.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The same, with sessions there: on the processor unless said otherwise.
    #[must_use]
    pub fn on(self, devices: impl Into<Devices>) -> Library {
        let devices = devices.into();
        Library { devices, ..self }
    }

    /// The same, with the sessions of some packages on other devices, by the packages' names.
    #[must_use]
    pub fn with_devices(self, devices: BTreeMap<String, Devices>) -> Library {
        let by_package = Arc::new(devices);
        Library { by_package, ..self }
    }

    /// The same, with sessions where those of this package run.
    #[must_use]
    pub fn of_package(&self, name: &str) -> Library {
        let devices = self.by_package.get(name).unwrap_or(&self.devices);
        self.clone().on(devices.clone())
    }

    /// Where sessions run.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Whether runs can be held to a limit of memory, or why not.
    pub(super) fn limits_memory(&self) -> Result<(), &str> {
        self.limits.as_ref().copied().map_err(|why| &**why)
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// ONNX Runtime's own switch. Without it the library queues facts of the machine below `$HOME/.cache` and sends
/// them to its maker (seen with 1.31.1, whose C API has no other way to decline).
const DISABLE_REPORTS: &str = "ORT_DISABLE_TELEMETRY";

/// Keeps ONNX Runtime from reporting to its maker, for this process and its children.
///
/// # Safety
/// The process has one thread: the environment is changed.
#[expect(
    unsafe_code,
    reason = "the library reads its switch from the environment only"
)]
pub unsafe fn disable_reports() {
    // SAFETY: by this function's own contract nobody reads the environment meanwhile.
    unsafe { std::env::set_var(DISABLE_REPORTS, "1") }
}

/// Whether the library that [`Library::open`] finds at `path` has its CUDA provider beside it. Nothing is loaded.
#[must_use]
pub fn has_cuda(path: Option<&Path>) -> bool {
    match locate(path) {
        Ok(Place::File(file)) => file.with_file_name(PROVIDER).is_file(),
        Ok(Place::System { .. }) | Err(_) => false,
    }
}

/// Where to load from.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    /// Wherever the system's loader finds it; `searched` if it does not.
    System {
        searched: Vec<PathBuf>,
    },
}

fn locate(explicit: Option<&Path>) -> Result<Place, LibraryFault> {
    let env = std::env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty());
    if let Some(named) = explicit.map(PathBuf::from).or(env.map(PathBuf::from)) {
        return absolute(&named).map(Place::File);
    }
    let executable = std::env::current_exe().ok();
    let mut searched = usual_places(executable.as_deref());
    if let Some(found) = searched.iter().find(|candidate| candidate.is_file()) {
        return absolute(found).map(Place::File);
    }
    searched.push(PathBuf::from("the system's library folders"));
    Ok(Place::System { searched })
}

/// ort takes a relative path as relative to the executable, people as relative to where they stand.
fn absolute(path: &Path) -> Result<PathBuf, LibraryFault> {
    let not_found = || LibraryFault::NotFound {
        searched: vec![path.to_path_buf()],
    };
    let absolute = std::path::absolute(path).map_err(|_| not_found())?;
    if absolute.is_file() {
        Ok(absolute)
    } else {
        Err(not_found())
    }
}

fn usual_places(executable: Option<&Path>) -> Vec<PathBuf> {
    let beside = executable.and_then(Path::parent);
    let around = beside.into_iter().flat_map(|folder| {
        let shipped = folder.parent().map(|up| up.join("onnxruntime").join(FILE));
        [Some(folder.join(FILE)), shipped]
    });
    [PathBuf::from("target/onnxruntime").join(FILE)]
        .into_iter()
        .chain(around.flatten())
        .collect()
}

fn load(path: &Path) -> Result<Library, LibraryFault> {
    let (probed, version) = probe(path)?;
    let builder = ort::init_from(path).map_err(|fault| LibraryFault::NotStarted {
        reason: fault.to_string(),
    })?;
    let environment = builder
        .with_name("inferq")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _, _, location, message| {
            log(level, location, message);
        }))
        .build()
        .map_err(|fault| LibraryFault::NotStarted {
            reason: fault.to_string(),
        })?;
    if std::env::var_os(DISABLE_REPORTS).is_none() {
        tracing::warn!(
            "ONNX Runtime may report to its maker; set {DISABLE_REPORTS}=1 before the program starts to decline"
        );
    }
    environment.set_log_level(LogLevel::Warning);
    // ort holds the library open from here on, without `probed`.
    let limits = memory::register(&probed, &environment);
    Ok(Library {
        environment,
        version: version.into(),
        devices: Devices::default(),
        by_package: Arc::default(),
        limits,
    })
}

/// ONNX Runtime's own log. Runs are silent (see `Session`): their messages quote the request.
fn log(level: LogLevel, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => {}
        LogLevel::Warning | LogLevel::Error | LogLevel::Fatal => {
            tracing::warn!(target: "onnxruntime", location, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A shared library that claims to be ONNX Runtime `version`, and has no interface to offer.
    fn pretender(folder: &Path, version: &str) -> PathBuf {
        let (source, library) = (folder.join("pretender.c"), folder.join("pretender.so"));
        let code = format!(
            r#"static const void *api(unsigned v) {{ (void)v; return 0; }}
               static const char *version(void) {{ return "{version}"; }}
               static const struct {{ const void *(*a)(unsigned); const char *(*v)(void); }} base = {{ api, version }};
               const void *OrtGetApiBase(void) {{ return &base; }}"#
        );
        std::fs::write(&source, code).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status()
            .unwrap();
        assert!(built.success());
        library
    }

    #[test]
    fn a_missing_library_is_reported_with_the_place_and_the_mend() {
        let fault = locate(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
        let text = fault.to_string();
        assert!(text.contains("/nowhere/libonnxruntime.so"), "{text}");
        assert!(text.contains("`make setup`"), "{text}");
        assert!(text.contains("ORT_DYLIB_PATH"), "{text}");
    }

    #[test]
    fn the_usual_places_are_the_target_folder_and_those_around_the_executable() {
        let places = usual_places(Some(Path::new("/opt/inferq/bin/inferq")));
        let expected = [
            format!("target/onnxruntime/{FILE}"),
            format!("/opt/inferq/bin/{FILE}"),
            format!("/opt/inferq/onnxruntime/{FILE}"),
        ];
        assert_eq!(places, expected.map(PathBuf::from));
    }

    #[test]
    fn a_file_that_is_no_library_is_not_loadable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, "not a library").unwrap();
        let fault = load(&path).unwrap_err();
        assert!(matches!(fault, LibraryFault::NotLoadable { .. }), "{fault}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_told_apart() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc = maps
            .split_whitespace()
            .find(|word| word.contains("/libc.so") || word.contains("/libc-"))
            .unwrap();
        let fault = load(Path::new(libc)).unwrap_err();
        assert!(
            matches!(fault, LibraryFault::NotOnnxRuntime { .. }),
            "{fault}"
        );
    }

    #[test]
    fn an_old_library_is_refused_with_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let text = load(&pretender(folder.path(), "1.17.3"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("is ONNX Runtime 1.17.3"), "{text}");
        assert!(text.contains("expected 1.24 or newer"), "{text}");
    }

    #[test]
    fn a_library_without_the_interface_it_claims_is_refused_without_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let fault = load(&pretender(folder.path(), "1.99.0")).unwrap_err();
        assert!(
            matches!(fault, LibraryFault::WrongVersion { .. }),
            "{fault}"
        );
    }

    #[test]
    fn the_library_is_loaded_once_and_knows_its_version() {
        let library = crate::predict::testing::library();
        assert!(library.version().starts_with("1."));
        let again = Library::open(Some(Path::new("/nowhere"))).unwrap();
        assert_eq!(again.version(), library.version());
    }

    #[test]
    fn a_package_runs_where_its_name_says_or_where_all_do() {
        let [all, some]: [Devices; 2] =
            ["cuda:0", "cuda:1+cuda:2"].map(|text| text.parse().unwrap());
        let library = crate::predict::testing::library().on(all.clone());
        let library = library.with_devices([("cats".to_owned(), some.clone())].into());
        assert_eq!(library.devices(), &all);
        let of = |name| library.of_package(name).devices().clone();
        assert_eq!((of("cats"), of("fraud")), (some, all));
    }
}
