//! A folder becomes a live version, or a list of everything that is wrong with it.

use std::{collections::HashSet, path::Path, sync::Arc};

use crate::{
    batcher::{self, BatchObservation, Batcher, Device, Member, PolicyConfig, Share},
    fault::Fault,
    package::{Package, PackageFault, PackageFiles, Sessions},
    predict::{DeviceId, Library, Session, SessionSpec, SessionThread, inspect},
    telemetry::metrics::PackageMetrics,
};

use super::{
    Live, Tried,
    left_behind::left_behind,
    measure::{Measure, Measuring, Timed, cores},
    plan,
    sizing::sizing,
};

/// Reads the package in `dir`, opens its sessions, and runs its golden examples on one of them. Nothing is measured.
///
/// # Errors
/// Everything that is wrong with it, as far as one fault does not hide another.
pub fn load_package(library: &Library, dir: &Path) -> Result<Live, Vec<PackageFault>> {
    load(library, Package::read(dir)?, Measure::No, alone)
}

/// The same, and measures the package, whatever is kept of it. `watch` hears of each try that this takes, and how many
/// there are at most.
///
/// # Errors
/// As [`load_package`].
pub fn profile_package(
    library: &Library,
    dir: &Path,
    config: &batcher::Config,
    watch: impl Fn(usize) + Send + Sync + 'static,
) -> Result<Live, Vec<PackageFault>> {
    let how = Measure::Anew(config, Arc::new(watch));
    load(library, Package::read(dir)?, how, alone)
}

/// Nobody else wants the device.
fn alone(device: DeviceId, _: &str, own: Share) -> Member {
    shared(device).join(own)
}

/// What the packages on a device share.
pub(super) fn shared(device: DeviceId) -> Device {
    match device {
        DeviceId::Cpu => Device::processor(),
        DeviceId::Cuda(_) => Device::gpu(),
    }
}

/// The same, of a package whose files have been read, and measured where that is asked. It gets what `join` gives it of
/// each device that it runs on, by its name and what its manifest says.
pub(super) fn load(
    library: &Library,
    files: PackageFiles,
    how: Measure<'_>,
    mut join: impl FnMut(DeviceId, &str, Share) -> Member,
) -> Result<Live, Vec<PackageFault>> {
    let model = files.model();
    let signature = inspect(library, &model).map_err(|fault| vec![files.model_fault(&fault)])?;
    let package = Arc::new(files.bind(&signature)?);
    let library = library.of_package(package.name());
    let devices = library.devices().clone();
    let loading = Loading {
        library: &library,
        package: &package,
        fixed: signature.fixed_batch(),
        how,
    };
    let (ready, tried) = loading.ready()?;
    let Ready {
        way,
        sessions,
        policy,
        timed,
        mut warnings,
        ..
    } = ready;
    warnings.splice(0..0, package.doubts());
    let rows_each = package.example_size();
    let mut on_each: Vec<_> = devices
        .all()
        .map(|device| {
            let member = join(device, package.name(), share(device, &package, way));
            (member, Vec::new())
        })
        .collect();
    let count = on_each.len();
    for (place, session) in sessions.into_iter().enumerate() {
        if let Some((_, its)) = on_each.get_mut(place % count) {
            its.push(session);
        }
    }
    let metrics = Arc::new(PackageMetrics::new(package.name()));
    let sizing = sizing(&timed, &package, &metrics);
    metrics.model_loaded(package.version(), &package.digest().to_string(), true);
    let observer = move |observed: BatchObservation| {
        let BatchObservation { rows, run, steps } = observed;
        metrics.ran(rows, (steps.real, steps.padded), run);
    };
    let batcher = Batcher::start(
        package.name(),
        policy,
        sizing,
        package.limits().run,
        on_each,
        observer,
    );
    Ok(Live {
        package,
        batcher,
        rows_each,
        devices,
        sessions: way,
        tried,
        curve: timed.curve,
        whole: timed.whole,
        warnings,
    })
}

/// A package on its way to be live.
struct Loading<'a> {
    library: &'a Library,
    package: &'a Arc<Package>,
    /// The rows that every run has, where the model says so.
    fixed: Option<usize>,
    how: Measure<'a>,
}

/// Sessions that have run the golden examples.
struct Ready {
    way: Sessions,
    sessions: Vec<SessionThread>,
    /// Most rows that may run together.
    max_size: usize,
    policy: PolicyConfig,
    timed: Timed,
    warnings: Vec<String>,
}

impl Loading<'_> {
    /// Sessions as the manifest wants them; where it says nothing, one of one core, or what is better here. And what each
    /// way had, where several were tried.
    fn ready(&self) -> Result<(Ready, Vec<Tried>), Vec<PackageFault>> {
        let package = self.package;
        let said = package.sessions();
        let is_open = said.is_none() && self.library.devices().first() == DeviceId::Cpu;
        let ways = if is_open && self.how.measures() {
            let counted = package.limits().run_memory.is_some();
            plan::ways(cores(), package.bytes(), counted)
        } else {
            Vec::new()
        };
        let one = said.unwrap_or_default();
        let all = 1 + ways.len();
        let mut taken = self.of(self.measuring(one, all))?;
        let Some(single) = taken.timed.throughput(one) else {
            let why = "not tried, as one session was not timed at every size";
            let untried = ways.into_iter().map(|way| (way, Err(why.to_owned())));
            return Ok((taken, untried.collect()));
        };
        let (mut best, mut left) = (single, taken.timed.left);
        let mut tried = vec![(one, Ok(single))];
        for way in ways {
            let measuring = Measuring {
                left,
                max_size: taken.max_size,
                ..self.measuring(way, all)
            };
            let is_better = move |throughput| plan::is_better(way, throughput, best, single);
            let known = measuring.known(&self.how);
            let throughput = if let Some(known) = known.filter(|known| !is_better(*known)) {
                Ok(known)
            } else if known.is_none() && left.is_none() {
                Err("no time was left to measure it, now or when the other was measured; raise appetite.measure_ms, and remove what appetite.state_dir keeps of the package".to_owned())
            } else {
                self.of(measuring)
                    .map_err(|faults| told(&faults))
                    .and_then(|ready| {
                        left = ready.timed.left;
                        let throughput = ready.timed.throughput(way);
                        let throughput = throughput.ok_or_else(|| ready.warnings.join("; "))?;
                        if is_better(throughput) {
                            (taken, best) = (ready, throughput);
                        }
                        Ok(throughput)
                    })
            };
            tried.push((way, throughput));
        }
        Ok((taken, tried))
    }

    fn measuring(&self, way: Sessions, ways: usize) -> Measuring<'_> {
        Measuring {
            library: self.library,
            package: self.package,
            way,
            ways,
            left: None,
            fixed: self.fixed,
            max_size: self.package.batch().max_size,
        }
    }

    /// Opens sessions, runs the golden examples on the first, and times them all.
    fn of(&self, mut measuring: Measuring<'_>) -> Result<Ready, Vec<PackageFault>> {
        let (library, package, way) = (self.library, self.package, measuring.way);
        let model = &package.manifest().model;
        let broken = |fault| vec![broken(model, &fault)];
        let spec = SessionSpec {
            model: package.model(),
            threads: way.threads,
            max_size: package.batch().max_size,
            run_memory: package.limits().run_memory,
            longest: Some(package.layout().longest()).filter(|longest| *longest > 0),
            device: library.devices().first(),
            outputs: package
                .decision()
                .outputs()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        // Of several devices each has as many, in turn.
        let each = (0..way.count).flat_map(|_| library.devices().all());
        let open = |device| {
            let spec = SessionSpec {
                device,
                ..spec.clone()
            };
            SessionThread::spawn(library, package.name(), spec).map_err(|fault| match device {
                DeviceId::Cpu => fault,
                DeviceId::Cuda(_) => Fault {
                    detail: format!("on {device}: {}", fault.detail),
                    ..fault
                },
            })
        };
        let sessions: Result<Vec<_>, _> = each.map(open).collect();
        let sessions = sessions.map_err(broken)?;
        let mut policy = PolicyConfig {
            max_size: package.batch().max_size,
            max_delay: package.batch().max_delay(),
            queue_limit: package.batch().queue_limit,
        };
        let mut warnings = Vec::new();
        if let Some(fixed) = self.fixed.filter(|n| *n > policy.max_size) {
            warnings.push(format!(
                "{model}: every run has {fixed} rows, of which batch.max_size = {} are used at most; export it with a dynamic first axis, or raise max_size",
                policy.max_size
            ));
        }
        // The first of each device.
        for (session, device) in sessions.iter().zip(library.devices().all()) {
            let rehearsed = Arc::clone(package);
            let verdict = session.call(move |session| {
                let verdict = rehearsed.rehearse(|rows| session.run_together(rows))?;
                Ok::<_, Vec<PackageFault>>((verdict, longest_fails(&rehearsed, session)))
            });
            let (verdict, longest) = verdict.map_err(broken)??;
            warnings.extend(longest);
            if device != DeviceId::Cpu {
                let left = session.call(|session| session.on_processor());
                warnings.extend(left_behind(model, device, left.map_err(broken)?));
            }
            if let Some(sensitive) = verdict {
                policy.max_size = 1;
                let mut each = sessions.iter();
                each.try_for_each(|session| session.call(Session::never_pad))
                    .map_err(broken)?;
                warnings.push(sensitive.to_string());
            }
        }
        // Several devices say the same.
        let mut told = HashSet::new();
        warnings.retain(|warning| told.insert(warning.clone()));
        let max_size = policy.max_size;
        measuring.max_size = max_size;
        let timed = measuring.time(self.how.clone(), &sessions, &mut warnings);
        policy.max_size = timed.most;
        Ok(Ready {
            way,
            sessions,
            max_size,
            policy,
            timed,
            warnings,
        })
    }
}

/// What a package's manifest asks of the device.
fn share(device: DeviceId, package: &Package, way: Sessions) -> Share {
    Share {
        weight: package.share().weight,
        latency: package.share().latency(),
        cores: match device {
            DeviceId::Cpu => way.threads,
            DeviceId::Cuda(_) => 1,
        },
    }
}

/// What is to be said where a model does not run sequences that its manifest allows.
fn longest_fails(package: &Package, session: &mut Session) -> Option<String> {
    let longest = package.layout().longest();
    if longest == 0 {
        return None;
    }
    let row = package.layout().row(longest);
    let fault = session.run(&[&row]).err()?;
    Some(format!(
        "{}: sequences of longest = {longest} zeros do not run ({fault}): requests as long as that may all fail; write the most that the model takes, or, if zeros are what it does not take, let be",
        package.manifest().model
    ))
}

fn told(faults: &[PackageFault]) -> String {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

/// A model that ONNX Runtime does not open or run.
fn broken(file: &str, fault: &Fault) -> PackageFault {
    PackageFault::new(
        file,
        "",
        fault.detail.clone(),
        "a model that ONNX Runtime opens and runs",
        "export it again, and try it with the onnxruntime package for Python",
    )
}
