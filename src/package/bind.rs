//! A manifest meets its model.

use super::{
    Package, PackageFiles,
    fault::PackageFault,
    golden::Expected,
    manifest::{MANIFEST, Manifest},
    words::some,
};
use crate::{
    decision,
    message::object::Object,
    representation,
    tensor::{MAX_BATCH_BYTES, Port, RowLayout, Signature},
};

impl PackageFiles {
    /// Checks the manifest against the model's `signature`, of which only the outputs that
    /// [`super::Manifest::outputs`] names are needed.
    ///
    /// # Errors
    /// Every fault between manifest, model and golden examples.
    pub fn bind(self, signature: &Signature) -> Result<Package, Vec<PackageFault>> {
        let manifest = &self.manifest;
        let each = manifest.each.as_deref();
        let limits = manifest.limits();
        let mut faults = Vec::new();
        let layout = layout(manifest, signature, &mut faults)
            .filter(|layout| fits(manifest, signature, layout, &mut faults));
        let plan = layout.and_then(|layout| {
            representation::Plan::compile(
                &manifest.input,
                &layout,
                each,
                limits.max_rows,
                &manifest.rejection,
            )
            .map(|plan| (layout, plan))
            .map_err(|found| faults.extend(found.into_iter().map(spec)))
            .ok()
        });
        let decision = decision::Plan::compile(
            &manifest.outcome,
            &manifest.reject,
            &manifest.rejection,
            each.is_some(),
            &signature.outputs,
        )
        .map_err(|found| faults.extend(found.into_iter().map(spec)))
        .ok();
        if let (Some((layout, plan)), Some(decision)) = (&plan, &decision) {
            if layout.longest() > 0 {
                faults.extend(open_outputs(manifest, signature, decision));
            }
            goldens(&self, plan, decision, &mut faults);
        }
        match (plan, decision) {
            (Some((layout, plan)), Some(decision)) if faults.is_empty() => Ok(Package {
                files: self,
                limits,
                layout,
                plan,
                decision,
            }),
            _ => Err(faults),
        }
    }
}

fn spec(fault: crate::fault::SpecFault) -> PackageFault {
    PackageFault::spec(MANIFEST, fault)
}

/// The layout of the model's inputs, which must leave nothing open but the batch and the steps of sequences.
fn layout(
    manifest: &Manifest,
    signature: &Signature,
    faults: &mut Vec<PackageFault>,
) -> Option<RowLayout> {
    let longest = representation::longest(&manifest.input);
    let longest = longest.map_err(|fault| faults.push(spec(fault))).ok()?;
    let open = signature.inputs.iter().filter(|port| {
        let input = manifest.input.get(&port.name);
        let steps = input.is_some_and(|input| input.sequence.is_some() || input.mask);
        port.row_shape
            .iter()
            .skip(steps.into())
            .any(Option::is_none)
    });
    let before = faults.len();
    faults.extend(mixed_steps(manifest, signature));
    faults.extend(open.map(|port| {
        let axes = port
            .row_shape
            .iter()
            .map(|axis| axis.map_or("?".into(), |n| n.to_string()));
        PackageFault::new(
            &manifest.model,
            format!("input {}", port.name),
            format!("rows of shape [{}]", axes.collect::<Vec<_>>().join(", ")),
            "a fixed number on every axis but the first, which is the batch, and the steps of a sequence behind it",
            "export the model with dynamic axes for the batch only, or say with sequence or mask what the steps are",
        )
    }));
    let none = faults.len() == before;
    none.then(|| signature.layout(longest).ok()).flatten()
}

/// Sequences and masks of one row have as many steps as each other, so that either all of them have an open axis, or
/// none has.
fn mixed_steps(manifest: &Manifest, signature: &Signature) -> Option<PackageFault> {
    let steps = |port: &&Port| {
        let input = manifest.input.get(&port.name);
        input.is_some_and(|input| input.sequence.is_some() || input.mask)
    };
    let axis = |port: &Port| port.row_shape.first().copied();
    let mut ports = signature.inputs.iter().filter(steps);
    let first = ports.next()?;
    let open = axis(first)?.is_none();
    let other = ports.find(|port| axis(port).is_some_and(|steps| steps.is_none() != open))?;
    let (open, fixed) = if open { (first, other) } else { (other, first) };
    let steps = axis(fixed).flatten().unwrap_or_default();
    Some(PackageFault::new(
        &manifest.model,
        format!("input {}", fixed.name),
        format!(
            "{steps} steps, where input {} leaves its steps open",
            open.name
        ),
        "the steps of all sequences and masks open, or those of none: a row has as many of each",
        "export the model with the same dynamic axis for both, or with the same fixed one",
    ))
}

/// Outputs that are as long as the rows that run together, padding included: what is a row's own is not to be told.
fn open_outputs(
    manifest: &Manifest,
    signature: &Signature,
    decision: &decision::Plan,
) -> Vec<PackageFault> {
    let read = decision.outputs();
    let open = signature.outputs.iter().filter(|port| {
        read.contains(&port.name.as_str()) && port.row_shape.iter().any(Option::is_none)
    });
    let fault = |port: &Port| {
        PackageFault::new(
            &manifest.model,
            format!("output {}", port.name),
            "an axis behind the batch that the graph leaves open",
            "a fixed number on each, where inputs are sequences: rows of different lengths run together",
            "export the model with what it makes of a whole sequence (a pooled output) as its output",
        )
    };
    open.map(fault).collect()
}

/// Whether a full batch fits into memory: a buffer that cannot be had would end the whole worker.
fn fits(
    manifest: &Manifest,
    signature: &Signature,
    layout: &RowLayout,
    faults: &mut Vec<PackageFault>,
) -> bool {
    let fixed = signature.fixed_batch();
    let rows = fixed.unwrap_or(manifest.batch.max_size);
    let bytes = layout.batch_bytes(rows);
    if bytes <= MAX_BATCH_BYTES {
        return true;
    }
    let row = layout.batch_bytes(1);
    let expected = format!("at most {MAX_BATCH_BYTES} (1 GiB), which each session holds for good");
    let most = MAX_BATCH_BYTES / row.max(1);
    let smaller = match layout.longest() {
        0 => "export the model with smaller inputs (pictures of fewer pixels)".to_owned(),
        longest => format!("lower longest = {longest} of the sequences"),
    };
    faults.push(match (fixed, most) {
        (Some(rows), _) => PackageFault::new(
            &manifest.model,
            "",
            format!("a batch fixed at {rows} rows: {bytes} bytes of inputs"),
            expected,
            "export the model with a dynamic first axis, or with one that is smaller",
        ),
        (None, 0) => PackageFault::new(
            &manifest.model,
            "",
            format!("inputs of {row} bytes a row"),
            expected,
            smaller,
        ),
        (None, most) => PackageFault::new(
            MANIFEST,
            "batch.max_size",
            format!("{rows}, which with rows of {row} bytes are {bytes}"),
            expected,
            format!("write max_size = {most} or less, or {smaller}"),
        ),
    });
    false
}

/// Golden examples that this package can never answer as they say.
fn goldens(
    files: &PackageFiles,
    plan: &representation::Plan,
    decision: &decision::Plan,
    faults: &mut Vec<PackageFault>,
) {
    let codes = plan.codes().into_iter().chain(decision.codes());
    let codes: Vec<_> = codes.map(|code| format!("package:{code}")).collect();
    for golden in &files.goldens {
        if matches!(golden.object, Object::Picture(_)) && !plan.accepts_pictures() {
            faults.push(PackageFault::new(
                &golden.file,
                "/picture",
                "a picture",
                "a request in JSON: only a package whose one input is an image takes a picture as it is",
                "write \"request\" in its place",
            ));
        }
        let Expected::Rejection(code) = &golden.expected else {
            continue;
        };
        if code.starts_with("package:") && !codes.contains(code) {
            faults.push(PackageFault::new(
                &golden.file,
                "/rejection",
                format!("{code:?}, which nothing in package.toml gives"),
                match codes.len() {
                    0 => "a code that a reject rule or an image's checks give".into(),
                    _ => format!("one of {}", some(codes.iter().map(String::as_str))),
                },
                "use the code in package.toml: in a [[reject]] rule, or in an image's too_small or blank",
            ));
        }
    }
}
