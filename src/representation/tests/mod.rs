mod columns;
mod compile;
mod each;
mod images;
mod properties;
mod sequences;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{InputSpec, Plan, RejectionSpec};
use crate::{
    fault::SpecFault,
    message::{object::Object, rejection::Rejection},
    tensor::{Dtype, Row, RowLayout},
};

/// The parts of a manifest that a representation is made of.
#[derive(Deserialize)]
struct Manifest {
    input: BTreeMap<String, InputSpec>,
    each: Option<String>,
    #[serde(default)]
    rejection: BTreeMap<String, RejectionSpec>,
}

fn compile(manifest: &str, inputs: &[(&str, Dtype, &[usize])]) -> Result<Plan, Vec<SpecFault>> {
    let manifest: Manifest = toml::from_str(manifest).unwrap();
    let layout = RowLayout::new(
        inputs
            .iter()
            .map(|(name, dtype, shape)| ((*name).to_owned(), *dtype, shape.to_vec())),
    );
    let each = manifest.each.as_deref();
    Plan::compile(&manifest.input, &layout, each, 3, &manifest.rejection)
}

/// A plan whose only input `x` has these columns.
fn columns(columns: &str, dtype: Dtype, n: usize) -> Plan {
    let manifest = format!("[input.x]\ncolumns = [{columns}]");
    compile(&manifest, &[("x", dtype, &[n])]).unwrap()
}

fn represent(plan: &Plan, request: Value) -> Result<Vec<Row>, Rejection> {
    plan.represent(&Object::from(request))
}

fn one(plan: &Plan, request: Value) -> Row {
    represent(plan, request).unwrap().remove(0)
}

fn floats(row: &Row) -> Vec<f32> {
    let (elements, _) = row.bytes.as_chunks();
    elements.iter().map(|e| f32::from_ne_bytes(*e)).collect()
}

/// `pointer: detail` of every place at fault.
fn errors(rejection: &Rejection) -> Vec<String> {
    rejection
        .errors
        .iter()
        .map(|located| format!("{}: {}", located.pointer, located.detail))
        .collect()
}
