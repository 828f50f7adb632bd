//! What a benchmark prints.

use anyhow::Result;
use serde::Serialize;

/// One figure beside its limit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// `verify/<tee>/warm` or `verify/<tee>/cold`.
    pub(crate) name: String,
    /// The evidence, by its id in the collection.
    pub(crate) evidence: String,
    /// What was measured.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// What it is held against.
    pub(crate) reference: String,
    /// That, in the same unit.
    pub(crate) reference_value: f64,
    /// The value in terms of its reference.
    pub(crate) ratio: f64,
    /// The least ratio that is asked for; absent where the row is for information.
    pub(crate) target: Option<f64>,
    /// Whether it is reached.
    pub(crate) met: Option<bool>,
}

/// Rows, and what there is to say about those that are missing.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) skipped: Vec<String>,
}

impl Report {
    pub(crate) fn misses_a_target(&self) -> bool {
        self.rows.iter().any(|row| row.met == Some(false))
    }

    pub(crate) fn print_json(&self) -> Result<()> {
        put(&serde_json::to_string_pretty(self)?);
        Ok(())
    }

    pub(crate) fn print_table(&self) {
        put(&format!(
            "{:<24} {:>10} {:>12} {:>6} {:>6}  {:<7} {}",
            "ROW", "PER SECOND", "LIMIT", "RATIO", "TARGET", "VERDICT", "THE LIMIT IS"
        ));
        for row in &self.rows {
            let target = row.target.map_or_else(|| "-".to_owned(), |target| format!("{target:.2}"));
            let verdict = match row.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "-",
            };
            put(&format!(
                "{:<24} {:>10.0} {:>12.0} {:>6.2} {target:>6}  {verdict:<7} {}",
                row.name, row.value, row.reference_value, row.ratio, row.reference
            ));
        }
        for skipped in &self.skipped {
            say(&format!("skipped: {skipped}"));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the one place where figures are printed")]
fn put(line: &str) {
    println!("{line}");
}

/// One line to the person who waits.
#[expect(clippy::print_stderr, reason = "the one place where words are printed")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
