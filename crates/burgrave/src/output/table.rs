//! Tables that fit what is in them.

use super::{Output, Tone, one_line};

/// Rows under headings. The last column takes what is left of a line and is not padded.
pub(crate) struct Table<'a> {
    output: &'a Output,
    headings: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Tone>)>>,
}

impl<'a> Table<'a> {
    /// A table without rows yet.
    pub(crate) fn new(output: &'a Output, headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self { output, headings: headings.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.toned(cells.into_iter().map(|cell| (cell, None)));
    }

    /// Adds a row of cells with tones.
    pub(crate) fn toned(&mut self, cells: impl IntoIterator<Item = (String, Option<Tone>)>) {
        self.rows.push(cells.into_iter().map(|(cell, tone)| (one_line(&cell).into_owned(), tone)).collect());
    }

    /// The lines.
    pub(crate) fn finish(self) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(cell, _)| width(cell));
                cells.chain(self.headings.get(column).map(|heading| width(heading))).max().unwrap_or(0)
            })
            .collect();
        let headings = self.headings.iter().map(|heading| ((*heading).to_owned(), Some(Tone::Heading))).collect();
        let rows = std::iter::once(&headings).chain(&self.rows);
        rows.map(|row| self.line(row, &widths) + "\n").collect()
    }

    fn line(&self, row: &[(String, Option<Tone>)], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).enumerate().map(|(column, ((cell, tone), wide))| {
            let toned = tone.map_or_else(|| cell.clone(), |tone| self.output.tone(tone, cell));
            let last = column + 1 == row.len();
            let padding = if last { 0 } else { wide.saturating_sub(width(cell)) + 2 };
            toned + &" ".repeat(padding)
        });
        cells.collect::<String>().trim_end().to_owned()
    }
}

/// Facts about one thing: a name and its value on each line.
pub(crate) struct Facts<'a> {
    output: &'a Output,
    facts: Vec<(String, String)>,
}

impl<'a> Facts<'a> {
    /// No fact yet.
    pub(crate) fn new(output: &'a Output) -> Self {
        Self { output, facts: Vec::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub(crate) fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a fact, where there is one.
    #[must_use]
    pub(crate) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.fact(name, value),
            None => self,
        }
    }

    /// The lines. A value of several lines stands under its first.
    pub(crate) fn finish(self) -> String {
        let wide = self.facts.iter().map(|(name, _)| width(name)).max().unwrap_or(0) + 2;
        let fact = |(name, value): &(String, String)| {
            let padding = " ".repeat(wide - width(name));
            let value = value.replace('\n', &format!("\n{}", " ".repeat(wide)));
            format!("{}{padding}{value}\n", self.output.tone(Tone::Heading, name))
        };
        self.facts.iter().map(fact).collect()
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let output = Output::new(Format::Table);
        let mut table = Table::new(&output, ["NAME", "N"]);
        table.row(["payments/api".into(), "1".into()]);
        table.row(["a".into(), "22".into()]);
        assert_eq!(table.finish(), "NAME          N\npayments/api  1\na             22\n");
    }

    #[test]
    fn facts_stand_under_each_other() {
        let output = Output::new(Format::Table);
        let facts = Facts::new(&output).fact("name", "x").maybe("none", None::<u8>).fact("long one", "a\nb");
        assert_eq!(facts.finish(), "name      x\nlong one  a\n          b\n");
    }
}
