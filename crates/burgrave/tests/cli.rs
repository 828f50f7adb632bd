//! What the command says of itself, and how it fails where no node is needed: whole sessions in `tests/cmd/`.

#[test]
fn sessions_print_what_they_should() {
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .env("BURGRAVE_CONFIG", "/nonexistent/contexts.toml")
        .case("tests/cmd/*.trycmd");
}
