//! Settings that give some packages a value of their own: `fraud=2 cats=0.5`.

use std::collections::BTreeMap;

/// A word of such a setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    /// The word.
    pub word: String,
    /// Whether the package has a value already; else the word is no name, `=` and value.
    pub twice: bool,
}

/// The values by the packages' names; words stand apart by blanks or commas.
///
/// # Errors
/// The first word that is no name, `=` and what `read` takes, or names a package again.
pub fn by_name<T>(
    text: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<BTreeMap<String, T>, Misread> {
    let words = text.unwrap_or_default().split([' ', ',', '\t', '\n']);
    let mut values = BTreeMap::new();
    for word in words.filter(|word| !word.is_empty()) {
        let misread = |twice| Misread {
            word: word.to_owned(),
            twice,
        };
        let given = word.split_once('=').filter(|(name, _)| !name.is_empty());
        let given = given.and_then(|(name, value)| Some((name, read(value)?)));
        let (name, value) = given.ok_or_else(|| misread(false))?;
        if values.insert(name.to_owned(), value).is_some() {
            return Err(misread(true));
        }
    }
    Ok(values)
}
