//! Which of two versions is the higher one.

use std::cmp::Ordering;

/// Semantic Versioning's order, for any dotted version: numbers compare as numbers (`1.10.0` is above
/// `1.9.2`), and a candidate comes before its release (`2.0.0-rc1` is below `2.0.0`).
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let ((a, a_candidate), (b, b_candidate)) = (split(a), split(b));
    parts(a)
        .cmp(parts(b))
        .then_with(|| match (a_candidate, b_candidate) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => parts(a).cmp(parts(b)),
        })
}

fn split(version: &str) -> (&str, Option<&str>) {
    version
        .split_once('-')
        .map_or((version, None), |(core, candidate)| (core, Some(candidate)))
}

/// Numbers sort below text, as Semantic Versioning has it.
fn parts(version: &str) -> impl Iterator<Item = (bool, u64, &str)> {
    version
        .split('.')
        .map(|part| part.parse().map_or((true, 0, part), |n| (false, n, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_numbers_and_a_candidate_comes_before_its_release() {
        let mut versions = [
            "1.10.0",
            "2.0.0",
            "1.9.2",
            "2.0.0-rc.2",
            "2.0.0-rc.10",
            "1.9",
        ];
        versions.sort_by(|a, b| compare(a, b));
        assert_eq!(
            versions,
            [
                "1.9",
                "1.9.2",
                "1.10.0",
                "2.0.0-rc.2",
                "2.0.0-rc.10",
                "2.0.0"
            ]
        );
    }
}
