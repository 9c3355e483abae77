//! Where the references of a JSON Schema lead: within its own file, and on to something that is not a reference.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{fault::PackageFault, shape::escaped};

/// Finds references that lead out of the file, to nothing, or round in a circle.
pub(super) fn check(file: &str, document: &Value, faults: &mut Vec<PackageFault>) {
    let mut found = Vec::new();
    walk(document, "", &mut found);
    for (place, target) in found {
        let fault = |found: String, expected: &str, mend: String| {
            PackageFault::new(file, place.clone(), found, expected, mend)
        };
        let Some(fragment) = target.strip_prefix('#') else {
            faults.push(fault(
                format!("{target:?}"),
                "a reference within this file, such as \"#/$defs/party\"",
                "copy what it refers to into `$defs` of this file: nothing is fetched".into(),
            ));
            continue;
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            continue; // An anchor: the compiler looks it up.
        }
        if document.pointer(&decoded(fragment)).is_none() {
            faults.push(fault(
                format!("{target:?}"),
                "a reference to something in this file",
                format!("add it at {fragment:?}, or mend the reference"),
            ));
        } else if circles(document, fragment) {
            faults.push(fault(
                format!("{target:?}, which leads back to itself"),
                "a reference that ends at a schema",
                "let one of the schemas on the way say what it is".into(),
            ));
        }
    }
}

/// Whether following the references that stand directly at each other's ends never ends.
fn circles(document: &Value, fragment: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![decoded(fragment)];
    while let Some(pointer) = next.pop() {
        if !seen.insert(pointer.clone()) {
            return true;
        }
        let target = document.pointer(&pointer).and_then(|at| at.get("$ref"));
        let fragment = target
            .and_then(Value::as_str)
            .and_then(|t| t.strip_prefix('#'));
        next.extend(fragment.map(decoded));
    }
    false
}

/// How many ways may lead from a value to one inside it, and so twice as far, if some reference leads back to itself
/// through what it refers to: `None` where none does. Where an anchor leads is not looked up: it is taken to be the whole.
pub(super) fn branches(document: &Value) -> Option<usize> {
    let mut found = Vec::new();
    walk(document, "", &mut found);
    let pointer = |target: &str| match target.strip_prefix('#') {
        Some(fragment) if fragment.starts_with('/') => decoded(fragment),
        Some(_) | None => String::new(),
    };
    let found = found.into_iter();
    let mut left: Vec<(String, String)> = found.map(|(at, to)| (at, pointer(&to))).collect();
    let all = left.len();
    loop {
        let leads_on = |schema: &str| {
            let inside = left.iter().filter_map(|(at, _)| at.strip_prefix(schema));
            inside.into_iter().any(|rest| rest.starts_with('/'))
        };
        // Those that lead to no other are no part of a circle, and then neither are those that lead to these only.
        let on: Vec<_> = left
            .iter()
            .filter(|(_, to)| leads_on(to))
            .cloned()
            .collect();
        if on.len() == left.len() {
            return (!on.is_empty()).then(|| most_ways(all));
        }
        left = on;
    }
}

/// The most that the product of numbers with this sum can be: as many ways as there are where references lead to
/// references. As many threes as go into it, and a two or a four.
fn most_ways(references: usize) -> usize {
    let (twos, rest) = match references % 3 {
        0 => (1, references),
        1 if references > 1 => (4, references - 4),
        last => (last, references - last),
    };
    let threes = u32::try_from(rest / 3).unwrap_or(u32::MAX);
    3_usize.saturating_pow(threes).saturating_mul(twos)
}

fn walk(schema: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                let place = join(place, keyword);
                match (keyword.as_str(), value) {
                    ("$ref" | "$dynamicRef", Value::String(target)) => {
                        found.push((place, target.clone()));
                    }
                    // Data, not schemas.
                    ("enum" | "const" | "default" | "examples", _) => {}
                    // Names, then schemas.
                    (
                        "properties" | "patternProperties" | "dependentSchemas" | "$defs"
                        | "definitions",
                        Value::Object(named),
                    ) => {
                        for (name, schema) in named {
                            walk(schema, &join(&place, name), found);
                        }
                    }
                    (_, value) => walk(value, &place, found),
                }
            }
        }
        Value::Array(schemas) => {
            for (i, schema) in schemas.iter().enumerate() {
                walk(schema, &format!("{place}/{i}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn join(place: &str, token: &str) -> String {
    format!("{place}/{}", escaped(token))
}

/// A URI fragment without its percent-encoding.
fn decoded(fragment: &str) -> String {
    let bytes = fragment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        let pair: Vec<u8> = match byte {
            b'%' => rest.clone().take(2).collect(),
            _ => Vec::new(),
        };
        let code = std::str::from_utf8(&pair)
            .ok()
            .filter(|pair| pair.len() == 2);
        match code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(code) => {
                out.push(code);
                rest.nth(1);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
