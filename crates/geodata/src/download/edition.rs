use std::fmt;
use std::str::FromStr;

/// A database that MaxMind offers, by its edition id, such as `GeoLite2-Country`.
///
/// Accepted are the databases of GeoLite2 (ASN, City, Country), each with `-CSV` for its CSV form, and every id that begins with
/// `GeoIP2-` or `GeoIP-`, of which an account may have others than we know.
///
/// ```
/// use geodata::download::Edition;
///
/// let edition: Edition = "GeoLite2-Country-CSV".parse()?;
/// assert!(edition.is_csv());
/// let error = "geolite2-country".parse::<Edition>().unwrap_err();
/// assert!(error.to_string().contains("did you mean `GeoLite2-Country`"));
/// # Ok::<(), geodata::download::ParseEditionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edition(String); // INVARIANT: what `from_str` accepts, so ASCII letters, digits and dashes.

impl Edition {
    /// The databases of GeoLite2, which a free account may download.
    pub const GEOLITE2: [&str; 6] = [
        "GeoLite2-ASN",
        "GeoLite2-ASN-CSV",
        "GeoLite2-City",
        "GeoLite2-City-CSV",
        "GeoLite2-Country",
        "GeoLite2-Country-CSV",
    ];

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a zip of CSV files instead of one database file.
    pub fn is_csv(&self) -> bool {
        self.0.ends_with("-CSV")
    }

    /// The form it is offered in: `zip` or `tar.gz`.
    pub fn suffix(&self) -> &'static str {
        if self.is_csv() { "zip" } else { "tar.gz" }
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Edition {
    type Err = ParseEditionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LONGEST: usize = 64;
        let paid = ["GeoIP2-", "GeoIP-"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        let known = match paid {
            Some(name) => name
                .split('-')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric())),
            None => Self::GEOLITE2.contains(&text),
        };
        if known && text.len() <= LONGEST {
            return Ok(Self(text.to_owned()));
        }
        let nearest = Self::GEOLITE2
            .into_iter()
            .map(|edition| {
                let near = strsim::jaro_winkler(&edition.to_lowercase(), &text.to_lowercase());
                (near, edition)
            })
            .filter(|(near, _)| *near > 0.85)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, edition)| edition);
        Err(ParseEditionError {
            text: text.chars().take(LONGEST).collect(),
            nearest,
        })
    }
}

/// A text that is no edition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not an edition: {}",
    text.escape_debug(),
    nearest.map_or_else(
        || format!("{}, GeoIP2-...", Edition::GEOLITE2.join(", ")),
        |nearest| format!("did you mean `{nearest}`?"),
    )
)]
pub struct ParseEditionError {
    /// What it was, cut where no edition is that long.
    text: String,
    /// What was perhaps meant.
    nearest: Option<&'static str>,
}
