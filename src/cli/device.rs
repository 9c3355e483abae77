//! Which device a command runs models on.
//!
//! What is there is tried in a child: a driver that is broken may end the process that loads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};

use super::{Failed, config, output};
use crate::{
    config::Config,
    predict::{DeviceChoice, DeviceId, Devices, Library, has_cuda, try_device},
};

/// A trial that takes longer does not end: a GPU is up in seconds, and its libraries are read from disk before.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command of the child.
pub(super) const TRY: &str = "try-device";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The device.
    device: DeviceId,
}

/// ONNX Runtime, on the device that the configuration asks for.
pub(super) fn library(config: &Config) -> Result<Library, Failed> {
    let mut runtime = config.runtime.clone();
    runtime.device = DeviceChoice::Only(settle(config, |told| {
        output::note(format_args!("{told}"));
    })?);
    runtime
        .open()
        .map_err(|fault| Failed::Unavailable(fault.into()))
}

/// The devices that the configuration asks for, once a trial run works there and on those that some packages have
/// instead. `tell` hears why it is none other.
pub(super) fn settle(config: &Config, tell: impl FnOnce(&str)) -> Result<Devices, Failed> {
    let devices = settle_default(config, tell)?;
    let others = config.runtime.devices();
    let others = others.map_err(|fault| Failed::Usage(fault.into()))?;
    let mut by_device: BTreeMap<DeviceId, Vec<String>> = BTreeMap::new();
    for (package, others) in others {
        for other in others.all() {
            by_device.entry(other).or_default().push(package.clone());
        }
    }
    let settled: BTreeSet<_> = devices.all().chain([DeviceId::Cpu]).collect();
    by_device.retain(|other, _| !settled.contains(other));
    for (other, packages) in by_device {
        tried(config, other).map_err(|why| {
            let packages = packages.join(", ");
            let setting = format!("runtime.devices has {packages} run on {other}");
            unavailable(&setting, &why)
        })?;
    }
    Ok(devices)
}

fn unavailable(setting: &str, why: &anyhow::Error) -> Failed {
    Failed::Unavailable(anyhow!("{setting}: {why:#}"))
}

/// The devices of all packages that have no other.
fn settle_default(config: &Config, tell: impl FnOnce(&str)) -> Result<Devices, Failed> {
    let first = DeviceId::Cuda(0);
    match &config.runtime.device {
        DeviceChoice::Only(devices) => {
            for device in devices.all().filter(|device| *device != DeviceId::Cpu) {
                let setting = || format!("runtime.device = \"{devices}\"");
                tried(config, device).map_err(|why| unavailable(&setting(), &why))?;
            }
            Ok(devices.clone())
        }
        // Most machines: there is nothing to try, or to tell.
        DeviceChoice::Auto if !has_cuda(config.runtime.library.as_deref()) => {
            Ok(Devices::default())
        }
        DeviceChoice::Auto => match tried(config, first) {
            Ok(()) => {
                tell(&format!("models run on {first}"));
                Ok(first.into())
            }
            Err(why) => {
                tell(&format!("models run on the processor: {why:#}"));
                Ok(Devices::default())
            }
        },
    }
}

/// What the child does: the exit code says whether the device can be had, the last line why not.
pub(super) fn run(args: &Args, file: Option<&std::path::Path>) -> Result<(), Failed> {
    let config = config(file, &[])?;
    let library = Library::open(config.runtime.library.as_deref());
    let library = library.map_err(|fault| Failed::Unavailable(fault.into()))?;
    let tried = try_device(&library.on(args.device));
    tried.map_err(|fault| Failed::Unavailable(anyhow!(fault.detail)))
}

/// Tries a device in a child.
fn tried(config: &Config, device: DeviceId) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe().context("this program's own file")?);
    command
        .args([TRY, &device.to_string()])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some(library) = &config.runtime.library {
        command.env("INFERQ__RUNTIME__LIBRARY", library);
    }
    let mut child = command.spawn().context("no trial")?;
    // Read beside, or a child that tells much would wait for us.
    let told = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut told = Vec::new();
            let _ = pipe.read_to_end(&mut told);
            String::from_utf8_lossy(&told).into_owned()
        })
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("the trial")? {
            break status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(anyhow!(
                "{device} cannot be had: a trial run there did not end within {PATIENCE:?}; see whether nvidia-smi ends, or set runtime.device = \"cpu\""
            ));
        }
        thread::sleep(Duration::from_millis(10));
    };
    if status.success() {
        return Ok(());
    }
    let told = told.and_then(|told| told.join().ok()).unwrap_or_default();
    let why = told
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("inferq: "));
    let panicked = || {
        told.lines()
            .skip_while(|line| !line.contains("panicked at"))
            .nth(1)
    };
    Err(match why.filter(|_| panicked().is_none()) {
        Some(why) => anyhow!("{why}"),
        None => anyhow!(
            "{device} cannot be had: a trial run there ended with {status}{}; the NVIDIA driver may be broken, or older than CUDA 13 asks for (580); see whether nvidia-smi works, or set runtime.device = \"cpu\"",
            panicked().map_or(String::new(), |line| format!(" ({})", line.trim()))
        ),
    })
}
