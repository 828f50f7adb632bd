//! Every problem code has its section in `docs/errors.md`, with the status and exit code that it really has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly")]

use burgrave_types::ProblemCode;

const PAGE: &str = include_str!("../../../docs/errors.md");

#[test]
fn every_code_has_a_section_with_its_status_and_exit_code() {
    for code in ProblemCode::ALL {
        let heading = format!("\n## {code}\n");
        let section = PAGE.split(&heading).nth(1).unwrap_or_else(|| panic!("docs/errors.md has no section `{code}`"));
        let section = section.split("\n## ").next().unwrap();
        let figures = format!("({}, exit {})", code.status(), code.exit_code());
        assert!(section.contains(&figures), "the section `{code}` does not say `{figures}`");
    }
}

#[test]
fn every_section_is_a_code() {
    for heading in PAGE.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(heading.parse::<ProblemCode>().is_ok(), "docs/errors.md explains `{heading}`, which no code is");
    }
}
