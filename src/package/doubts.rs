//! What is no fault and most likely a mistake.

use super::{Manifest, Package, keywords, manifest::MANIFEST};
use crate::{
    decision::{ClassSpec, OutcomeSpec},
    representation::nearest::dotted,
};

/// Threads for each core beyond which sessions only stand in each other's way.
const THREADS_A_CORE: usize = 4;

/// A sentence for each.
pub(super) fn of(package: &Package) -> Vec<String> {
    let manifest = package.manifest();
    let mut doubts = unused_codes(package);
    doubts.extend(doubles(manifest));
    doubts.extend(threads(manifest));
    for (file, document) in [
        (
            &manifest.request_schema,
            package.request_schema().document(),
        ),
        (
            &manifest.response_schema,
            package.response_schema().document(),
        ),
    ] {
        doubts.extend(keywords::unknown(file, document));
    }
    doubts
}

fn unused_codes(package: &Package) -> Vec<String> {
    let mut given = package.plan().codes();
    given.extend(package.decision().codes());
    let declared = package.manifest().rejection.keys();
    let unused = declared.filter(|code| !given.contains(code.as_str()));
    unused
        .map(|code| {
            format!(
                "{MANIFEST}: {}: nothing gives this code; name it in a [[reject]] rule or in an image's too_small or blank, or take it away",
                dotted("rejection", code)
            )
        })
        .collect()
}

/// Outcomes that say one thing for two reasons.
fn doubles(manifest: &Manifest) -> impl Iterator<Item = String> {
    let classes = manifest
        .outcome
        .iter()
        .filter_map(|(name, spec)| match spec {
            OutcomeSpec::Class(class) => Some((name, class)),
            OutcomeSpec::Number(_) | OutcomeSpec::Vector(_) | OutcomeSpec::TopK(_) => None,
        });
    classes.filter(|(_, class)| is_double(class)).map(|(name, _)| {
        format!(
            "{MANIFEST}: {}.class.uncertain.label: found the label of a class, so nobody can tell which of the two it is; choose a label of its own",
            dotted("outcome", name)
        )
    })
}

fn is_double(class: &ClassSpec) -> bool {
    let Some(uncertain) = &class.uncertain else {
        return false;
    };
    let thresholds = class.thresholds.iter().flatten().map(|t| &t.label);
    let mut labels = class.labels.iter().flatten().chain(thresholds);
    labels.any(|label| *label == uncertain.label)
}

fn threads(manifest: &Manifest) -> Option<String> {
    let sessions = manifest.sessions?;
    let threads = sessions.count.saturating_mul(sessions.threads);
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    (threads > THREADS_A_CORE * cores).then(|| {
        format!(
            "{MANIFEST}: sessions: found {} sessions of {} threads, which are {threads} threads on the {cores} cores of this machine; lower count or threads until their product is at most the cores",
            sessions.count, sessions.threads
        )
    })
}
