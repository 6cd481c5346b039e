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

    /// What the interpreter's errors call it: the way from the state's field on, such as `Output/list/0`. The template of
    /// that field begins at `from`.
    pub(super) fn below(self, from: At<'_>, field: &str) -> String {
        if self.depth() == from.depth() {
            return field.to_owned();
        }
        match self {
            Self::Pointer(_) => field.to_owned(),
            Self::Key(above, key) => format!("{}/{key}", above.below(from, field)),
            Self::Item(above, index) => format!("{}/{index}", above.below(from, field)),
        }
    }

    fn depth(self) -> usize {
        match self {
            Self::Pointer(_) => 0,
            Self::Key(above, _) | Self::Item(above, _) => 1 + above.depth(),
        }
    }
}

impl From<At<'_>> for String {
    fn from(at: At<'_>) -> Self {
        at.pointer()
    }
}
