//! What the service says of an expression that fails: the words of `jsonata-js`, whose error codes `jsonata-core` has too, with other
//! words.

use serde_json::Value;

/// What follows "threw an error during evaluation": a sentence with its code, or, of a limit, one without.
pub(super) fn of(message: &str, expression: &str) -> String {
    let Some((code, said)) = message.split_once(": ").filter(|(code, _)| is_code(code)) else {
        return format!(". {message}");
    };
    if let Some(limit) = limit(code) {
        return format!(": {limit}");
    }
    if let Some(words) = fixed(code) {
        return format!(". {code}: {words}");
    }
    match filled(code, said, expression) {
        Some((code, words)) => format!(". {code}: {words}"),
        None => format!(". {message}"),
    }
}

fn is_code(text: &str) -> bool {
    text.len() == 5
        && text.starts_with(['D', 'S', 'T', 'U'])
        && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// What keeps an expression from using up the machine.
fn limit(code: &str) -> Option<&'static str> {
    Some(match code {
        "U1001" | "D1011" => {
            "Stack overflow error: Check for non-terminating recursive function.  Consider rewriting as tail-recursive."
        }
        "D1012" => "Expression evaluation timeout: Check for infinite loop",
        "D2014" | "D2015" => "Expression evaluation memory limit exceeded: Check for excessive memory usage",
        _ => return None,
    })
}

/// Sentences that say nothing of the values.
fn fixed(code: &str) -> Option<&'static str> {
    Some(match code {
        "D1004" => "Regular expression matches zero length string",
        "T1006" => "Attempted to invoke a non-function",
        "T1008" => "Attempted to partially apply a non-function",
        "T2003" => "The left side of the range operator (..) must evaluate to an integer",
        "T2004" => "The right side of the range operator (..) must evaluate to an integer",
        "T2006" => "The right side of the function application operator ~> must be a function",
        "T2008" => "The expressions within an order-by clause must evaluate to numeric or string values",
        "D3001" => "Attempting to invoke string function on Infinity or NaN",
        "D3010" => "Second argument of replace function cannot be an empty string",
        "D3011" => "Fourth argument of replace function must evaluate to a positive number",
        "D3012" => "Attempted to replace a matched string with a non-string value",
        "D3020" => "Third argument of split function must evaluate to a positive number",
        "D3040" => "Third argument of match function must evaluate to a positive number",
        "D3070" => {
            "The single argument form of the sort function can only be applied to an array of strings or an array of numbers.  \
             Use the second argument to specify a comparison function"
        }
        "D3080" => "The picture string must only contain a maximum of two sub-pictures",
        "D3081" => {
            "The sub-picture must not contain more than one instance of the 'decimal-separator' character"
        }
        "D3082" => "The sub-picture must not contain more than one instance of the 'percent' character",
        "D3083" => "The sub-picture must not contain more than one instance of the 'per-mille' character",
        "D3084" => "The sub-picture must not contain both a 'percent' and a 'per-mille' character",
        "D3085" => {
            "The mantissa part of a sub-picture must contain at least one character that is either an 'optional digit \
             character' or a member of the 'decimal digit family'"
        }
        "D3086" => {
            "The sub-picture must not contain a passive character that is preceded by an active character and that is followed \
             by another active character"
        }
        "D3087" => {
            "The sub-picture must not contain a 'grouping-separator' character that appears adjacent to a 'decimal-separator' \
             character"
        }
        "D3088" => "The sub-picture must not contain a 'grouping-separator' at the end of the integer part",
        "D3089" => {
            "The sub-picture must not contain two adjacent instances of the 'grouping-separator' character"
        }
        "D3090" => {
            "The integer part of the sub-picture must not contain a member of the 'decimal digit family' that is followed by an \
             instance of the 'optional digit character'"
        }
        "D3091" => {
            "The fractional part of the sub-picture must not contain an instance of the 'optional digit character' that is \
             followed by a member of the 'decimal digit family'"
        }
        "D3092" => {
            "A sub-picture that contains a 'percent' or 'per-mille' character must not contain a character treated as an \
             'exponent-separator'"
        }
        "D3093" => {
            "The exponent part of the sub-picture must comprise only of one or more characters that are members of the 'decimal \
             digit family'"
        }
        "D3131" => "In a decimal digit pattern, all digits must be from the same decimal group",
        "D3134" => "The timezone integer format specifier cannot have more than four digits",
        "D3135" => "No matching closing bracket ']' in date/time picture string",
        "D3136" => "The date/time picture string is missing specifiers required to parse the timestamp",
        _ => return None,
    })
}

/// Sentences with what the evaluator says; `None` where it does not say enough.
fn filled<'c>(code: &'c str, said: &str, expression: &str) -> Option<(&'c str, String)> {
    let words = match code {
        "T0410" => {
            let index = argument(said)?;
            format!(
                "Argument {index} of function {} does not match function signature",
                function(said, expression)?
            )
        }
        "T0412" => {
            let index = argument(said)?;
            let (_, kind) = said.rsplit_once(' ')?;
            let kind = quoted(&format!("{}s", kind.to_ascii_lowercase().trim_end_matches('s')));
            format!(
                "Argument {index} of function {} must be an array of {kind}",
                function(said, expression)?
            )
        }
        "T2001" | "T2002" => {
            let (before, rest) = said.split_once(" side of the ")?;
            let operator = quoted(rest.split(' ').next()?);
            let code = if before.ends_with("left") {
                "T2001"
            } else {
                "T2002"
            };
            let side = before.rsplit(' ').next()?;
            let words = format!("The {side} side of the {operator} operator must evaluate to a number");
            return Some((code, words));
        }
        "T2010" => format!(
            "The expressions either side of operator {} must evaluate to numeric or string values",
            comparison(expression)?
        ),
        "D3030" => {
            let value = said.strip_prefix("Cannot convert ")?.strip_suffix(" to number")?;
            let value = match value {
                "null" => "null".to_owned(),
                value => quoted(value.strip_prefix('\'')?.strip_suffix('\'')?),
            };
            format!("Unable to cast value to a number: {value}")
        }
        "D3100" => format!(
            "The radix of the formatBase function must be between 2 and 36.  It was given {}",
            said.rsplit(' ').next()?
        ),
        "D3130" => format!(
            "Formatting or parsing an integer as a sequence starting with {} is not supported by this implementation",
            quoted(said)
        ),
        "D3132" => format!(
            "Unknown component specifier {} in date/time picture string",
            quoted(said)
        ),
        "D3133" => format!(
            "The 'name' modifier can only be applied to months and days in the date/time picture string, not {}",
            quoted(said)
        ),
        _ => return None,
    };
    Some((code, words))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The number of the argument that does not fit.
fn argument(said: &str) -> Option<usize> {
    if let Some(counts) = said.strip_prefix("Argument count mismatch: expected ") {
        let (expected, actual) = counts.split_once(", got ")?;
        // The first that is missing, or too much.
        let (expected, actual): (usize, usize) = (expected.parse().ok()?, actual.parse().ok()?);
        return Some(expected.min(actual) + 1);
    }
    let rest = said.strip_prefix("Argument ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The function that is named, or the only one that the expression calls.
fn function(said: &str, expression: &str) -> Option<String> {
    let named = said
        .split_once("of function ")
        .and_then(|(_, rest)| rest.split(' ').next())
        .map(|name| name.trim_matches('"').trim_start_matches('$'))
        .filter(|name| !["", "undefined", "does", "must"].contains(name));
    if let Some(name) = named {
        return Some(quoted(name));
    }
    let mut called = expression.match_indices('$').filter_map(|(at, _)| {
        let rest = &expression[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        (end > 0 && rest[end..].trim_start().starts_with('(')).then_some(&rest[..end])
    });
    let first = called.next()?;
    called.all(|name| name == first).then(|| quoted(first))
}

/// The only comparison in an expression.
fn comparison(expression: &str) -> Option<String> {
    let mut operators = expression.match_indices(['<', '>']).filter_map(|(at, operator)| {
        let is_application = expression[..at].ends_with('~');
        let or_equal = expression[at + 1..].starts_with('=');
        (!is_application).then(|| format!("{operator}{}", if or_equal { "=" } else { "" }))
    });
    let first = operators.next()?;
    operators
        .all(|operator| operator == first)
        .then(|| quoted(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_those_of_the_reference() {
        for (message, expression, wanted) in [
            (
                "T0410: Argument 1 must be Number",
                "$abs('a')",
                r#". T0410: Argument 1 of function "abs" does not match function signature"#,
            ),
            (
                "T0410: Argument 2 of function substring does not match function signature",
                "$substring('a', 'b') & $abs(1)",
                r#". T0410: Argument 2 of function "substring" does not match function signature"#,
            ),
            (
                "T0410: Argument count mismatch: expected 1, got 3",
                "$abs(1, 2, 3)",
                r#". T0410: Argument 2 of function "abs" does not match function signature"#,
            ),
            // It might be either.
            (
                "T0410: Argument 1 must be Number",
                "$abs('a') + $sqrt(4)",
                ". T0410: Argument 1 must be Number",
            ),
            (
                "T0412: Argument 1 must be an array of Number",
                "$sum('a')",
                r#". T0412: Argument 1 of function "sum" must be an array of "numbers""#,
            ),
            (
                "T2002: The left side of the + operator must evaluate to a number",
                "'a' + 1",
                r#". T2001: The left side of the "+" operator must evaluate to a number"#,
            ),
            (
                "T2010: Cannot compare null and number",
                "null <= 1",
                r#". T2010: The expressions either side of operator "<=" must evaluate to numeric or string values"#,
            ),
            (
                "D3030: Cannot convert 'a\"' to number",
                "",
                r#". D3030: Unable to cast value to a number: "a\"""#,
            ),
            (
                "T1006: Attempted to invoke a non-function: $f",
                "$f(1)",
                ". T1006: Attempted to invoke a non-function",
            ),
            (
                "D2015: The maximum sequence length of 5 was exceeded.",
                "",
                ": Expression evaluation memory limit exceeded: Check for excessive memory usage",
            ),
            ("D3137: my own: words", "", ". D3137: my own: words"),
            ("without a code: so", "", ". without a code: so"),
        ] {
            assert_eq!(of(message, expression), wanted);
        }
    }
}
