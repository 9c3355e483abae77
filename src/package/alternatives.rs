//! `anyOf` and `oneOf` in words: the one form that was meant, or all that are allowed.

use jsonschema::{ValidationError, error::TypeKind, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::{
    explain::{self, About, Complaint},
    words,
};
use crate::representation::nearest::advice;

/// Explains that none of the forms, whose own errors are in `context`, fits; or more than one.
pub(super) fn explain(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    schema: &Value,
    out: &mut Vec<Complaint>,
) {
    let here = error.instance_path().as_str();
    if context.iter().any(Vec::is_empty) {
        return out.push(Complaint {
            pointer: here.to_owned(),
            about: About::Value,
            found: "several at once".into(),
            expected: "just one of the allowed forms".into(),
            mend: String::new(),
        });
    }
    if variants_given(context, schema, here) > 1 {
        return out.push(Complaint {
            pointer: here.to_owned(),
            about: About::Value,
            found: "several at once".into(),
            expected: "just one of the allowed forms".into(),
            mend: "keep one of its keys and take the others away".into(),
        });
    }
    let best = context.iter().map(|errors| likeness(errors, here)).max();
    let mut likely = context
        .iter()
        .filter(|errors| Some(likeness(errors, here)) == best);
    match (best, likely.next(), likely.next()) {
        (Some(Likeness::Meant | Likeness::Near), Some(meant), None) => {
            for error in meant {
                explain::explain(error, schema, out);
            }
        }
        _ => out.push(none_of(error, context, schema)),
    }
}

/// How many forms with one key of their own have that key, each disturbed only by what stands beside it.
fn variants_given(context: &[Vec<ValidationError<'static>>], schema: &Value, here: &str) -> usize {
    let given = |errors: &&Vec<ValidationError<'static>>| {
        errors.iter().any(|error| {
            let surplus = matches!(error.kind(), Kind::AdditionalProperties { .. });
            let key = form(error, schema).and_then(|key| error.instance().get(key));
            surplus && key.is_some() && error.instance_path().as_str() == here
        })
    };
    context.iter().filter(given).count()
}

/// How likely it is that a form was meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// Another type, or another constant.
    Other,
    /// Another variant: what it needs is not there, and what is there it does not know.
    Variant,
    /// The right type; a key is missing.
    Near,
    /// Wrong only further in.
    Meant,
}

fn likeness(errors: &[ValidationError<'_>], here: &str) -> Likeness {
    let at_hand = || errors.iter().filter(|e| e.instance_path().as_str() == here);
    let any = |is: fn(&Kind) -> bool| at_hand().any(|error| is(error.kind()));
    if any(|kind| {
        matches!(
            kind,
            Kind::Type { .. } | Kind::Enum { .. } | Kind::Constant { .. }
        )
    }) {
        Likeness::Other
    } else if any(|kind| matches!(kind, Kind::Required { .. })) {
        if any(|kind| matches!(kind, Kind::AdditionalProperties { .. })) {
            Likeness::Variant
        } else {
            Likeness::Near
        }
    } else {
        Likeness::Meant
    }
}

/// All that is allowed, and what was perhaps meant.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these four tell forms apart"
)]
fn none_of(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    schema: &Value,
) -> Complaint {
    let here = error.instance_path().as_str();
    let (mut constants, mut keys, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for error in context.iter().flatten() {
        if error.instance_path().as_str() != here {
            continue;
        }
        match error.kind() {
            Kind::Enum { options } => constants.extend(options.as_array().into_iter().flatten()),
            Kind::Constant { expected_value } => constants.push(expected_value),
            Kind::Required { property } => keys.extend(property.as_str()),
            Kind::Type { kind } => match kind {
                TypeKind::Single(one) => match form(error, schema) {
                    Some(key) => keys.push(key),
                    None => types.push(words::a_type(one.as_str())),
                },
                TypeKind::Multiple(several) => {
                    types.extend(several.iter().map(|one| words::a_type(one.as_str())));
                }
            },
            _ => {}
        }
    }
    types.dedup();
    let mut forms = Vec::new();
    let listed: Vec<_> = constants.iter().map(ToString::to_string).collect();
    match listed.as_slice() {
        [] => {}
        [only] => forms.push(only.clone()),
        several => forms.push(format!("one of {}", several.join(", "))),
    }
    let given = error.instance();
    let (about, found, mend) = match given.as_object().and_then(|object| object.keys().next()) {
        Some(key) if !keys.is_empty() => {
            let mend = advice(key, keys.iter().copied(), "");
            (About::Unknown(key.clone()), "an unknown key".into(), mend)
        }
        _ => {
            let known = constants.iter().filter_map(|word| word.as_str());
            let mend = given.as_str().map(|word| advice(word, known, ""));
            (
                About::Value,
                words::kind_of(given).into(),
                mend.unwrap_or_default(),
            )
        }
    };
    if !keys.is_empty() {
        let names = words::some(keys.into_iter());
        forms.push(format!("an object with one of {names}"));
    }
    forms.extend(types.iter().map(|one| (*one).to_owned()));
    let expected = match forms.len() {
        0 => "one of the allowed forms".into(),
        _ => forms.join(", or "),
    };
    Complaint {
        pointer: here.to_owned(),
        about,
        found,
        expected,
        mend,
    }
}

/// The one key of a form that is an object with one key, as the variants of our enums are.
fn form<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s str> {
    let (parent, _) = error.schema_path().as_str().rsplit_once('/')?;
    match schema
        .pointer(parent)?
        .get("required")?
        .as_array()?
        .as_slice()
    {
        [only] => only.as_str(),
        _ => None,
    }
}
