//! What is wrong with a package, said to the person who wrote it.

use std::fmt;

use serde::Serialize;

use crate::fault::SpecFault;

/// One fault of a package. Prints as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageFault {
    /// The file, relative to the package's folder; `.` for the folder itself.
    pub file: String,
    /// Where in the file: a manifest's dotted key, a JSON pointer, a line and column; empty for the whole of it.
    pub key: String,
    /// What is there.
    pub found: String,
    /// What should be; empty where `found` already says what is wrong.
    pub expected: String,
    /// How to mend it.
    pub mend: String,
}

impl PackageFault {
    /// All five parts, in the order in which they are read.
    pub fn new(
        file: impl Into<String>,
        key: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        PackageFault {
            file: file.into(),
            key: key.into(),
            found: found.into(),
            expected: expected.into(),
            mend: mend.into(),
        }
    }

    /// A fault of `file` as a whole that something else (a parser, the file system) has put into words.
    pub(super) fn told(
        file: impl Into<String>,
        key: impl Into<String>,
        told: impl fmt::Display,
        mend: impl Into<String>,
    ) -> Self {
        PackageFault::new(file, key, told.to_string(), "", mend)
    }

    /// A fault of the manifest that was found while a plan was compiled from it.
    pub(super) fn spec(file: &str, fault: SpecFault) -> Self {
        PackageFault::new(file, fault.key, fault.found, fault.expected, fault.mend)
    }
}

impl fmt::Display for PackageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if self.expected.is_empty() {
            f.write_str(&self.found)?;
        } else {
            write!(f, "found {}, expected {}", self.found, self.expected)?;
        }
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

impl std::error::Error for PackageFault {}
