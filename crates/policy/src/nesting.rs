//! How deep a text nests, told before anything recursive sees it.
//!
//! Cedar's parser and type checker recurse over the text. Forty nested parentheses overflow the 2 MiB stack of a thread
//! in an unoptimised build; and where the type checker sees its stack run short, it stops and reports no fault at all.
//! So a text is bounded first, by a scan that does not recurse and errs on the deep side.

/// Brackets and `if`s inside each other, at most: each takes the parser through its whole grammar.
pub(crate) const MAX_BRACKETS: usize = 12;

/// Levels of the syntax tree, at most: `a && b && c` has two above its parts, `a.b.c` too.
pub(crate) const MAX_DEPTH: usize = 64;

/// The byte at which `text` nests too deep, if it does. Holds for the syntax tree of any text that parses.
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => {
                while let Some((_, c)) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.next_if(|(_, next)| *next == '/').is_some() => {
                rest.by_ref().find(|(_, c)| matches!(c, '\n' | '\r'));
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let mut word = String::from(c);
                while let Some((_, c)) = rest.next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                match word.as_str() {
                    "if" => level.ifs += 1,
                    "when" | "unless" => level.operator(),
                    _ => {}
                }
            }
            '(' | '[' | '{' => outer.push(std::mem::take(&mut level)),
            // A closing bracket too many is the parser's to refuse.
            ')' | ']' | '}' => {
                if let Some(around) = outer.pop() {
                    let inner = std::mem::replace(&mut level, around);
                    level.below = level.below.max(inner.depth() + 1);
                }
            }
            ',' => level.next_item(),
            ';' => (outer, level) = (Vec::new(), Level::default()),
            '.' | '!' => level.run += 1,
            '&' | '|' => {
                rest.next_if(|(_, next)| *next == c);
                level.operator();
            }
            '+' | '-' | '*' => level.operator(),
            _ => {}
        }
        let brackets: usize = outer.iter().map(|level| level.ifs + 1).sum::<usize>() + level.ifs;
        let depth: usize = outer.iter().map(|level| level.depth() + 1).sum::<usize>() + level.depth();
        if brackets > MAX_BRACKETS || depth > MAX_DEPTH {
            return Some(at);
        }
    }
    None
}

/// One level of brackets: what is counted in the item (between commas) that the scan is in.
#[derive(Default)]
struct Level {
    /// Binary operators and clauses, each of which takes all before it as its left side.
    operators: usize,
    /// Member accesses and negations since the last operator, and the most between two.
    run: usize,
    longest_run: usize,
    /// `if`s, each of which takes all behind it.
    ifs: usize,
    /// The deepest bracket that was closed in the item, and the deepest item before.
    below: usize,
    items_before: usize,
}

impl Level {
    fn operator(&mut self) {
        self.operators += 1;
        self.longest_run = self.longest_run.max(self.run);
        self.run = 0;
    }

    fn next_item(&mut self) {
        *self = Self { items_before: self.depth(), ..Self::default() };
    }

    fn depth(&self) -> usize {
        let item = self.operators + self.longest_run.max(self.run) + self.ifs + self.below;
        item.max(self.items_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_strings_and_comments_does_not_nest() {
        assert!(too_deep(&format!("// \r{}", "(".repeat(MAX_BRACKETS + 1))).is_some());
        let quiet = format!("// {0}\n\"{0}\\\"{0}\"", "((((((((((((((((((((");
        assert_eq!(too_deep(&quiet), None);
        assert!(too_deep(&format!("{quiet}{}", "(".repeat(MAX_BRACKETS + 1))).is_some());
    }

    #[test]
    fn items_side_by_side_do_not_add_up() {
        assert_eq!(too_deep(&format!("[{}]", "a.b, ".repeat(500))), None);
        assert_eq!(too_deep(&"permit (principal, action, resource) when { a.b && c.d };".repeat(50)), None);
    }

    #[test]
    fn what_is_deep_on_the_left_counts_under_all_that_follows() {
        let left = format!("(a{})", ".b".repeat(40));
        assert_eq!(too_deep(&left), None);
        assert!(too_deep(&format!("{left}{}", " && c".repeat(40))).is_some());
    }
}
