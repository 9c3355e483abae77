//! Keywords that JSON Schema does not know: it passes over them without a word, and with them over what their author
//! wanted to be checked.

use serde_json::Value;

use super::shape::escaped;
use crate::representation::nearest::advice;

/// Their values are schemas by name.
const NAMED: [&str; 5] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "$defs",
    "definitions",
];

/// Their values are a schema or several.
const SCHEMAS: [&str; 16] = [
    "items",
    "prefixItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
    "additionalItems",
];

/// Their values are data.
const OTHERS: [&str; 42] = [
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "dependencies",
    "format",
    "contentEncoding",
    "contentMediaType",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "id",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// A sentence for each unknown keyword of the schema `document`, which is the content of `file`.
pub(super) fn unknown(file: &str, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, "", &mut |place, keyword| {
        let known = NAMED.iter().chain(&SCHEMAS).chain(&OTHERS).copied();
        let mend = advice(
            keyword,
            known,
            "take it away, or begin it with \"x-\" if it is a note",
        );
        found.push(format!(
            "{file}: {place}/{}: found a keyword that JSON Schema 2020-12 does not know, so nothing is checked by it; {mend}",
            escaped(keyword)
        ));
    });
    found
}

fn walk(schema: &Value, place: &str, tell: &mut impl FnMut(&str, &str)) {
    let Some(keywords) = schema.as_object() else {
        return;
    };
    for (keyword, value) in keywords {
        let place_of = |token: &str| format!("{place}/{}/{}", escaped(keyword), escaped(token));
        let name = keyword.as_str();
        if let (true, Some(named)) = (NAMED.contains(&name), value.as_object()) {
            for (name, schema) in named {
                walk(schema, &place_of(name), tell);
            }
        } else if let (true, Some(schemas)) = (SCHEMAS.contains(&name), value.as_array()) {
            for (i, schema) in schemas.iter().enumerate() {
                walk(schema, &place_of(&i.to_string()), tell);
            }
        } else if SCHEMAS.contains(&name) {
            walk(value, &format!("{place}/{}", escaped(keyword)), tell);
        } else if !NAMED.contains(&name) && !OTHERS.contains(&name) && !name.starts_with("x-") {
            tell(place, keyword);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mistyped_keyword_is_told_where_it_is_and_data_and_names_are_not() {
        let schema = json!({
            "type": "object",
            "requird": ["a"],
            "properties": { "minimun": { "minimun": 3, "x-unit": "m" } },
            "anyOf": [{ "const": { "minimun": 1 } }, { "not": { "nullable": true } }],
        });
        let told = unknown("r.json", &schema);
        let starts = [
            "r.json: /requird: ",
            "r.json: /properties/minimun/minimun: ",
            "r.json: /anyOf/1/not/nullable: ",
        ];
        assert_eq!(told.len(), starts.len(), "{told:?}");
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}");
        }
        assert!(
            told[0].ends_with("did you mean \"required\"?"),
            "{}",
            told[0]
        );
        assert!(
            told[1].ends_with("did you mean \"minimum\"?"),
            "{}",
            told[1]
        );
    }
}
