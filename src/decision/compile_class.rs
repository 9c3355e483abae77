//! Kind `class` as it is written → what runs.

use super::{
    class::{Class, Way},
    compile::Compiler,
    source::Source,
    spec::{Bound, ClassSpec, LookupSpec, ThresholdSpec, UncertainSpec},
    threshold::{Intervals, Lookup},
};
use crate::{
    representation::{Label, pointer::Pointer},
    tensor::Dtype,
};

impl Compiler<'_> {
    /// One class field; its table's key is `key`.
    pub(super) fn class(&mut self, spec: &ClassSpec, key: &str) -> Option<Class> {
        let source = Source::find(&spec.output, key, self.outputs, &mut self.faults);
        if let Some(labels) = &spec.labels {
            self.labels(labels, key);
        }
        let source = source?;
        let way = match (&spec.labels, &spec.thresholds) {
            (Some(_), Some(_)) => {
                self.fault(
                    format!("{key}.thresholds"),
                    "it beside labels",
                    "one of the two",
                    "keep labels when every element is a class's score, thresholds when one element decides",
                );
                None
            }
            (None, Some(thresholds)) => self.score(spec, thresholds, &source, key),
            (labels, None) => match source.dtype {
                Dtype::String => Some(self.named(spec, &source, key)),
                Dtype::Int8 | Dtype::Int32 | Dtype::Int64 | Dtype::Uint8
                    if spec.index.is_some() || source.elements == Some(1) || labels.is_none() =>
                {
                    Some(self.named(spec, &source, key))
                }
                Dtype::Float16
                | Dtype::Float32
                | Dtype::Float64
                | Dtype::Int8
                | Dtype::Uint8
                | Dtype::Int32
                | Dtype::Int64
                | Dtype::Bool => self.winner(spec, &source, key),
            },
        };
        Some(Class { source, way: way? })
    }

    fn winner(&mut self, spec: &ClassSpec, source: &Source, key: &str) -> Option<Way> {
        let Some(labels) = &spec.labels else {
            self.fault(
                key,
                "neither labels nor thresholds",
                "what the scores stand for",
                "add labels, one for each element of a row, or thresholds for a single score",
            );
            return None;
        };
        if spec.index.is_some() {
            self.fault(
                format!("{key}.index"),
                "it beside labels",
                "no index, since the greatest element wins",
                "take index away, or write thresholds for the score at that index",
            );
        }
        self.one_label_each(labels, source, key);
        let uncertain = spec.uncertain.as_ref().and_then(|band| {
            let (Some(below), None, None) = (band.below, band.from, band.to) else {
                self.fault(
                    format!("{key}.uncertain"),
                    given(band),
                    "label and below, since labels compete",
                    "write uncertain = { label = …, below = 0.7 }",
                );
                return None;
            };
            self.finite(below, format!("{key}.uncertain.below"));
            Some((below, band.label.clone()))
        });
        Some(Way::Winner {
            labels: labels.clone(),
            uncertain,
        })
    }

    fn named(&mut self, spec: &ClassSpec, source: &Source, key: &str) -> Way {
        if spec.uncertain.is_some() {
            self.fault(
                format!("{key}.uncertain"),
                "it on an output that names the label itself",
                "an output of scores",
                "take uncertain away, or name the output with the scores",
            );
        }
        match (spec.index, source.elements) {
            (None, Some(elements)) if elements != 1 => {
                self.fault(
                    format!("{key}.index"),
                    format!("nothing, for rows of {elements} elements"),
                    "which element names the label",
                    "add index, counted from 0",
                );
            }
            (index, _) => {
                source.check_index(index.unwrap_or(0), format!("{key}.index"), &mut self.faults);
            }
        }
        if source.dtype == Dtype::String
            && let Some(i) = (spec.labels.iter().flatten()).position(|l| matches!(l, Label::Int(_)))
        {
            self.fault(
                format!("{key}.labels[{i}]"),
                "an integer",
                "text, since the output gives text",
                "write it in quotes",
            );
        }
        Way::Named {
            index: spec.index.unwrap_or(0),
            labels: spec.labels.clone(),
        }
    }

    fn score(
        &mut self,
        spec: &ClassSpec,
        thresholds: &[ThresholdSpec],
        source: &Source,
        key: &str,
    ) -> Option<Way> {
        if source.dtype == Dtype::String {
            self.fault(
                format!("{key}.output"),
                format!("{:?}, which holds text", source.output),
                "an output of numbers, for thresholds",
                "name the output with the scores, or take thresholds away",
            );
            return None;
        }
        let index = spec.index.unwrap_or(0);
        source.check_index(index, format!("{key}.index"), &mut self.faults);
        let key_of = |i: usize| format!("{key}.thresholds[{i}].from");
        let Some((first, _)) = thresholds.split_first() else {
            self.fault(
                format!("{key}.thresholds"),
                "an empty list",
                "at least one interval",
                "add { label = … }, then { from = 0.5, label = … }",
            );
            return None;
        };
        if !matches!(first.from, None | Some(Bound::Constant(0.0))) {
            self.fault(
                key_of(0),
                "a limit below which no label is",
                "no from, or 0.0: the first interval takes every score below the second",
                "leave this from out",
            );
        }
        let mut intervals = Intervals {
            labels: thresholds.iter().map(|t| t.label.clone()).collect(),
            bounds: vec![f64::NEG_INFINITY],
            lookups: Vec::new(),
            uncertain: self.band(spec.uncertain.as_ref(), key),
        };
        let mut highest = None;
        for (i, threshold) in thresholds.iter().enumerate().skip(1) {
            let bound = match &threshold.from {
                None => {
                    self.fault(
                        key_of(i),
                        "nothing",
                        "the lowest score that gets this label",
                        "add from; only the first interval goes without",
                    );
                    continue;
                }
                Some(Bound::Constant(from)) => {
                    let from = self.finite(*from, key_of(i));
                    if let Some(before) = highest.filter(|before| *before >= from) {
                        self.fault(
                            key_of(i),
                            from.to_string(),
                            format!("more than {before}, where an earlier interval begins"),
                            "write the intervals lowest first",
                        );
                    }
                    highest = Some(from);
                    from
                }
                Some(Bound::Lookup(lookup)) => {
                    let compiled = self.lookup(lookup, &key_of(i));
                    intervals.lookups.extend(compiled.map(|l| (i, l)));
                    lookup.default
                }
            };
            intervals.bounds.push(bound);
        }
        Some(Way::Score { index, intervals })
    }

    fn lookup(&mut self, spec: &LookupSpec, key: &str) -> Option<Lookup> {
        self.finite(spec.default, format!("{key}.default"));
        for (text, limit) in spec.values.iter().flatten() {
            self.finite(*limit, format!("{key}.values.{text}"));
        }
        let pointer = Pointer::parse(&spec.pointer, format!("{key}.pointer"))
            .map_err(|fault| self.faults.push(fault))
            .ok()?;
        Some(Lookup {
            pointer,
            values: spec.values.clone(),
        })
    }

    fn band(&mut self, band: Option<&UncertainSpec>, key: &str) -> Option<(f64, f64, Label)> {
        let band = band?;
        let (None, Some(from), Some(to)) = (band.below, band.from, band.to) else {
            self.fault(
                format!("{key}.uncertain"),
                given(band),
                "label, from and to, since one score decides",
                "write uncertain = { label = …, from = 0.45, to = 0.55 }",
            );
            return None;
        };
        self.finite(from, format!("{key}.uncertain.from"));
        self.finite(to, format!("{key}.uncertain.to"));
        if from >= to {
            self.fault(
                format!("{key}.uncertain"),
                format!("from = {from}, to = {to}"),
                "from below to",
                "swap the two, or widen the band",
            );
        }
        Some((from, to, band.label.clone()))
    }
}

fn given(band: &UncertainSpec) -> String {
    let parts = [("below", band.below), ("from", band.from), ("to", band.to)];
    let parts = parts.into_iter().filter(|(_, part)| part.is_some());
    parts.fold("label".to_owned(), |all, (part, _)| {
        format!("{all}, {part}")
    })
}
