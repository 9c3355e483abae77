//! A manifest meets its model.

use super::{
    Package, PackageFiles, fault::PackageFault, golden::Expected, manifest::MANIFEST, words::some,
};
use crate::{
    decision,
    message::object::Object,
    representation,
    tensor::{Port, RowLayout, Signature},
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
        let plan = layout(&manifest.model, &signature.inputs, &mut faults).and_then(|layout| {
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
        if let (Some((_, plan)), Some(decision)) = (&plan, &decision) {
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

/// The layout of the model's inputs, which must leave nothing open but the batch.
fn layout(model: &str, inputs: &[Port], faults: &mut Vec<PackageFault>) -> Option<RowLayout> {
    let open = inputs.iter().filter(|port| port.row_shape.contains(&None));
    faults.extend(open.map(|port| {
        let axes = port
            .row_shape
            .iter()
            .map(|axis| axis.map_or("?".into(), |n| n.to_string()));
        PackageFault::new(
            model,
            format!("input {}", port.name),
            format!("rows of shape [{}]", axes.collect::<Vec<_>>().join(", ")),
            "a fixed number on every axis but the first, which is the batch",
            "export the model with dynamic axes for the batch only",
        )
    }));
    let shapes = inputs.iter().map(|port| {
        let shape: Option<Vec<_>> = port.row_shape.iter().copied().collect();
        Some((port.name.clone(), port.dtype, shape?))
    });
    Some(RowLayout::new(shapes.collect::<Option<Vec<_>>>()?))
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
