//! A table of text.

use std::fmt::Write as _;

use crate::output::printable;

/// What a cell shows that has no value.
pub(crate) const ABSENT: &str = "-";

/// The width of the terminal that tables are made for.
const WIDTH: usize = 100;

/// The least width of a last column that is cut.
const LEAST: usize = 20;

/// Rows below a head. Cells are escaped: they hold what receivers and tenants wrote.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these names of columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Lines of which each column begins at the same place.
    pub(crate) fn text(&self) -> String {
        self.lines(usize::MAX)
    }

    /// The same with the last column cut, so that it fits a terminal.
    pub(crate) fn cut_text(&self) -> String {
        self.lines(WIDTH)
    }

    fn lines(&self, limit: usize) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(width).collect();
        let before: usize = widths.iter().map(|width| width + 2).sum();
        let last = limit.saturating_sub(before).max(LEAST);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _ = write!(line, "{cell:width$}  ");
            }
            line.push_str(&row.last().map(|cell| cut(cell, last)).unwrap_or_default());
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// The beginning of `cell`, in at most `width` characters.
fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_one_is_cut_to_the_terminal() {
        let mut table = Table::new(&["NAME", "ERROR"]);
        table.row(&["long-name".to_owned(), "e".repeat(200)]);
        table.row(&["s".to_owned(), ABSENT.to_owned()]);
        assert_eq!(table.cut_text(), format!("NAME       ERROR\nlong-name  {}…\ns          -\n", "e".repeat(88)));
        assert!(table.text().contains(&"e".repeat(200)), "the whole text on request");
    }

    #[test]
    fn a_cell_does_not_control_the_terminal_nor_look_like_a_row() {
        let mut table = Table::new(&["NAME", "ERROR"]);
        table.row(&["a".to_owned(), "x\nb     ok\u{1b}[2J".to_owned()]);
        assert_eq!(table.text(), "NAME  ERROR\na     x\\nb     ok\\u{1b}[2J\n");
    }
}
