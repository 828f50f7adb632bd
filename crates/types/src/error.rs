//! Why a text is not the value it should be.

/// A text that could not be read as a value of this vocabulary.
///
/// The message names the kind, the offending text and what is expected; it is fit for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {expected}")]
pub struct ParseError {
    kind: &'static str,
    text: String,
    expected: &'static str,
}

impl ParseError {
    /// Says that `text` is no `kind`, and what would be one.
    ///
    /// Texts longer than 128 characters are cut in the message.
    pub fn new(kind: &'static str, text: &str, expected: &'static str) -> Self {
        let mut shown: String = text.chars().take(128).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self { kind, text: shown, expected }
    }

    /// What the text should have been, e.g. `enclave name`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}
