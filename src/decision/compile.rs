//! `[outcome.…]` and `[[reject]]` as they are written → what runs; every fault is collected.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    field::{Number, TopK},
    plan::Field,
    rule::{Limit, Rule},
    source::Source,
    spec::{NumberSpec, OutcomeSpec, Pick, RejectRule, TopKSpec},
};
use crate::{
    fault::SpecFault,
    representation::{
        Label, RejectionSpec,
        nearest::{advice, dotted, listed},
    },
    tensor::Port,
};

/// Collects faults on the way through a manifest.
pub(super) struct Compiler<'a> {
    pub(super) outputs: &'a [Port],
    pub(super) faults: Vec<SpecFault>,
}

impl Compiler<'_> {
    pub(super) fn fault(
        &mut self,
        key: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.faults.push(SpecFault::new(key, found, expected, mend));
    }

    /// All fields of the response.
    pub(super) fn fields(
        &mut self,
        outcome: &BTreeMap<String, OutcomeSpec>,
    ) -> Vec<(String, Field)> {
        if outcome.is_empty() {
            self.fault(
                "outcome",
                "nothing",
                "at least one field of the response",
                "add a table such as [outcome.verdict.class]",
            );
        }
        let mut taken: BTreeSet<&str> = outcome.keys().map(String::as_str).collect();
        let mut fields = Vec::new();
        for (name, spec) in outcome {
            let table = dotted("outcome", name);
            let field = match spec {
                OutcomeSpec::Class(spec) => {
                    let key = format!("{table}.class");
                    if let Some(score_field) = &spec.score_field
                        && !taken.insert(score_field)
                    {
                        self.fault(
                            format!("{key}.score_field"),
                            format!("{score_field:?} again"),
                            "a field of the response that nothing else fills",
                            "give one of the two another name",
                        );
                    }
                    let field = self.class(spec, &key).map(|class| Field::Class {
                        class,
                        score_field: spec.score_field.clone(),
                    });
                    if spec.score_field.is_some() && field.as_ref().is_some_and(|f| !f.scores()) {
                        self.fault(
                            format!("{key}.score_field"),
                            "it on an output that names the label itself",
                            "an output of scores",
                            "take score_field away, or name the output with the scores",
                        );
                    }
                    field
                }
                OutcomeSpec::Number(spec) => self.number(spec, &format!("{table}.number")),
                OutcomeSpec::Vector(spec) => self
                    .numbers(&spec.output, &format!("{table}.vector"))
                    .map(Field::Vector),
                OutcomeSpec::TopK(spec) => self.top_k(spec, &format!("{table}.top_k")),
            };
            fields.extend(field.map(|field| (name.clone(), field)));
        }
        fields
    }

    /// All reject rules.
    pub(super) fn rules(
        &mut self,
        rules: &[RejectRule],
        rejections: &BTreeMap<String, RejectionSpec>,
    ) -> Vec<Rule> {
        let rules = rules.iter().enumerate();
        rules
            .filter_map(|(i, rule)| self.rule(rule, &format!("reject[{i}]"), rejections))
            .collect()
    }

    fn rule(
        &mut self,
        rule: &RejectRule,
        key: &str,
        rejections: &BTreeMap<String, RejectionSpec>,
    ) -> Option<Rule> {
        let source = self.numbers(&rule.output, key);
        if let (Some(source), Pick::Index(index)) = (&source, rule.index) {
            source.check_index(index, format!("{key}.index"), &mut self.faults);
        }
        let limit = match (rule.above, rule.below) {
            (Some(above), None) => Some(Limit::Above(self.finite(above, format!("{key}.above")))),
            (None, Some(below)) => Some(Limit::Below(self.finite(below, format!("{key}.below")))),
            (above, _) => {
                let found = if above.is_some() {
                    "above and below"
                } else {
                    "neither above nor below"
                };
                self.fault(
                    key,
                    found,
                    "exactly one of above and below",
                    "write two rules for two limits",
                );
                None
            }
        };
        let Some(spec) = rejections.get(&rule.code) else {
            let known = || rejections.keys().map(String::as_str);
            let declare = format!("add [{}] with a title", dotted("rejection", &rule.code));
            self.fault(
                format!("{key}.code"),
                format!("{:?}", rule.code),
                format!("a code that is declared; these are: {}", listed(known())),
                advice(&rule.code, known(), declare),
            );
            return None;
        };
        Some(Rule {
            source: source?,
            pick: rule.index,
            limit: limit?,
            code: rule.code.clone(),
            spec: spec.clone(),
        })
    }

    fn number(&mut self, spec: &NumberSpec, key: &str) -> Option<Field> {
        let source = self.numbers(&spec.output, key);
        if let Some(source) = &source {
            source.check_index(spec.index, format!("{key}.index"), &mut self.faults);
        }
        self.finite(spec.scale, format!("{key}.scale"));
        self.finite(spec.offset, format!("{key}.offset"));
        if let Some([least, greatest]) = spec.clip {
            self.finite(least, format!("{key}.clip[0]"));
            self.finite(greatest, format!("{key}.clip[1]"));
            if least > greatest {
                self.fault(
                    format!("{key}.clip"),
                    format!("[{least}, {greatest}]"),
                    "the smallest value, then the greatest",
                    "swap the two",
                );
            }
        }
        if let Some(round) = spec.round.filter(|round| *round > 15) {
            self.fault(
                format!("{key}.round"),
                round.to_string(),
                "0 to 15 decimals",
                "leave round out to keep all decimals",
            );
        }
        #[expect(clippy::float_cmp, reason = "1 and 0 are exact, and mean: not given")]
        let linear = spec.scale == 1.0 && spec.offset == 0.0;
        Some(Field::Number(Number {
            source: source?,
            index: spec.index,
            scale: spec.scale,
            offset: spec.offset,
            exp: spec.exp,
            clip: spec.clip,
            round: spec.round,
            plain: linear && !spec.exp && spec.clip.is_none(),
        }))
    }

    fn top_k(&mut self, spec: &TopKSpec, key: &str) -> Option<Field> {
        let source = self.numbers(&spec.output, key);
        self.labels(&spec.labels, key);
        if let Some(source) = &source {
            self.one_label_each(&spec.labels, source, key);
        }
        if spec.k == 0 {
            self.fault(
                format!("{key}.k"),
                "0",
                "at least 1",
                "write how many labels to list",
            );
        }
        if spec.k.saturating_add(spec.skip) > spec.labels.len() {
            self.fault(
                format!("{key}.k"),
                format!("k = {} and skip = {}", spec.k, spec.skip),
                format!(
                    "at most {} together, the number of labels",
                    spec.labels.len()
                ),
                "lower k or skip",
            );
        }
        Some(Field::TopK(TopK {
            source: source?,
            k: spec.k,
            skip: spec.skip,
            labels: spec.labels.clone(),
        }))
    }

    fn numbers(&mut self, output: &str, key: &str) -> Option<Source> {
        Source::find_numbers(output, key, self.outputs, &mut self.faults)
    }

    /// Checks that labels are there and differ.
    pub(super) fn labels(&mut self, labels: &[Label], key: &str) {
        if labels.is_empty() {
            self.fault(
                format!("{key}.labels"),
                "an empty list",
                "a label for every element of a row",
                "list the classes in the model's order",
            );
        }
        let mut seen = BTreeMap::new();
        for (i, label) in labels.iter().enumerate() {
            if let Some(first) = seen.insert(label, i) {
                self.fault(
                    format!("{key}.labels[{i}]"),
                    format!("{label} again, as in labels[{first}]"),
                    "every label once",
                    "give one of the two another name",
                );
            }
        }
    }

    /// Checks that there is a label for each element of a row.
    pub(super) fn one_label_each(&mut self, labels: &[Label], source: &Source, key: &str) {
        let Some(elements) = source.elements else {
            return;
        };
        if elements != labels.len() && !labels.is_empty() {
            let mend = if elements == 1 {
                "write thresholds instead, since this output is a single score"
            } else {
                "list the classes in the model's order, each once"
            };
            self.fault(
                format!("{key}.labels"),
                format!("{} labels", labels.len()),
                format!("{elements}, the elements of a row of {:?}", source.output),
                mend,
            );
        }
    }

    /// Checks that a number of the manifest is neither nan nor inf.
    pub(super) fn finite(&mut self, x: f64, key: String) -> f64 {
        if !x.is_finite() {
            self.fault(key, x.to_string(), "a finite number", "write a number");
        }
        x
    }
}
