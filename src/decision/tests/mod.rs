mod compile;
mod kinds;
mod properties;

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{OutcomeSpec, Plan, RejectRule, RejectionSpec};
use crate::{
    fault::{Failure, FaultKind, SpecFault},
    message::{object::Object, rejection::Rejection},
    tensor::{BatchAxis, Dtype, Output, Outputs, Port, RowOutputs, Steps, Values},
};

/// The parts of a manifest that a decision is made of.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    outcome: BTreeMap<String, OutcomeSpec>,
    #[serde(default)]
    reject: Vec<RejectRule>,
    #[serde(default)]
    rejection: BTreeMap<String, RejectionSpec>,
    #[serde(default)]
    each: bool,
}

fn port(name: &str, dtype: Dtype, row_shape: &[Option<usize>]) -> Port {
    Port {
        name: name.to_owned(),
        dtype,
        row_shape: row_shape.to_vec(),
        batch: BatchAxis::Dynamic,
    }
}

fn compile(manifest: &str, outputs: &[Port]) -> Result<Plan, Vec<SpecFault>> {
    let m: Manifest = toml::from_str(manifest).unwrap();
    Plan::compile(&m.outcome, &m.reject, &m.rejection, m.each, outputs)
}

/// A plan over one output `p` of three floats.
fn plan(manifest: &str) -> Plan {
    compile(manifest, &[port("p", Dtype::Float32, &[Some(3)])]).unwrap()
}

/// Rows of one output `p`.
fn rows(elements: usize, values: Values) -> Vec<RowOutputs> {
    let rows = values.len() / elements.max(1);
    let outputs = Arc::new(Outputs {
        rows,
        outputs: vec![Output {
            name: "p".to_owned(),
            row_shape: vec![elements],
            values,
        }],
        steps: Steps::default(),
    });
    (0..rows)
        .map(|row| RowOutputs {
            outputs: outputs.clone(),
            row,
        })
        .collect()
}

fn floats(values: &[f32]) -> Vec<RowOutputs> {
    rows(values.len(), Values::Float(values.to_vec()))
}

/// The outcome of a request `{}`.
fn outcome(plan: &Plan, rows: &[RowOutputs]) -> Value {
    outcome_of(plan, json!({}), rows).unwrap()
}

fn outcome_of(plan: &Plan, request: Value, rows: &[RowOutputs]) -> Result<Value, Failure> {
    plan.decide(&plan.thresholds(&Object::from(request))?, rows)
}

fn rejection(result: Result<Value, Failure>) -> Rejection {
    match result {
        Err(Failure::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

/// The detail of the model fault of a request `{}`.
fn fault(plan: &Plan, rows: &[RowOutputs]) -> String {
    match outcome_of(plan, json!({}), rows) {
        Err(Failure::Faulted(fault)) => {
            assert_eq!(fault.kind, FaultKind::Model);
            fault.detail
        }
        other => panic!("{other:?}"),
    }
}
