//! Where a build's source comes from, and its clean checkout.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use percent_encoding::percent_decode_str;

use crate::account::{self, Account};
use crate::ending::Folder;
use crate::git::{git, git_with};

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `github:owner/name`.
    GitHub { owner: String, name: String },
    /// `codecommit::region://repository`, and `codecommit://repository` without a region.
    CodeCommit {
        region: Option<String>,
        repository: String,
    },
    /// Any other address that git understands.
    Url(String),
    /// A repository on this machine.
    Path(PathBuf),
}

/// Why a text does not name a source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParseSourceError {
    Empty,
    /// It would be taken for an option of git.
    LeadingDash(String),
    GitHub(String),
    CodeCommit(String),
}

impl fmt::Display for ParseSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the source is empty"),
            Self::LeadingDash(text) => write!(f, "the source `{text}` begins with a dash"),
            Self::GitHub(text) => write!(f, "`{text}` is not of the form github:owner/name"),
            Self::CodeCommit(text) => {
                write!(f, "`{text}` is not of the form codecommit::region://repository")
            }
        }
    }
}

impl std::error::Error for ParseSourceError {}

impl FromStr for Source {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseSourceError::Empty);
        }
        if text.starts_with('-') {
            return Err(ParseSourceError::LeadingDash(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("github:") {
            return github(rest).ok_or_else(|| ParseSourceError::GitHub(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("codecommit:") {
            return codecommit(rest).ok_or_else(|| ParseSourceError::CodeCommit(text.to_owned()));
        }
        // `git@host:path` has no slash before its colon; a drive letter or a plain path has no such host.
        let scp_like = text
            .split_once(':')
            .is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
        if text.contains("://") || scp_like {
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::Path(PathBuf::from(text)))
    }
}

fn github(text: &str) -> Option<Source> {
    let (owner, name) = text.split_once('/')?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    (is_github_name(owner) && is_github_name(name)).then(|| Source::GitHub {
        owner: owner.to_owned(),
        name: name.to_owned(),
    })
}

fn is_github_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !text.is_empty() && !text.starts_with(['-', '.']) && text.bytes().all(allowed)
}

/// The forms of `git-remote-codecommit`, after `codecommit:`.
fn codecommit(text: &str) -> Option<Source> {
    let (region, repository) = match text.strip_prefix(':') {
        Some(rest) => {
            let (region, repository) = rest.split_once("://")?;
            (Some(region.to_owned()), repository)
        }
        None => (None, text.strip_prefix("//")?),
    };
    // `profile@repository` names a set of credentials.
    let name = repository.rsplit('@').next().unwrap_or(repository);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_name = !name.is_empty() && name.len() <= 100 && name.bytes().all(allowed);
    let is_region = region.as_deref().is_none_or(|region| {
        region.split('-').count() >= 3
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    });
    (is_name && is_region).then(|| Source::CodeCommit {
        region,
        repository: repository.to_owned(),
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { owner, name } => write!(f, "github:{owner}/{name}"),
            Self::CodeCommit {
                region: Some(region),
                repository,
            } => write!(f, "codecommit::{region}://{repository}"),
            Self::CodeCommit {
                region: None,
                repository,
            } => write!(f, "codecommit://{repository}"),
            Self::Url(url) => f.write_str(&printable(url)),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// An address over HTTP without the user and the password in it, which may be a token each, and these as they are meant; `None` where
/// there is no user.
fn login_of(url: &str) -> Option<(String, (String, String))> {
    let (scheme, rest) = url.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let meant = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((format!("{scheme}://{host}{path}"), (meant(user), meant(password))))
}

/// An address as it may be printed: what one logs in with is `***`. Over ssh a user is no secret.
fn printable(url: &str) -> String {
    let hidden = login_of(url).map(|(bare, _)| bare.replacen("://", "://***@", 1));
    hidden.unwrap_or_else(|| {
        // A password in any other address.
        match url.split_once("://").and_then(|(scheme, rest)| {
            let (login, host) = rest.split_once('@')?;
            let (user, _) = login.split_once(':')?;
            (!login.contains('/')).then(|| format!("{scheme}://{user}:***@{host}"))
        }) {
            Some(text) => text,
            None => url.to_owned(),
        }
    })
}

impl Source {
    /// How git reaches the repository. For CodeCommit, the account's credentials are looked for.
    pub(crate) fn remote(&self) -> anyhow::Result<Remote> {
        if let Self::Url(url) = self
            && let Some((url, login)) = login_of(url)
        {
            return Ok(Remote {
                url,
                login: Some(login),
            });
        }
        let Self::CodeCommit { region, repository } = self else {
            return Ok(Remote {
                url: self.clone_url()?,
                login: None,
            });
        };
        let (profile, name) = match repository.split_once('@') {
            Some((profile, name)) => (Some(profile), name),
            None => (None, repository.as_str()),
        };
        let account = Account::find(profile, region.as_deref())
            .with_context(|| format!("cannot sign requests for `{self}`"))?;
        let region = account.region();
        // The remote helper for CodeCommit takes another host from the same variable.
        let host = std::env::var("CODE_COMMIT_ENDPOINT")
            .unwrap_or_else(|_| format!("git-codecommit.{region}.{}", account::domain(region)));
        let path = format!("/v1/repos/{name}");
        let login = account.codecommit(&host, &path, jiff::Timestamp::now())?;
        Ok(Remote {
            url: format!("https://{host}{path}"),
            login: Some(login),
        })
    }

    /// What git is told to clone, where no credentials are needed for that.
    pub(crate) fn clone_url(&self) -> anyhow::Result<String> {
        match self {
            Self::GitHub { owner, name } => Ok(format!("https://github.com/{owner}/{name}.git")),
            Self::CodeCommit { .. } => bail!("the address of `{self}` takes credentials"),
            Self::Url(url) => Ok(url.clone()),
            Self::Path(path) => top_level(path)
                .with_context(|| format!("no repository at `{}`", path.display()))?
                .into_os_string()
                .into_string()
                .map_err(|path| anyhow::anyhow!("the path `{}` is not Unicode", path.display())),
        }
    }

    /// The region that its address names.
    pub(crate) fn region(&self) -> Option<&str> {
        match self {
            Self::CodeCommit { region, .. } => region.as_deref(),
            _ => None,
        }
    }

    /// What must not be printed: what the address logs in with. A user beside a password is none; one alone is a token.
    pub(crate) fn secrets(&self) -> Vec<String> {
        /// What GitHub takes for a password when the user is a token.
        const NO_PASSWORD: [&str; 2] = ["", "x-oauth-basic"];
        let Self::Url(url) = self else {
            return Vec::new();
        };
        let login = login_of(url).map(|(_, login)| login);
        login
            .map(|(user, password)| {
                if NO_PASSWORD.contains(&password.as_str()) {
                    user
                } else {
                    password
                }
            })
            .into_iter()
            .collect()
    }

    /// The last part of the name, for the build's id.
    pub(crate) fn project(&self) -> String {
        let name = match self {
            Self::GitHub { name, .. } => name.clone(),
            Self::CodeCommit { repository, .. } => repository.clone(),
            Self::Url(url) => url.rsplit(['/', ':']).next().unwrap_or_default().to_owned(),
            Self::Path(path) => {
                let path = top_level(path).unwrap_or_else(|_| path.clone());
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default()
            }
        };
        let name = name.strip_suffix(".git").unwrap_or(&name);
        let name: String = name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect();
        if name.is_empty() {
            "source".to_owned()
        } else {
            name
        }
    }
}

/// Where git reads from, and as whom.
pub(crate) struct Remote {
    /// Without user and password, so that no list of processes and no file of the clone shows them.
    pub(crate) url: String,
    login: Option<(String, String)>,
}

impl Remote {
    /// Runs git so that it can log in; the folder is where it runs.
    fn git(&self, folder: Option<&Path>, arguments: &[&str]) -> anyhow::Result<String> {
        let Some((user, password)) = &self.login else {
            return git_with(folder, arguments, &[]);
        };
        // git asks this program for user and password, and the program has them from its environment.
        let program = Folder::new("codebuild-askpass-")?;
        let path = program.path().join("askpass.sh");
        std::fs::write(
            &path,
            "#!/bin/sh\ncase \"$1\" in Username*) printf '%s' \"$CODEBUILD_GIT_USER\";; *) printf '%s' \"$CODEBUILD_GIT_PASSWORD\";; esac\n",
        )?;
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let askpass = path
            .to_str()
            .context("the temporary folder's path is not Unicode")?;
        let all: Vec<&str> = ["-c", "credential.helper="]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        git_with(
            folder,
            &all,
            &[
                ("GIT_ASKPASS", askpass),
                ("CODEBUILD_GIT_USER", user),
                ("CODEBUILD_GIT_PASSWORD", password),
            ],
        )
    }

    /// The commit that a branch is at; `None` when there is no such branch. Without a branch, that of the default one.
    pub(crate) fn branch_commit(&self, branch: Option<&str>) -> anyhow::Result<Option<String>> {
        let name = branch.map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
        let answer = self.git(None, &["ls-remote", "--quiet", "--", &self.url, &name])?;
        let line = answer.lines().find_map(|line| {
            let (commit, reference) = line.split_once('\t')?;
            (reference == name).then(|| commit.to_owned())
        });
        Ok(line)
    }
}

/// What was checked out.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// The full id of the commit.
    pub(crate) commit: String,
    /// What was asked for: the reference, or the branch that the repository has as its default.
    pub(crate) version: String,
    /// Whether a local source has changes that are not committed, and so not part of the build.
    pub(crate) uncommitted: bool,
}

/// Clones the source into an empty folder and checks out a branch, a tag or a commit (the default branch without one).
pub(crate) fn checkout(source: &Source, reference: Option<&str>, folder: &Path) -> anyhow::Result<Checkout> {
    let remote = source.remote()?;
    let folder_text = folder
        .to_str()
        .context("the temporary folder's path is not Unicode")?;
    remote
        .git(
            None,
            &[
                "clone",
                "--quiet",
                "--no-checkout",
                "--",
                &remote.url,
                folder_text,
            ],
        )
        .with_context(|| format!("cannot clone `{source}`"))?;
    let (version, commit) = match reference {
        Some(reference) => {
            // In this order: a clone has the source's branches under `origin`.
            let candidates = [
                format!("refs/remotes/origin/{reference}"),
                format!("refs/tags/{reference}"),
                reference.to_owned(),
            ];
            let commit = candidates
                .iter()
                .find_map(|candidate| resolve(folder, candidate))
                .with_context(|| format!("`{source}` has no branch, tag or commit `{reference}`"))?;
            (reference.to_owned(), commit)
        }
        None => {
            let branch =
                git(folder, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_else(|_| "HEAD".to_owned());
            let commit = resolve(folder, "HEAD").with_context(|| format!("`{source}` has no commit yet"))?;
            (branch, commit)
        }
    };
    git(folder, &["checkout", "--quiet", "--detach", &commit])?;
    let uncommitted = match source {
        Source::Path(path) => {
            git(&top_level(path)?, &["status", "--porcelain"]).is_ok_and(|status| !status.is_empty())
        }
        _ => false,
    };
    Ok(Checkout {
        commit,
        version,
        uncommitted,
    })
}

/// The repository that a path is in: the folder of its working tree; the path itself where git knows none, as in a bare repository.
fn top_level(path: &Path) -> std::io::Result<PathBuf> {
    let path = path.canonicalize()?;
    match git(&path, &["rev-parse", "--show-toplevel"]) {
        Ok(folder) if !folder.is_empty() => Path::new(&folder).canonicalize(),
        _ => Ok(path),
    }
}

fn resolve(folder: &Path, reference: &str) -> Option<String> {
    let commit = format!("{reference}^{{commit}}");
    git(
        folder,
        &["rev-parse", "--quiet", "--verify", "--end-of-options", &commit],
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse_and_print() {
        for (text, url) in [
            ("github:owner/name", "https://github.com/owner/name.git"),
            ("https://example.com/a/b.git", "https://example.com/a/b.git"),
            ("ssh://git@example.com/b", "ssh://git@example.com/b"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            assert_eq!(source.clone_url().unwrap(), url);
        }
        assert_eq!("./a:b".parse(), Ok(Source::Path(PathBuf::from("./a:b"))));
        assert_eq!("github:a/b.git".parse(), "github:a/b".parse::<Source>());
    }

    #[test]
    fn what_an_address_logs_in_with_is_neither_printed_nor_given_to_git() {
        for (text, want, url, secrets) in [
            (
                "https://me:s%40cret@example.com/a@b",
                "https://***@example.com/a@b",
                "https://example.com/a@b",
                &["s@cret"][..],
            ),
            (
                "https://token@example.com",
                "https://***@example.com",
                "https://example.com",
                &["token"],
            ),
            (
                "https://token:x-oauth-basic@example.com/b",
                "https://***@example.com/b",
                "https://example.com/b",
                &["token"],
            ),
            (
                "https://example.com/a:b@c",
                "https://example.com/a:b@c",
                "https://example.com/a:b@c",
                &[],
            ),
            (
                "ssh://git:secret@example.com/b",
                "ssh://git:***@example.com/b",
                "ssh://git:secret@example.com/b",
                &[],
            ),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), want);
            assert_eq!(source.remote().unwrap().url, url);
            assert_eq!(source.secrets(), secrets);
        }
    }

    #[test]
    fn codecommit_is_understood() {
        for text in [
            "codecommit::eu-west-1://repo",
            "codecommit://repo",
            "codecommit::eu-west-1://profile@repo",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let message = source.clone_url().unwrap_err().to_string();
            assert_eq!(message, format!("the address of `{text}` takes credentials"));
        }
    }

    #[test]
    fn git_logs_in_without_showing_how() {
        let remote = Remote {
            url: "https://127.0.0.1:1/none".to_owned(),
            login: Some(("me%token".to_owned(), "signature".to_owned())),
        };
        // An alias runs what git itself would run to ask.
        let ask = |prompt: &str| format!("alias.ask=!\"$GIT_ASKPASS\" \"{prompt}\"");
        let user = remote.git(None, &["-c", &ask("Username for x"), "ask"]).unwrap();
        let password = remote.git(None, &["-c", &ask("Password for x"), "ask"]).unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("me%token", "signature"));
        let error = remote.branch_commit(None).unwrap_err().to_string();
        assert!(!error.contains("signature"), "{error}");
    }

    #[test]
    fn what_names_no_source_is_refused() {
        for (text, want) in [
            ("", "the source is empty"),
            (
                "--upload-pack=x",
                "the source `--upload-pack=x` begins with a dash",
            ),
            (
                "github:owner",
                "`github:owner` is not of the form github:owner/name",
            ),
            (
                "github:a/b/c",
                "`github:a/b/c` is not of the form github:owner/name",
            ),
            (
                "github:-a/b",
                "`github:-a/b` is not of the form github:owner/name",
            ),
            (
                "codecommit::nowhere://r",
                "`codecommit::nowhere://r` is not of the form codecommit::region://repository",
            ),
            (
                "codecommit::eu-west-1:r",
                "`codecommit::eu-west-1:r` is not of the form codecommit::region://repository",
            ),
        ] {
            assert_eq!(text.parse::<Source>().unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn projects_are_named_after_repositories() {
        for (text, want) in [
            ("github:owner/my-repo", "my-repo"),
            ("git@example.com:a/b.git", "b"),
            ("https://example.com/x/y z.git", "yz"),
            ("codecommit::eu-west-1://repo", "repo"),
        ] {
            assert_eq!(text.parse::<Source>().unwrap().project(), want);
        }
    }
}
