//! Settings that give some packages a value of their own: `fraud=2 cats=0.5`.

use std::collections::BTreeMap;

/// A word of such a setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread<E> {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub fault: Misreading<E>,
}

/// What is wrong with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misreading<E> {
    /// It is no name, `=` and something.
    NoPair,
    /// That something is no value, and why.
    NoValue(E),
    /// The package has a value already.
    Twice,
}

/// The values by the packages' names; words stand apart by blanks or commas.
///
/// # Errors
/// The first word that is no name, `=` and what `read` takes, or names a package again.
pub fn by_name<T, E>(
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<BTreeMap<String, T>, Misread<E>> {
    let words = text.unwrap_or_default().split([' ', ',', '\t', '\n']);
    let mut values = BTreeMap::new();
    for word in words.filter(|word| !word.is_empty()) {
        let misread = |fault| Misread {
            word: word.to_owned(),
            fault,
        };
        let pair = word.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| misread(Misreading::NoPair))?;
        let value = read(value).map_err(|why| misread(Misreading::NoValue(why)))?;
        if values.insert(name.to_owned(), value).is_some() {
            return Err(misread(Misreading::Twice));
        }
    }
    Ok(values)
}
