//! A block of lines that is redrawn in place on a terminal.
//!
//! Only what fits is drawn: a line is cut at the right edge and the block at the height of the terminal,
//! since the cursor cannot go back to what has scrolled away.

use crate::terminal::Size;

#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// Lines on the screen now.
    drawn: usize,
}

impl Screen {
    /// What to write so that the block stands where it stood.
    pub(crate) fn redraw(&mut self, lines: &[String], size: Size) -> String {
        let mut out = String::new();
        if self.drawn > 0 {
            // Up to the block's first line, and clear to the end of the screen.
            out.push_str(&format!("\x1b[{}A", self.drawn));
        }
        out.push_str("\r\x1b[J");
        let height = usize::from(size.rows).saturating_sub(2).max(1);
        let width = usize::from(size.columns).max(20) - 1;
        let hidden = lines.len().saturating_sub(height);
        let shown = lines.len() - hidden;
        for line in &lines[..shown] {
            out.extend(line.chars().filter(|c| !c.is_control()).take(width));
            out.push('\n');
        }
        if hidden > 0 {
            out.push_str(&format!("… and {hidden} more lines\n"));
        }
        self.drawn = shown + usize::from(hidden > 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_back_to_the_top_and_stays_inside() {
        let mut screen = Screen::default();
        let size = Size { rows: 4, columns: 25 };
        let lines = |count: usize| (0..count).map(|n| format!("line {n}")).collect::<Vec<_>>();
        assert_eq!(screen.redraw(&lines(1), size), "\r\x1b[Jline 0\n");
        assert_eq!(
            screen.redraw(&lines(4), size),
            "\x1b[1A\r\x1b[Jline 0\nline 1\n… and 2 more lines\n"
        );
        let long = vec!["x".repeat(99) + "\x1b[31m"];
        assert_eq!(
            screen.redraw(&long, size),
            format!("\x1b[3A\r\x1b[J{}\n", "x".repeat(24))
        );
    }
}
