//! A folder becomes a live version, or a list of everything that is wrong with it.

use std::{path::Path, sync::Arc};

use crate::{
    batcher::{self, BatchObservation, Batcher, Device, Member, PolicyConfig, Share, Sizing},
    fault::Fault,
    package::{Package, PackageFault, PackageFiles},
    predict::{DeviceId, Library, Session, SessionSpec, SessionThread, inspect},
    telemetry::metrics::PackageMetrics,
};

use super::{
    Live,
    measure::{Measure, Measuring},
    sizing::sizing,
};

/// Reads the package in `dir`, opens its sessions, and runs its golden examples on one of them. Nothing is measured.
///
/// # Errors
/// Everything that is wrong with it, as far as one fault does not hide another.
pub fn load_package(library: &Library, dir: &Path) -> Result<Live, Vec<PackageFault>> {
    load(library, Package::read(dir)?, Measure::No, alone(library))
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
    watch: impl FnMut(usize) + Send + 'static,
) -> Result<Live, Vec<PackageFault>> {
    let how = Measure::Anew(config, Box::new(watch));
    load(library, Package::read(dir)?, how, alone(library))
}

/// Nobody else wants the device.
fn alone(library: &Library) -> impl FnOnce(&str, Share) -> Member {
    let device = device_of(library);
    move |_, own| device.join(own)
}

/// What the packages share.
pub(super) fn device_of(library: &Library) -> Device {
    match library.device() {
        DeviceId::Cpu => Device::processor(),
        DeviceId::Cuda(_) => Device::gpu(),
    }
}

/// The same, of a package whose files have been read, and measured where that is asked. It gets what `join` gives it of
/// a device, by its name and what its manifest says.
pub(super) fn load(
    library: &Library,
    files: PackageFiles,
    how: Measure<'_>,
    join: impl FnOnce(&str, Share) -> Member,
) -> Result<Live, Vec<PackageFault>> {
    let model = files.model();
    let signature = inspect(library, &model).map_err(|fault| vec![files.model_fault(&fault)])?;
    let package = Arc::new(files.bind(&signature)?);
    let spec = SessionSpec {
        model,
        threads: package.sessions().threads,
        max_size: package.batch().max_size,
        run_memory: package.limits().run_memory,
        longest: Some(package.layout().longest()).filter(|longest| *longest > 0),
        device: library.device(),
        outputs: package
            .decision()
            .outputs()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    };
    let open = |_| SessionThread::spawn(library, package.name(), spec.clone());
    let sessions = (0..package.sessions().count)
        .map(open)
        .collect::<Result<Vec<_>, _>>();
    let sessions = sessions.map_err(|fault| vec![broken(&package.manifest().model, &fault)])?;

    let mut policy = PolicyConfig {
        max_size: package.batch().max_size,
        max_delay: package.batch().max_delay(),
        queue_limit: package.batch().queue_limit,
    };
    let mut warnings = package.doubts();
    if let Some(fixed) = signature.fixed_batch().filter(|n| *n > policy.max_size) {
        warnings.push(format!(
            "{}: every run has {fixed} rows, of which batch.max_size = {} are used at most; export it with a dynamic first axis, or raise max_size",
            package.manifest().model,
            policy.max_size
        ));
    }
    let mut timed = None;
    if let Some(session) = sessions.first() {
        let rehearsed = Arc::clone(&package);
        let verdict = session.call(move |session| {
            let verdict = rehearsed.rehearse(|rows| session.run_together(rows))?;
            Ok::<_, Vec<PackageFault>>((verdict, longest_fails(&rehearsed, session)))
        });
        let (verdict, longest) =
            verdict.map_err(|fault| vec![broken(&package.manifest().model, &fault)])??;
        warnings.extend(longest);
        if let Some(sensitive) = verdict {
            policy.max_size = 1;
            let never_pad = sessions
                .iter()
                .try_for_each(|session| session.call(Session::never_pad));
            never_pad.map_err(|fault| vec![broken(&package.manifest().model, &fault)])?;
            warnings.push(sensitive.to_string());
        }
        let measuring = Measuring {
            library,
            package: &package,
            session,
            max_size: policy.max_size,
        };
        let found = measuring.time(how, &mut warnings);
        policy.max_size = found.most;
        timed = Some(found);
    }
    let rows_each = package.example_size();
    let member = join(package.name(), share(library, &package));
    let metrics = Arc::new(PackageMetrics::new(package.name()));
    let sizing = match &timed {
        Some(timed) => sizing(timed, &package, &metrics),
        None => Sizing::default(),
    };
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
        sessions,
        member,
        observer,
    );
    Ok(Live {
        package,
        batcher,
        rows_each,
        curve: timed
            .filter(|timed| timed.whole)
            .and_then(|timed| timed.curve),
        warnings,
    })
}

/// What a package's manifest asks of the device.
fn share(library: &Library, package: &Package) -> Share {
    Share {
        weight: package.share().weight,
        latency: package.share().latency(),
        cores: match library.device() {
            DeviceId::Cpu => package.sessions().threads,
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
