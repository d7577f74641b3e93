//! Columns of text, laid out as Docker's clients do.
//!
//! Cells are separated by tabs in the input; each column is as wide as its widest cell plus three spaces,
//! at least ten in all; the last cell of a line is not padded.

/// Shortest width of a column, as in Docker's tables.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

pub(crate) fn layout(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![MIN_WIDTH; columns];
    for row in &rows {
        // The last cell is not part of a column.
        for (width, cell) in widths.iter_mut().zip(&row[..row.len() - 1]) {
            *width = (*width).max(cell.chars().count() + PADDING);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if index + 1 < row.len() {
                let missing = widths[index].saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_as_docker_does() {
        let lines = ["ID\tNAME\tIMAGE", "abc\ta-long-name\tbusybox:latest", "d\t\t"].map(str::to_owned);
        assert_eq!(
            layout(&lines),
            "ID        NAME          IMAGE\nabc       a-long-name   busybox:latest\nd\n"
        );
    }
}
