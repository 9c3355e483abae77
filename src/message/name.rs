//! Names of packages: they are routing keys, parts of queue names, and labels of metrics.

/// Names that stand for something else in queue names.
pub const RESERVED: [&str; 6] = ["unknown", "dead", "died", "retry", "predict", "control"];

/// Longest name of a package, in bytes.
pub const MAX_LEN: usize = 64;

/// Why a text cannot name a package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing, or too much.
    #[error(
        "a package's name has 1 to {MAX_LEN} characters, this one has {0}; choose another length"
    )]
    Length(usize),
    /// A character that is not allowed.
    #[error(
        "the package's name contains {found} at position {at}; lower-case letters, digits, `_` and `-` are allowed"
    )]
    Character {
        /// The character, escaped where it does not print.
        found: String,
        /// Counted from 1.
        at: usize,
    },
    /// One of [`RESERVED`].
    #[error("the package's name {0} is reserved for inferq's own queues; choose another")]
    Reserved(String),
}

/// Checks `[a-z0-9_-]{1,64}`, and that the name is not reserved.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn valid_package_name(name: &str) -> Result<(), NameFault> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if let Some((at, found)) = name.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(NameFault::Character {
            found: format!("{found:?}"),
            at: at + 1,
        });
    }
    if name.is_empty() || name.len() > MAX_LEN {
        return Err(NameFault::Length(name.len()));
    }
    if RESERVED.contains(&name) {
        return Err(NameFault::Reserved(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages_are_lower_case_words() {
        for name in ["digits", "a", "fraud-2_x", &"x".repeat(64)] {
            assert_eq!(valid_package_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_names_are_explained() {
        assert_eq!(valid_package_name(""), Err(NameFault::Length(0)));
        assert_eq!(
            valid_package_name(&"x".repeat(65)),
            Err(NameFault::Length(65))
        );
        for (name, at) in [
            ("Digits", 1),
            ("a.high", 2),
            ("a b", 2),
            ("naïve", 3),
            ("a\n", 2),
        ] {
            let fault = valid_package_name(name).unwrap_err();
            assert!(
                matches!(fault, NameFault::Character { at: found, .. } if found == at),
                "{fault}"
            );
            assert!(!fault.to_string().contains('\n'));
        }
        for name in RESERVED {
            assert_eq!(
                valid_package_name(name),
                Err(NameFault::Reserved(name.to_owned()))
            );
        }
    }
}
