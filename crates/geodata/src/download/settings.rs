//! Where account, key, editions and the rest come from: arguments, variables, `GeoIP.conf`.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;

use super::secret::{BasicAuth, Secret};
use super::{Edition, Error, Host};

/// A configuration file is a page of text; more is something else.
const LONGEST_CONFIG: u64 = 1 << 20;
/// A file with an account id or a key has one line.
const LONGEST_SECRET: u64 = 4096;
/// How long requests that fail are repeated, as `geoipupdate` has it.
const RETRY_FOR: Duration = Duration::from_secs(300);
/// Of a proxy whose port is not said, in the settings of `geoipupdate`.
const PROXY_PORT: u16 = 1080;

/// What was set, and where; [`check`](Self::check) makes [`Settings`] of it.
///
/// Settings from several places are put together by [`or`](Self::or), what has precedence first. The command `ipinsights fetch`
/// asks its arguments, then the variables, then the file.
///
/// ```
/// use geodata::download::Draft;
///
/// let file = "AccountID 123456\nLicenseKey abcdef\nEditionIDs GeoLite2-Country GeoLite2-ASN\n";
/// let variables = [("GEOIPUPDATE_EDITION_IDS", "GeoLite2-City")].map(|(name, value)| (name.into(), value.into()));
/// let settings = Draft::default()
///     .folder("geoip")
///     .or(Draft::from_variables(variables)?)
///     .or(Draft::from_config(file, "GeoIP.conf".as_ref()))
///     .check()?;
/// assert_eq!(settings.editions()[0].as_str(), "GeoLite2-City");
/// assert!(!format!("{settings:?}").contains("abcdef"));
/// # Ok::<(), geodata::download::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Draft {
    account_id: Option<Said>,
    license_key: Option<Said>,
    editions: Option<Said>,
    /// As an argument: paths need not be text.
    folder_argument: Option<PathBuf>,
    folder: Option<Said>,
    host: Option<Said>,
    proxy: Option<Said>,
    proxy_user_password: Option<Said>,
    preserve_file_times: Option<Said>,
    retry_for: Option<Said>,
    config: Option<Said>,
    environment_proxy: Option<Said>,
    no_proxy: Option<Said>,
    notices: Vec<String>,
    problems: Vec<String>,
}

/// A setting as it was found.
#[derive(Clone)]
struct Said {
    text: String,
    /// For messages: `--host`, "`GEOIPUPDATE_HOST`", "`Host` (line 3 of `GeoIP.conf`)".
    place: String,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Places only: any text may turn out to be a key that somebody put in the wrong place.
        let places: Vec<&str> = self.all().map(|said| said.place.as_str()).collect();
        f.debug_struct("Draft").field("set_by", &places).finish()
    }
}

/// The settings that a file or the variables can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    AccountId,
    LicenseKey,
    Editions,
    Folder,
    Host,
    Proxy,
    ProxyUserPassword,
    PreserveFileTimes,
    RetryFor,
    ConfigFile,
    /// Known to `geoipupdate` and without a use here; the text says why.
    NoUse(&'static str),
}

/// A key, its names in the file (the second one is the former one) and its names as a variable, without prefix.
const KEYS: &[(Setting, &[&str], &[&str])] = &[
    (Setting::AccountId, &["AccountID", "UserId"], &["ACCOUNT_ID"]),
    (Setting::LicenseKey, &["LicenseKey"], &["LICENSE_KEY"]),
    (Setting::Editions, &["EditionIDs", "ProductIds"], &["EDITION_IDS"]),
    (Setting::Folder, &["DatabaseDirectory"], &["DB_DIR"]),
    (Setting::Host, &["Host"], &["HOST"]),
    (Setting::Proxy, &["Proxy"], &["PROXY"]),
    (
        Setting::ProxyUserPassword,
        &["ProxyUserPassword"],
        &["PROXY_USER_PASSWORD"],
    ),
    (
        Setting::PreserveFileTimes,
        &["PreserveFileTimes"],
        &["PRESERVE_FILE_TIMES"],
    ),
    (Setting::RetryFor, &["RetryFor"], &["RETRY_FOR"]),
    (Setting::ConfigFile, &[], &["CONF_FILE"]),
    (
        Setting::NoUse("files appear when they are complete, so there is nothing to lock"),
        &["LockFile"],
        &["LOCK_FILE"],
    ),
    (
        Setting::NoUse("editions are fetched one after the other"),
        &["Parallelism"],
        &["PARALLELISM"],
    ),
    (Setting::NoUse("it is HTTPS always"), &["Protocol"], &[]),
    (
        Setting::NoUse("certificates and their names are checked always"),
        &["SkipPeerVerification", "SkipHostnameVerification"],
        &[],
    ),
    (
        Setting::NoUse("each run fetches once; a timer is the system's work"),
        &[],
        &["FREQUENCY"],
    ),
    (Setting::NoUse("progress is told without it"), &[], &["VERBOSE"]),
];

/// In the order of precedence.
const PREFIXES: [&str; 2] = ["GEOIPUPDATE_", "MAXMIND_"];
/// A variable with this ending names a file that has the value, and is stronger than the one without.
const IN_A_FILE: &str = "_FILE";

impl Draft {
    /// The account id, a number.
    #[must_use]
    pub fn account_id(mut self, id: impl Into<String>) -> Self {
        self.account_id = Some(argument("the account id", id));
        self
    }

    /// The license key. It is not to be found in anything that this crate prints or returns.
    #[must_use]
    pub fn license_key(mut self, key: impl Into<String>) -> Self {
        self.license_key = Some(argument("the license key", key));
        self
    }

    /// The editions to download; none leaves them to where else they are said.
    #[must_use]
    pub fn editions(mut self, editions: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let editions: Vec<_> = editions.into_iter().collect();
        if !editions.is_empty() {
            let texts: Vec<_> = editions.iter().map(AsRef::as_ref).collect();
            self.editions = Some(argument("the editions", texts.join(" ")));
        }
        self
    }

    /// The folder for the files. Default: the current one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder_argument = Some(folder.into());
        self
    }

    /// The server: a name, or a URL without a path. `http://` is for addresses of this machine alone. Default:
    /// `https://download.maxmind.com`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(argument("the host", host));
        self
    }

    /// What is said here, and for the rest what `weaker` says.
    #[must_use]
    pub fn or(mut self, weaker: Self) -> Self {
        let Self {
            account_id,
            license_key,
            editions,
            folder_argument,
            folder,
            host,
            proxy,
            proxy_user_password,
            preserve_file_times,
            retry_for,
            config,
            environment_proxy,
            no_proxy,
            notices,
            problems,
        } = weaker;
        self.folder_argument = self.folder_argument.or(folder_argument);
        for (mine, other) in [
            (&mut self.account_id, account_id),
            (&mut self.license_key, license_key),
            (&mut self.editions, editions),
            (&mut self.folder, folder),
            (&mut self.host, host),
            (&mut self.proxy, proxy),
            (&mut self.proxy_user_password, proxy_user_password),
            (&mut self.preserve_file_times, preserve_file_times),
            (&mut self.retry_for, retry_for),
            (&mut self.config, config),
            (&mut self.environment_proxy, environment_proxy),
            (&mut self.no_proxy, no_proxy),
        ] {
            if mine.is_none() {
                *mine = other;
            }
        }
        self.notices.extend(notices);
        self.problems.extend(problems);
        self
    }

    /// What variables say: those of `geoipupdate` (`GEOIPUPDATE_ACCOUNT_ID`, `GEOIPUPDATE_LICENSE_KEY`, `..._EDITION_IDS`,
    /// `..._DB_DIR`, `..._HOST`, `..._PROXY`, `..._PROXY_USER_PASSWORD`, `..._PRESERVE_FILE_TIMES`, `..._RETRY_FOR`,
    /// `..._CONF_FILE`), then the same with `MAXMIND_` before them.
    ///
    /// `GEOIPUPDATE_ACCOUNT_ID_FILE` and `GEOIPUPDATE_LICENSE_KEY_FILE` name files with the value, and are stronger than the
    /// variables without `_FILE`. A variable that is empty counts as one that is not set. Without a `Proxy` setting, `HTTPS_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY` hold, in either case of letters. Others are left alone.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when a file named by a variable cannot be read. What else is wrong is told by [`check`](Self::check).
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Error> {
        let mut draft = Self::default();
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else {
                continue; // none of ours
            };
            let ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if !ours && proxy_variable(&name).is_none() {
                continue;
            }
            match value.into_string() {
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => found.push((name, value.trim().to_owned())),
                Err(_) => draft.problems.push(format!("`{name}` is not UTF-8")),
            }
        }
        // The order in which an environment comes is nobody's choice.
        found.sort();
        for prefix in PREFIXES {
            for in_a_file in [true, false] {
                for (name, value) in &found {
                    let Some(short) = name.strip_prefix(prefix) else {
                        continue;
                    };
                    draft.variable(name, short, in_a_file, value)?;
                }
            }
        }
        for (name, value) in &found {
            let said = || {
                Some(Said {
                    text: value.clone(),
                    place: format!("`{name}`"),
                })
            };
            match proxy_variable(name) {
                Some(ProxyVariable::Proxy) => {
                    draft.environment_proxy = draft.environment_proxy.take().or_else(said)
                }
                Some(ProxyVariable::All) => {} // below: it is the weaker one
                Some(ProxyVariable::No) => draft.no_proxy = draft.no_proxy.take().or_else(said),
                None => {}
            }
        }
        for (name, value) in &found {
            if proxy_variable(name) == Some(ProxyVariable::All) && draft.environment_proxy.is_none() {
                draft.environment_proxy = Some(Said {
                    text: value.clone(),
                    place: format!("`{name}`"),
                });
            }
        }
        Ok(draft)
    }

    fn variable(&mut self, name: &str, short: &str, in_a_file: bool, value: &str) -> Result<(), Error> {
        let known = |short: &str| {
            KEYS.iter()
                .find(|(_, _, names)| names.contains(&short))
                .map(|(key, _, _)| *key)
        };
        let by_file = short
            .strip_suffix(IN_A_FILE)
            .and_then(known)
            .filter(|key| matches!(key, Setting::AccountId | Setting::LicenseKey));
        let (key, text) = match (by_file, known(short)) {
            (Some(key), _) if in_a_file => {
                if self.slot(key).is_some_and(|slot| slot.is_some()) {
                    self.not_used(name, key);
                    return Ok(());
                }
                // Not the path itself: somebody may have put the key there.
                let text = read_text(Path::new(value), LONGEST_SECRET).map_err(|source| Error::Read {
                    what: format!("the file that `{name}` names"),
                    source,
                })?;
                (key, text.trim().to_owned())
            }
            (None, Some(key)) if !in_a_file => (key, value.to_owned()),
            (None, None) if !in_a_file => {
                self.notices.push(format!("`{name}` is not known, and not used"));
                return Ok(());
            }
            _ => return Ok(()), // the other round's
        };
        if let Setting::NoUse(why) = key {
            self.notices.push(format!("`{name}` is not used: {why}"));
            return Ok(());
        }
        let Some(slot) = self.slot(key) else {
            return Ok(());
        };
        if slot.is_some() {
            self.not_used(name, key);
        } else {
            *slot = Some(Said {
                text,
                place: format!("`{name}`"),
            });
        }
        Ok(())
    }

    fn not_used(&mut self, name: &str, key: Setting) {
        let stronger = self
            .slot(key)
            .and_then(|slot| slot.as_ref())
            .map_or_else(String::new, |said| said.place.clone());
        self.notices
            .push(format!("`{name}` is not used: {stronger} is stronger"));
    }

    /// What a `GeoIP.conf` says. `path` is for messages.
    ///
    /// A line has a name, blanks, and a value; empty lines and those that begin with `#` are comments. A name that `geoipupdate`
    /// does not know either, a line without a value and a name that comes twice are problems that [`check`](Self::check) tells.
    pub fn from_config(text: &str, path: &Path) -> Self {
        let mut draft = Self::default();
        let mut seen: Vec<(Setting, &str)> = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("line {} of `{}`", index + 1, path.display());
            let (name, value) = line
                .split_once(char::is_whitespace)
                .map_or((line, ""), |(name, value)| (name, value.trim()));
            let known = KEYS.iter().find(|(_, names, _)| names.contains(&name));
            let Some((key, _, _)) = known else {
                draft
                    .problems
                    .push(format!("{place}: {}", unknown_name(name, value)));
                continue;
            };
            if value.is_empty() {
                draft.problems.push(format!("{place}: `{name}` has no value"));
                continue;
            }
            let twice = seen.iter().any(|(other, written)| match key {
                Setting::NoUse(_) => *written == name,
                key => other == key,
            });
            if twice {
                draft
                    .problems
                    .push(format!("{place}: `{name}` is set a second time"));
                continue;
            }
            seen.push((*key, name));
            if let Setting::NoUse(why) = key {
                draft
                    .notices
                    .push(format!("`{name}` ({place}) is not used: {why}"));
            } else if let Some(slot) = draft.slot(*key) {
                *slot = Some(Said {
                    text: value.to_owned(),
                    place: format!("`{name}` ({place})"),
                });
            }
        }
        draft
    }

    /// Reads a `GeoIP.conf`: see [`from_config`](Self::from_config).
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when the file cannot be read, is not UTF-8, or is larger than a mebibyte.
    pub fn read_config(path: &Path) -> Result<Self, Error> {
        let text = read_text(path, LONGEST_CONFIG).map_err(|source| Error::Read {
            what: format!("`{}`", path.display()),
            source,
        })?;
        Ok(Self::from_config(&text, path))
    }

    /// The configuration file that the variables name.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_ref().map(|said| Path::new(&said.text))
    }

    fn slot(&mut self, key: Setting) -> Option<&mut Option<Said>> {
        Some(match key {
            Setting::AccountId => &mut self.account_id,
            Setting::LicenseKey => &mut self.license_key,
            Setting::Editions => &mut self.editions,
            Setting::Folder => &mut self.folder,
            Setting::Host => &mut self.host,
            Setting::Proxy => &mut self.proxy,
            Setting::ProxyUserPassword => &mut self.proxy_user_password,
            Setting::PreserveFileTimes => &mut self.preserve_file_times,
            Setting::RetryFor => &mut self.retry_for,
            Setting::ConfigFile => &mut self.config,
            Setting::NoUse(_) => return None,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Said> {
        [
            &self.account_id,
            &self.license_key,
            &self.editions,
            &self.folder,
            &self.host,
            &self.proxy,
            &self.proxy_user_password,
            &self.preserve_file_times,
            &self.retry_for,
            &self.config,
            &self.environment_proxy,
            &self.no_proxy,
        ]
        .into_iter()
        .flatten()
    }

    /// Checks all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] with everything that is missing or cannot be used.
    pub fn check(self) -> Result<Settings, Error> {
        let mut problems = self.problems.clone();
        let mut notices = self.notices.clone();
        let auth = self.auth(&mut problems);
        let editions = self.checked_editions(&mut problems);
        let host = match &self.host {
            None => Some(Host::default()),
            Some(said) => match Host::parse(&said.text) {
                Ok((host, by_alias)) => {
                    if by_alias {
                        notices.push(format!(
                            "{} names the server of the update program; the downloads come from `{host}`",
                            said.place
                        ));
                    }
                    Some(host)
                }
                Err(problem) => {
                    problems.push(format!("{} {problem}", said.place));
                    None
                }
            },
        };
        let proxy = self.checked_proxy(&mut problems);
        let preserve_file_times = match &self.preserve_file_times {
            None => false,
            Some(said) => {
                if said.text != "0" && said.text != "1" {
                    problems.push(format!("{} must be 0 or 1", said.place));
                }
                said.text == "1"
            }
        };
        let retry_for = match &self.retry_for {
            None => RETRY_FOR,
            Some(said) => duration(&said.text).unwrap_or_else(|| {
                problems.push(format!(
                    "{} is not a time such as `5m`, `1h30m` or `0s`",
                    said.place
                ));
                RETRY_FOR
            }),
        };
        let notices = notices.into_iter().map(|notice| self.hide(notice)).collect();
        match (auth, host) {
            (Some(auth), Some(host)) if problems.is_empty() => Ok(Settings {
                auth,
                editions,
                folder: self
                    .folder_argument
                    .clone()
                    .or_else(|| self.folder.as_ref().map(|said| PathBuf::from(&said.text)))
                    .unwrap_or_else(|| PathBuf::from(".")),
                host,
                proxy,
                preserve_file_times,
                retry_for,
                notices,
            }),
            _ => Err(InvalidSettings {
                problems: problems.into_iter().map(|problem| self.hide(problem)).collect(),
                notices,
            }
            .into()),
        }
    }

    fn auth(&self, problems: &mut Vec<String>) -> Option<BasicAuth> {
        let account_id = match &self.account_id {
            None => {
                problems.push(
                    "no account id: set `GEOIPUPDATE_ACCOUNT_ID`, or `AccountID` in a `GeoIP.conf`"
                        .to_owned(),
                );
                None
            }
            Some(said) => {
                // The text is not repeated: where a number is missing, there may be a key instead.
                let number = said.text.len() <= 20 && said.text.bytes().all(|b| b.is_ascii_digit());
                if !number || said.text.is_empty() {
                    problems.push(format!("{} is not an account id, which is a number", said.place));
                }
                number.then_some(&said.text)
            }
        };
        let license_key = match &self.license_key {
            None => {
                problems.push(
                    "no license key: set `GEOIPUPDATE_LICENSE_KEY` or `GEOIPUPDATE_LICENSE_KEY_FILE`, or `LicenseKey` \
                     in a `GeoIP.conf`"
                        .to_owned(),
                );
                None
            }
            Some(said) => {
                let printable = !said.text.is_empty()
                    && said.text.len() <= 256
                    && said.text.bytes().all(|b| b.is_ascii_graphic());
                // What the portal writes into the file that it offers.
                if said.text == "YOUR_LICENSE_KEY_HERE" {
                    problems.push(format!("{} still has the placeholder for the key", said.place));
                } else if !printable {
                    problems.push(format!(
                        "{} is not a license key, which is one word of letters, digits and signs",
                        said.place
                    ));
                }
                printable.then(|| Secret::new(&said.text))
            }
        };
        BasicAuth::new(account_id?, &license_key?)
    }

    fn checked_editions(&self, problems: &mut Vec<String>) -> Vec<Edition> {
        let Some(said) = &self.editions else {
            problems.push(
                "no edition to download: name one, such as `GeoLite2-Country`, or set `GEOIPUPDATE_EDITION_IDS`"
                    .to_owned(),
            );
            return Vec::new();
        };
        let mut editions: Vec<Edition> = Vec::new();
        for word in said.text.split_whitespace() {
            match word.parse::<Edition>() {
                Ok(edition) if editions.contains(&edition) => {}
                Ok(edition) => editions.push(edition),
                Err(error) => problems.push(format!("{}: {error}", said.place)),
            }
        }
        if said.text.trim().is_empty() {
            problems.push(format!("{}: an edition with an empty name", said.place));
        }
        editions
    }

    fn checked_proxy(&self, problems: &mut Vec<String>) -> Option<Proxy> {
        let (said, port, of_environment) = match (&self.proxy, &self.environment_proxy) {
            (Some(said), _) => (said, PROXY_PORT, false),
            (None, Some(said)) => (said, 80, true),
            (None, None) => {
                if let Some(said) = &self.proxy_user_password {
                    problems.push(format!("{} is for a proxy, and there is none", said.place));
                }
                return None;
            }
        };
        let user_password = self
            .proxy_user_password
            .as_ref()
            .filter(|_| !of_environment)
            .map(|said| match said.text.split_once(':') {
                Some((user, password)) => Ok((user.to_owned(), Secret::new(password))),
                None => Err(format!("{} must be a name, a colon and a password", said.place)),
            })
            .transpose();
        let user_password = match user_password {
            Ok(user_password) => user_password,
            Err(problem) => {
                problems.push(problem);
                return None;
            }
        };
        match Proxy::parse(&said.text, port, user_password) {
            Ok(mut proxy) => {
                if of_environment && let Some(no) = &self.no_proxy {
                    proxy.not_for.clone_from(&no.text);
                }
                Some(proxy)
            }
            Err(problem) => {
                problems.push(format!("{} {problem}", said.place));
                None
            }
        }
    }

    /// A message without what is secret, should a key stand where something else was expected.
    fn hide(&self, message: String) -> String {
        let mut message = message;
        for said in [&self.license_key, &self.proxy_user_password]
            .into_iter()
            .flatten()
        {
            let password = said.text.split_once(':').map_or("", |(_, password)| password);
            for secret in [said.text.as_str(), password] {
                if secret.len() >= 4 {
                    message = message.replace(secret, "...");
                }
            }
        }
        message
    }
}

fn argument(place: &str, text: impl Into<String>) -> Said {
    Said {
        text: text.into(),
        place: place.to_owned(),
    }
}

/// A name that nobody knows is repeated only where it looks like one: a key on a line of its own is none.
fn unknown_name(name: &str, value: &str) -> String {
    let names = KEYS.iter().flat_map(|(_, names, _)| *names);
    let nearest = names
        .map(|known| {
            (
                strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase()),
                known,
            )
        })
        .filter(|(near, _)| *near > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, known)) => format!("an unknown setting; did you mean `{known}`, with a blank after it?"),
        None if !value.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            format!("`{name}` is not a setting")
        }
        None => "not a setting, which is a name, a blank and a value".to_owned(),
    }
}

#[derive(PartialEq, Eq)]
enum ProxyVariable {
    Proxy,
    All,
    No,
}

fn proxy_variable(name: &str) -> Option<ProxyVariable> {
    match name {
        "HTTPS_PROXY" | "https_proxy" => Some(ProxyVariable::Proxy),
        "ALL_PROXY" | "all_proxy" => Some(ProxyVariable::All),
        "NO_PROXY" | "no_proxy" => Some(ProxyVariable::No),
        _ => None,
    }
}

/// Text of a file that is not larger than it has any reason to be. An error has nothing of what is in it.
fn read_text(path: &Path, longest: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is larger than {longest} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// A time as Go writes it: numbers with units, such as `1h30m`, `2.5s`; a bare `0`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[end..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    Some(total)
}

/// What a download needs, all of it checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) auth: BasicAuth,
    editions: Vec<Edition>,
    folder: PathBuf,
    host: Host,
    pub(super) proxy: Option<Proxy>,
    pub(super) preserve_file_times: bool,
    pub(super) retry_for: Duration,
    notices: Vec<String>,
}

impl Settings {
    /// The editions to download; at least one, and none twice.
    pub fn editions(&self) -> &[Edition] {
        &self.editions
    }

    /// The folder for the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What was set and has no effect, and why; to be told, and no error.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }
}

/// A proxy that is asked for a tunnel to the server.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) uri: Uri,
    pub(super) auth: Option<BasicAuth>,
    /// Hosts to be reached without it, as `NO_PROXY` lists them.
    not_for: String,
}

impl Proxy {
    /// Whether this host is reached through it. A loopback address never is.
    pub(super) fn is_for(&self, host: &Host) -> bool {
        if host.is_loopback() {
            return false;
        }
        // The list's rules (subdomains, networks) are the library's; the proxy here only stands for any.
        let matcher = Matcher::builder()
            .all("http://proxy")
            .no(self.not_for.as_str())
            .build();
        host.uri("/").is_ok_and(|uri| matcher.intercept(&uri).is_some())
    }

    fn parse(text: &str, port: u16, user_password: Option<(String, Secret)>) -> Result<Self, &'static str> {
        const FORM: &str = "is not a proxy, which is a host or `http://host:port`";
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("is of a kind that is not supported: only `http://` proxies are"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user_info, place) = match rest.rsplit_once('@') {
            Some((user_info, place)) => (Some(user_info), place),
            None => (None, rest),
        };
        let authority: http::uri::Authority = place.parse().map_err(|_| FORM)?;
        if authority.host().is_empty() {
            return Err(FORM);
        }
        let port = authority.port_u16().unwrap_or(port);
        let uri: Uri = format!("http://{}:{port}/", authority.host())
            .parse()
            .map_err(|_| FORM)?;
        let decoded = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| FORM)
        };
        // As `geoipupdate` does: what is in the address is stronger.
        let user_password = match user_info {
            Some(user_info) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                Some((decoded(user)?, Secret::new(decoded(password)?)))
            }
            None => user_password,
        };
        let auth = match user_password {
            None => None,
            Some((user, password)) => Some(BasicAuth::new(&user, &password).ok_or(FORM)?),
        };
        Ok(Self {
            uri,
            auth,
            not_for: String::new(),
        })
    }
}

/// Everything that is wrong with a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct InvalidSettings {
    /// At least one, each with its place.
    pub problems: Vec<String>,
    /// What was set and has no effect: perhaps it is where the missing piece went.
    pub notices: Vec<String>,
}
