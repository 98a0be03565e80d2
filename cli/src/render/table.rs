//! Tables: aligned columns, cut to the terminal's width, whole in a pipe.
//! It refuses to know what stands in them.

use super::{Out, Tone};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

/// A column's heading and whether it holds numbers.
pub(crate) type Column = (&'static str, bool);

/// Rows of cells with their meaning, as text that ends in a newline.
pub(crate) fn table(out: &Out, columns: &[Column], rows: Vec<Vec<(String, Tone)>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match out.width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if !out.colour {
        table.force_no_tty();
    }
    let headings = columns.iter().map(|(name, _)| {
        let cell = Cell::new(*name);
        if out.colour { cell.add_attribute(Attribute::Dim) } else { cell }
    });
    let mut heading = comfy_table::Row::from(headings.collect::<Vec<_>>());
    heading.max_height(1);
    table.set_header(heading);
    for row in rows {
        let cells = row.into_iter().map(|(text, tone)| {
            let cell = Cell::new(super::clean(&text));
            match tone {
                _ if !out.colour => cell,
                Tone::Good => cell.fg(Color::DarkGreen),
                Tone::Bad => cell.fg(Color::DarkRed),
                Tone::Busy => cell.fg(Color::DarkCyan),
                Tone::Quiet => cell.add_attribute(Attribute::Dim),
                Tone::Plain => cell,
            }
        });
        let mut row = comfy_table::Row::from(cells.collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    table.set_truncation_indicator("…");
    for (place, (_, number)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(place) {
            column.set_padding((0, 2));
            if *number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_little_room_headings_are_cut_as_cells_are() {
        let columns: &[Column] = &[("NAME", false), ("CONFLICT", false), ("JOBS", false)];
        let cell = |length| ("x".repeat(length), Tone::Plain);
        let shown = table(&Out::plain(Some(30)), columns, vec![vec![cell(40), cell(12), cell(40)]]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 30), "{shown}");
    }
}
