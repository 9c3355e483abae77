//! A package's decision, compiled, and the way from a request's output rows to its outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    class::{Class, Way},
    compile::Compiler,
    field::{Number, TopK, vector},
    rule::Rule,
    source::{self, Source},
    spec::{OutcomeSpec, RejectRule},
};
use crate::{
    fault::{Failure, Fault, SpecFault},
    message::{
        object::Object,
        rejection::{Rejection, Stage},
    },
    representation::RejectionSpec,
    tensor::{Port, RowOutputs},
};

/// How a request's output rows become its outcome, or a rejection of the package's own.
#[derive(Clone, Debug)]
pub struct Plan {
    fields: Vec<(String, Field)>,
    rules: Vec<Rule>,
    each: bool,
}

/// How one field of the response is made.
#[derive(Clone, Debug)]
pub(super) enum Field {
    Class {
        class: Class,
        score_field: Option<String>,
    },
    Number(Number),
    Vector(Source),
    TopK(TopK),
}

/// The thresholds that a request moves, for the plan that it was asked of: what is kept of the object until its rows
/// are predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<(usize, Vec<f64>)>);

impl Thresholds {
    /// Those of a field, by its place.
    fn of(&self, place: usize) -> Option<&[f64]> {
        let moved = self.0.iter().find(|(of, _)| *of == place);
        moved.map(|(_, bounds)| bounds.as_slice())
    }
}

impl Plan {
    /// Checks the manifest's outcome and reject rules against the model's outputs. With `each` the outcome is
    /// `{"results": […]}`, one for each row.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn compile(
        outcome: &BTreeMap<String, OutcomeSpec>,
        rules: &[RejectRule],
        rejections: &BTreeMap<String, RejectionSpec>,
        each: bool,
        outputs: &[Port],
    ) -> Result<Self, Vec<SpecFault>> {
        let mut compiler = Compiler {
            outputs,
            faults: Vec::new(),
        };
        let fields = compiler.fields(outcome);
        let rules = compiler.rules(rules, rejections);
        if !compiler.faults.is_empty() {
            return Err(compiler.faults);
        }
        Ok(Plan {
            fields,
            rules,
            each,
        })
    }

    /// What a request says of its decision, so that it is known before the model runs.
    ///
    /// # Errors
    /// `invalid_request` for a threshold that cannot be looked up.
    pub fn thresholds(&self, object: &Object) -> Result<Thresholds, Rejection> {
        let mut thresholds = Thresholds(Vec::new());
        for (place, (_, field)) in self.fields.iter().enumerate() {
            let moved = field.moved(object)?;
            thresholds.0.extend(moved.map(|bounds| (place, bounds)));
        }
        Ok(thresholds)
    }

    /// Turns a request's output rows, in the order of its rows, into its outcome.
    ///
    /// # Errors
    /// A rejection of the package's own, by the first rule that a row meets; a model fault for numbers that are
    /// missing or not finite and for labels that are not known.
    pub fn decide(&self, thresholds: &Thresholds, rows: &[RowOutputs]) -> Result<Value, Failure> {
        for (i, row) in rows.iter().enumerate() {
            for rule in &self.rules {
                rule.check(row, self.each.then_some(i))?;
            }
        }
        match (self.each, rows) {
            (false, [row]) => self.outcome(row, thresholds),
            (true, rows) => {
                let results = rows.iter().map(|row| self.outcome(row, thresholds));
                Ok(json!({ "results": results.collect::<Result<Vec<_>, _>>()? }))
            }
            (false, rows) => {
                let detail = format!("{} rows came back for a request of one", rows.len());
                Err(Fault::internal(Stage::Decide, detail).into())
            }
        }
    }

    /// The model's outputs that a decision reads, each once.
    #[must_use]
    pub fn outputs(&self) -> Vec<&str> {
        let fields = self.fields.iter().map(|(_, field)| field.source());
        let rules = self.rules.iter().map(|rule| &rule.source);
        let names: BTreeSet<_> = fields
            .chain(rules)
            .map(|source| source.output.as_str())
            .collect();
        names.into_iter().collect()
    }

    /// The package's own codes that deciding can give.
    #[must_use]
    pub fn codes(&self) -> BTreeSet<&str> {
        self.rules.iter().map(|rule| rule.code.as_str()).collect()
    }

    fn outcome(&self, row: &RowOutputs, thresholds: &Thresholds) -> Result<Value, Failure> {
        let mut outcome = Map::new();
        for (place, (name, field)) in self.fields.iter().enumerate() {
            let value = match field {
                Field::Class { class, score_field } => {
                    let (label, score) = class.decide(row, thresholds.of(place))?;
                    if let (Some(name), Some(score)) = (score_field, score.and_then(source::json)) {
                        outcome.insert(name.clone(), score);
                    }
                    label
                }
                Field::Number(number) => number.decide(row)?,
                Field::Vector(source) => vector(source, row)?,
                Field::TopK(top) => top.decide(row)?,
            };
            outcome.insert(name.clone(), value);
        }
        Ok(Value::Object(outcome))
    }
}

impl Field {
    fn source(&self) -> &Source {
        match self {
            Field::Class { class, .. } => &class.source,
            Field::Number(number) => &number.source,
            Field::Vector(source) => source,
            Field::TopK(top) => &top.source,
        }
    }

    fn moved(&self, object: &Object) -> Result<Option<Vec<f64>>, Rejection> {
        match self {
            Field::Class { class, .. } => class.moved(object),
            Field::Number(_) | Field::Vector(_) | Field::TopK(_) => Ok(None),
        }
    }

    /// Whether it has a score to put beside its value.
    pub(super) fn scores(&self) -> bool {
        match self {
            Field::Class { class, .. } => !matches!(class.way, Way::Named { .. }),
            Field::Number(_) | Field::Vector(_) | Field::TopK(_) => false,
        }
    }
}
