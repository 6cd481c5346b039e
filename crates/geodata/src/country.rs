//! Countries as databases name them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An ISO 3166-1 alpha-2 code, in capitals. Whether a country of that code exists is for a database to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[A-Z]{2}$")))]
#[serde(into = "String", try_from = "String")]
pub struct CountryCode([u8; 2]); // INVARIANT: two ASCII capitals.

/// A text that is not a country code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a country code of two letters")]
pub struct ParseCountryCodeError(String);

impl CountryCode {
    /// How many codes there can be.
    pub(crate) const NUMBER: usize = 26 * 26;

    /// A number below [`NUMBER`](Self::NUMBER), in the order of the codes.
    pub(crate) fn index(&self) -> usize {
        let [a, b] = self.0.map(|letter| usize::from(letter - b'A'));
        a * 26 + b
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // ASCII by the invariant
    }
}

/// Small letters are taken for capitals.
impl FromStr for CountryCode {
    type Err = ParseCountryCodeError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(ParseCountryCodeError(s.to_owned())),
        }
    }
}

impl TryFrom<String> for CountryCode {
    type Error = ParseCountryCodeError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<CountryCode> for String {
    fn from(code: CountryCode) -> Self {
        code.as_str().to_owned()
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A country of a database. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country {
    /// Its code.
    pub code: CountryCode,
    /// Its name in the language asked for, as the database spells it; else in English, else the code.
    pub name: Arc<str>,
    /// Its English name, where the database has one and another is shown.
    pub english: Option<Arc<str>>,
}

impl Country {
    /// Whether `text` is the code, the name or the English name, in capitals or not.
    pub fn answers_to(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let is_name = |name: &str| name.to_lowercase() == text;
        is_name(self.code.as_str()) || is_name(&self.name) || self.english.as_deref().is_some_and(is_name)
    }
}

/// Puts names together again that a list was cut into at its commas: `"Korea, Republic of"`, in quotes, is one name. A quote that does
/// not end is part of a name.
pub(crate) fn joined_names(parts: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let parts: Vec<String> = parts.into_iter().map(Into::into).collect();
    let mut names = Vec::new();
    let mut at = 0;
    while at < parts.len() {
        let quoted = parts[at].trim_start().starts_with('"');
        let end = (at..parts.len()).filter(|_| quoted).find_map(|end| {
            let name = parts[at..=end].join(",");
            let name = name.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned();
            Some((name, end))
        });
        let (name, end) = end.unwrap_or_else(|| (parts[at].clone(), at));
        names.push(name);
        at = end + 1;
    }
    names
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.code)
    }
}

/// Something for each country, made when the country is first met.
#[derive(Debug, Clone)]
pub(crate) struct ByCode<T>(Vec<Option<T>>);

impl<T> ByCode<T> {
    pub(crate) fn new() -> Self {
        Self(
            std::iter::repeat_with(|| None)
                .take(CountryCode::NUMBER)
                .collect(),
        )
    }

    pub(crate) fn of(&mut self, country: &Country, make: impl FnOnce(&Country) -> T) -> &mut T {
        self.0[country.code.index()].get_or_insert_with(|| make(country))
    }

    /// By code.
    pub(crate) fn into_values(self) -> Vec<T> {
        self.0.into_iter().flatten().collect()
    }
}

/// The country that someone who wrote `asked` most likely meant.
pub(crate) fn nearest<'a>(
    asked: &str,
    known: impl IntoIterator<Item = &'a Country, IntoIter: Clone>,
) -> Option<&'a Country> {
    /// Common other codes and names.
    const ALSO: [(&str, &str); 8] = [
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("England", "GB"),
        ("USA", "US"),
        ("America", "US"),
        ("EL", "GR"),
        ("Holland", "NL"),
        ("Deutschland", "DE"),
    ];
    /// Up to these, two codes or names have nothing to do with each other.
    const SIMILAR_CODE: f64 = 0.68;
    const SIMILAR_NAME: f64 = 0.8;

    let known = known.into_iter();
    let also = ALSO
        .iter()
        .find(|(also, _)| also.eq_ignore_ascii_case(asked))
        .map(|(_, code)| *code);
    if let Some(country) = known.clone().find(|country| Some(country.code.as_str()) == also) {
        return Some(country);
    }
    let asked = asked.to_lowercase();
    // A code is too short to be like a name, and the other way round.
    let is_code = asked.chars().count() <= 3;
    let like = |text: &str| strsim::jaro_winkler(&asked, &text.to_lowercase());
    let similarity = |country: &Country| {
        if is_code {
            return like(country.code.as_str());
        }
        let english = country.english.as_deref().map_or(0.0, like);
        english.max(like(&country.name))
    };
    let enough = if is_code { SIMILAR_CODE } else { SIMILAR_NAME };
    known
        .map(|country| (similarity(country), country))
        .filter(|(similarity, _)| *similarity > enough)
        // The first of equals, for the same answer every time.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, country)| country)
}
