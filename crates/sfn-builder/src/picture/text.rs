//! Text in pictures: how wide it is, where it breaks, what of it must be escaped.

/// An estimate, on the wide side: the font is the viewer's.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.34,
            'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | '"' | '/' => 0.43,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
            c if c.is_ascii_uppercase() => 0.71,
            c if c.is_ascii() => 0.61,
            c if u32::from(c) >= 0x1100 => 1.05,
            _ => 0.68,
        })
        .sum();
    ems * size
}

/// At most so many lines of at most so many characters, broken at blanks where there are some; what does not fit is cut.
pub(super) fn wrap(text: &str, limit: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if let Some(line) = lines.last_mut()
            && line.chars().count() + 1 + word.len() <= limit
        {
            line.push(' ');
            line.extend(word);
            continue;
        }
        while word.len() > limit {
            // Names of many words without blanks have capitals, hyphens or the like.
            let apart = |at: &usize| {
                let (before, after) = (word[*at - 1], word[*at]);
                (before.is_lowercase() && after.is_uppercase())
                    || matches!(before, '-' | '_' | '.' | ':' | '/')
            };
            let at = (limit / 2..=limit).rev().find(apart).unwrap_or(limit);
            let rest = word.split_off(at);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        lines.push(word.into_iter().collect());
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = shorten(&format!("{last} ……"), limit.min(last.chars().count() + 2));
        }
    }
    lines
}

/// Cut to so many characters, the last of which says so.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
}

/// Text for XML; characters that XML cannot have become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_at_blanks_then_at_capitals_and_are_cut() {
        assert_eq!(wrap("Create endpoint config", 26, 3), ["Create endpoint config"]);
        assert_eq!(
            wrap("Wait until the endpoint is in service", 20, 3),
            ["Wait until the", "endpoint is in", "service"]
        );
        assert_eq!(
            wrap("ProcessEachCustomerRecordNow", 20, 3),
            ["ProcessEachCustomer", "RecordNow"]
        );
        assert_eq!(wrap("a b c d e f", 3, 2), ["a b", "c…"]);
        assert_eq!(wrap("", 3, 2), [""]);
    }

    #[test]
    fn what_xml_could_read_is_escaped() {
        assert_eq!(
            escape("<a b='1'>&\"\u{1}\n"),
            "&lt;a b=&#39;1&#39;&gt;&amp;&quot;\u{fffd} "
        );
    }
}
