//! Text that a terminal shows and does not obey: evidence, names and answers are other people's words.

use std::borrow::Cow;

/// The text with everything escaped (`\u{1b}`) that moves the cursor, changes how text is shown, or is not seen at all. Line ends
/// and tabs stay, and of escape sequences those in `kept`: the colours that this program gives to text.
pub(super) fn tame<'a>(text: &'a str, kept: &[String]) -> Cow<'a, str> {
    if !text.chars().any(|character| is_wild(character) && !is_layout(character)) {
        return text.into();
    }
    let mut tamed = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let sequence = kept.iter().find(|sequence| rest.starts_with(sequence.as_str()));
        let taken = sequence.map_or(character.len_utf8(), String::len);
        match sequence {
            Some(sequence) => tamed.push_str(sequence),
            None if is_wild(character) && !is_layout(character) => tamed.extend(character.escape_default()),
            None => tamed.push(character),
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    tamed.into()
}

/// Somebody else's words within a line of ours: as [`tame`], without any sequence, and on one line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_wild) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_wild(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.into()
}

/// JSON with control characters escaped that its own rules let stand (RFC 8259, section 7: from U+007F on). They stand in strings alone.
pub(super) fn tame_json(json: String) -> String {
    let is_left = |character: char| ('\u{7f}'..='\u{9f}').contains(&character);
    if !json.contains(is_left) {
        return json;
    }
    let escaped = |character: char| {
        if is_left(character) { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    };
    json.chars().map(escaped).collect()
}

fn is_layout(character: char) -> bool {
    matches!(character, '\n' | '\t')
}

/// Control characters, and Unicode's that have no shape of their own or turn the direction of others around.
fn is_wild(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31mb\r\u{202e}c\u{7f}";

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_stays() {
        assert_eq!(tame("two\nlines\tand `more` ≤ ✓", &[]), "two\nlines\tand `more` ≤ ✓");
        assert_eq!(tame(HOSTILE, &[]), "a\\u{1b}[2J\\u{9b}31mb\\r\\u{202e}c\\u{7f}");
        assert_eq!(one_line("verdict\naccepted\u{1b}[32m"), "verdict\\naccepted\\u{1b}[32m");
        assert_eq!(one_line("as it is"), "as it is");
    }

    #[test]
    fn only_the_colours_of_this_program_are_kept() {
        let kept = ["\u{1b}[32m".to_owned(), "\u{1b}[0m".to_owned()];
        let text = "\u{1b}[32mgood\u{1b}[0m \u{1b}[8mhidden\u{1b}[31m";
        assert_eq!(tame(text, &kept), "\u{1b}[32mgood\u{1b}[0m \\u{1b}[8mhidden\\u{1b}[31m");
    }

    #[test]
    fn json_says_the_same_without_control_characters() {
        let json = tame_json(serde_json::to_string(HOSTILE).unwrap());
        assert!(!json.contains(char::is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), HOSTILE);
    }
}
