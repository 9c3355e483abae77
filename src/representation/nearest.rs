//! The known name that a mistyped one was meant to be.

/// A name of `known` that is close to `name`.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|candidate| {
            let folded = strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
            (folded, candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Advice to write `name` otherwise: the nearest known name, or else `otherwise`.
pub(crate) fn advice<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: impl Into<String>,
) -> String {
    nearest(name, known).map_or_else(
        || otherwise.into(),
        |close| format!("did you mean {close:?}?"),
    )
}

/// Quotes and joins names.
pub(crate) fn listed<'k>(names: impl IntoIterator<Item = &'k str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("{name:?}")).collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// A table's key, quoted where TOML wants it: `input."input:0"`.
pub(crate) fn dotted(table: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare {
        format!("{table}.{name}")
    } else {
        format!("{table}.{name:?}")
    }
}
