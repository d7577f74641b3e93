//! A list of things of one kind, and the flags that every list takes.
//!
//! The columns carry Docker's JSON keys and table headers; a template names the keys.

use super::{Format, Template, table::layout, template::show, visible};
use anyhow::Result;
use serde_json::{Map, Value};

/// One column: the key of templates and JSON, the header of tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) header: &'static str,
    /// Part of the table that is shown when no format is given.
    pub(crate) shown: bool,
}

impl Column {
    pub(crate) const fn new(key: &'static str, header: &'static str) -> Self {
        Self {
            key,
            header,
            shown: true,
        }
    }

    pub(crate) const fn hidden(key: &'static str, header: &'static str) -> Self {
        Self {
            key,
            header,
            shown: false,
        }
    }
}

/// The flags of a list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// `table`, `json` (an object a line), or a template such as '{{.Name}}' or 'table {{.ID}}\t{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Only show ids (or names, for what has none)
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Rows in the order of the columns; the first column is what `-q` shows.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    columns: &'static [Column],
    rows: Vec<Vec<Value>>,
}

impl Listing {
    pub(crate) fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    pub(crate) fn render(&self, args: &ListArgs) -> Result<String> {
        if args.quiet {
            let ids = self.rows.iter().map(|row| format!("{}\n", show(&row[0])));
            return Ok(ids.collect());
        }
        match args.format.as_ref().unwrap_or(&Format::Table) {
            Format::Table => Ok(self.table()),
            Format::Json => Ok(self
                .rows
                .iter()
                .map(|row| format!("{}\n", self.object(row)))
                .collect()),
            Format::TableOf(template) => {
                let headers = self.columns.iter().map(|column| column.header.into()).collect();
                let mut lines = vec![template.render_row(&self.object_of(headers))?];
                lines.extend(self.rendered(template)?);
                Ok(layout(&lines))
            }
            Format::Each(template) => {
                let lines = self.rendered(template)?;
                Ok(lines.into_iter().map(|line| line + "\n").collect())
            }
        }
    }

    fn rendered(&self, template: &Template) -> Result<Vec<String>> {
        self.rows
            .iter()
            .map(|row| template.render_row(&self.object(row)))
            .collect()
    }

    fn table(&self) -> String {
        let shown = |cells: Vec<String>| -> String {
            let cells = cells.into_iter().zip(self.columns);
            let cells: Vec<_> = cells
                .filter(|(_, column)| column.shown)
                .map(|(cell, _)| cell)
                .collect();
            cells.join("\t")
        };
        let headers = self
            .columns
            .iter()
            .map(|column| column.header.to_owned())
            .collect();
        let mut lines = vec![shown(headers)];
        for row in &self.rows {
            // A tab inside a value would begin a column of its own, and what is spelled out later is wider.
            lines.push(shown(
                row.iter()
                    .map(|cell| visible(&show(cell)).replace(['\t', '\n'], " "))
                    .collect(),
            ));
        }
        layout(&lines)
    }

    fn object(&self, row: &[Value]) -> Value {
        self.object_of(row.to_vec())
    }

    fn object_of(&self, row: Vec<Value>) -> Value {
        let keys = self.columns.iter().map(|column| column.key.to_owned());
        Value::Object(keys.zip(row).collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("ID", "ID"),
        Column::new("Name", "NAME"),
        Column::hidden("Pid", "PID"),
    ];

    fn render(format: Option<&str>, quiet: bool) -> String {
        let mut listing = Listing::new(COLUMNS);
        listing.push(vec!["abc".into(), "web".into(), 17.into()]);
        listing.push(vec!["def".into(), "".into(), Value::Null]);
        let format = format.map(|text| text.parse().unwrap());
        listing
            .render(&ListArgs { format, quiet })
            .unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn all_formats() {
        for (format, quiet, expect) in [
            (None, false, "ID        NAME\nabc       web\ndef\n"),
            (Some("table"), false, "ID        NAME\nabc       web\ndef\n"),
            (None, true, "abc\ndef\n"),
            (
                Some("json"),
                false,
                "{\"ID\":\"abc\",\"Name\":\"web\",\"Pid\":17}\n{\"ID\":\"def\",\"Name\":\"\",\"Pid\":null}\n",
            ),
            (Some("{{.ID}} {{.Pid}}"), false, "abc 17\ndef <no value>\n"),
            (
                Some("table {{.Name}}\\t{{.ID}}"),
                false,
                "NAME      ID\nweb       abc\n          def\n",
            ),
            (
                Some("{{.Nmae}}"),
                false,
                "no field .Nmae here; there are .ID .Name .Pid",
            ),
        ] {
            assert_eq!(render(format, quiet), expect, "{format:?}");
        }
    }
}
