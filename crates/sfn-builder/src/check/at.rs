//! The way down to a value, of which a JSON pointer is made only when there is something to say.

use crate::finding::append;

/// A place in the document; each step borrows the one above it.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    Pointer(&'a str),
    Key(&'a At<'a>, &'a str),
    Item(&'a At<'a>, usize),
}

impl At<'_> {
    pub(super) fn pointer(self) -> String {
        // As long as most pointers to states.
        let mut pointer = String::with_capacity(40);
        self.write(&mut pointer);
        pointer
    }

    fn write(self, pointer: &mut String) {
        match self {
            Self::Pointer(begin) => pointer.push_str(begin),
            Self::Key(above, key) => {
                above.write(pointer);
                append(pointer, key);
            }
            Self::Item(above, index) => {
                above.write(pointer);
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
        }
    }

    /// What the service's errors call it: the way from the state on, such as `Choices[1]/Output/list[0]`.
    pub(super) fn in_state(self) -> String {
        let pointer = self.pointer();
        let tokens: Vec<&str> = pointer.split('/').skip(1).collect();
        // Where the innermost level has its states; a state may be called `States`, too.
        let level = (0..tokens.len()).rev().find(|&at| {
            let before = |steps: usize| at.checked_sub(steps).map(|at| tokens[at]);
            tokens[at] == "States"
                && (at == 0
                    || matches!(before(1), Some("ItemProcessor" | "Iterator"))
                    || before(2) == Some("Branches"))
        });
        let below = tokens.get(level.map_or(0, |level| level + 2)..);
        let mut way = String::new();
        for token in below.unwrap_or_default() {
            if token.bytes().all(|byte| byte.is_ascii_digit()) {
                way.push_str(&format!("[{token}]"));
            } else {
                if !way.is_empty() {
                    way.push('/');
                }
                way.push_str(&unescape(token));
            }
        }
        way
    }

    /// The same of a place inside of a field that stands at `from`, whatever the names on the way.
    pub(super) fn below(self, from: At<'_>) -> String {
        if self.depth() == from.depth() {
            return from.in_state();
        }
        match self {
            Self::Pointer(_) => from.in_state(),
            Self::Key(above, key) => format!("{}/{key}", above.below(from)),
            Self::Item(above, index) => format!("{}[{index}]", above.below(from)),
        }
    }

    fn depth(self) -> usize {
        match self {
            Self::Pointer(_) => 0,
            Self::Key(above, _) | Self::Item(above, _) => 1 + above.depth(),
        }
    }
}

/// The name that a token of a pointer stands for.
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

impl From<At<'_>> for String {
    fn from(at: At<'_>) -> Self {
        at.pointer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_the_state_on() {
        for (pointer, way) in [
            ("/States/E/Output", "Output"),
            ("/States/States/Output", "Output"),
            ("/States/E/Choices/1/Output", "Choices[1]/Output"),
            ("/States/M/ItemProcessor/States/States/Assign", "Assign"),
            (
                "/States/P/Branches/0/States/a~1b/Catch/0/Output",
                "Catch[0]/Output",
            ),
            ("/States/M/ItemReader/Arguments", "ItemReader/Arguments"),
            ("/Output", "Output"),
        ] {
            assert_eq!(At::Pointer(pointer).in_state(), way);
        }
        let top = At::Pointer("/States/E/Output");
        let (list, first) = (At::Key(&top, "a/b"), 0);
        assert_eq!(At::Item(&list, first).below(top), "Output/a/b[0]");
    }
}
