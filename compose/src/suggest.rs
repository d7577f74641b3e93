//! "Did you mean": the known word that is nearest to an unknown one.
//!
//! Used for keys and for values of closed lists. Pure edit distance, with a bound on the length looked at.

/// Longer words are not compared: no key of the specification comes near it.
const MAX_LEN: usize = 40;

/// The candidate that differs least, if it differs little enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_LEN {
        return None;
    }
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let most = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&lower, &candidate.to_ascii_lowercase().replace('-', "_")),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, with a swap of neighbours counted as one change.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let words = ["image", "command", "environment", "ports", "cpus"];
        for (word, expect) in [
            ("imgae", Some("image")),
            ("enviroment", Some("environment")),
            ("port", Some("ports")),
            ("Image", Some("image")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expect, "{word}");
        }
    }
}
