//! The files that a build leaves: found by pattern, copied to a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::buildspec::Artifacts;

/// Copies what the patterns match from the source into `target`, and returns the paths there, sorted.
///
/// A pattern that matches nothing is an error, as in the service; so is a name that two files would share when paths are
/// discarded, because one of them would be lost.
pub(crate) fn collect(artifacts: &Artifacts, source: &Path, target: &Path) -> anyhow::Result<Vec<String>> {
    let base = source.join(artifacts.base_directory.as_deref().unwrap_or("."));
    if !base.is_dir() {
        bail!(
            "the base directory `{}` is not there",
            artifacts.base_directory.as_deref().unwrap_or(".")
        );
    }
    let mut files = Vec::new();
    list(&base, &mut Vec::new(), &mut files).context("cannot list the base directory")?;
    files.sort();

    let mut chosen: Vec<&Vec<String>> = Vec::new();
    for pattern in &artifacts.files {
        let parts: Vec<&str> = pattern
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let matching: Vec<_> = files.iter().filter(|file| matches(&parts, file)).collect();
        if matching.is_empty() {
            bail!("no matching artifact paths found for `{pattern}`");
        }
        chosen.extend(matching);
    }
    chosen.sort();
    chosen.dedup();

    let mut copied = Vec::new();
    for file in chosen {
        let name = match file.last() {
            Some(last) if artifacts.discard_paths => last.clone(),
            _ => file.join("/"),
        };
        let to = target.join(&name);
        if copied.contains(&name) {
            bail!("two artifacts are called `{name}` without their paths");
        }
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        let from: PathBuf = base.join(file.iter().collect::<PathBuf>());
        std::fs::copy(&from, &to)
            .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
        copied.push(name);
    }
    copied.sort();
    Ok(copied)
}

/// Every regular file below a folder, as the parts of its path. Symbolic links are not followed, and `.git` is not entered.
fn list(folder: &Path, parts: &mut Vec<String>, files: &mut Vec<Vec<String>>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("the name of `{}` is not Unicode", entry.path().display());
        };
        let kind = entry.file_type()?;
        parts.push(name);
        if kind.is_dir() && parts.last().is_some_and(|name| name != ".git") {
            list(&entry.path(), parts, files)?;
        } else if kind.is_file() {
            files.push(parts.clone());
        }
        parts.pop();
    }
    Ok(())
}

/// Whether a path matches: `**` stands for any number of folders, `*` and `?` for characters of one part.
fn matches(pattern: &[&str], path: &[String]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        (["**", rest @ ..], _) => {
            matches(rest, path) || path.split_first().is_some_and(|(_, path)| matches(pattern, path))
        }
        ([first, pattern @ ..], [part, path @ ..]) => {
            part_matches(first.as_bytes(), part.as_bytes()) && matches(pattern, path)
        }
        _ => false,
    }
}

fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            part_matches(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, text)| part_matches(pattern, text))
        }
        ([b'?', pattern @ ..], [_, text @ ..]) => part_matches(pattern, text),
        ([first, pattern @ ..], [byte, text @ ..]) => first == byte && part_matches(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, want) in [
            ("report.html", "report.html", true),
            ("report.html", "out/report.html", false),
            ("*.html", "report.html", true),
            ("*.html", "out/report.html", false),
            ("**/*", "report.html", true),
            ("**/*", "a/b/c.txt", true),
            ("**", "a/b/c.txt", true),
            ("out/*", "out/a.txt", true),
            ("out/*", "out/b/a.txt", false),
            ("out/**/*", "out/a.txt", true),
            ("out/**/*", "out/b/c/a.txt", true),
            ("out/**/*", "other/a.txt", false),
            ("a?.t*t", "ab.text", true),
            ("a?.t*t", "a.text", false),
        ] {
            let pattern_parts: Vec<&str> = pattern.split('/').collect();
            let path_parts: Vec<String> = path.split('/').map(str::to_owned).collect();
            assert_eq!(matches(&pattern_parts, &path_parts), want, "{pattern} on {path}");
        }
    }

    fn artifacts(files: &[&str], discard_paths: bool) -> Artifacts {
        Artifacts {
            files: files.iter().map(|&file| file.to_owned()).collect(),
            base_directory: Some("out".to_owned()),
            discard_paths,
        }
    }

    fn source() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "out/a.txt",
            "out/deep/a.txt",
            "out/deep/b.txt",
            "out/.git/config",
            "other.txt",
        ] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn files_are_copied_with_or_without_their_paths() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        let copied = collect(&artifacts(&["**/*"], false), source.path(), target.path()).unwrap();
        assert_eq!(copied, ["a.txt", "deep/a.txt", "deep/b.txt"]);
        assert_eq!(
            std::fs::read_to_string(target.path().join("deep/b.txt")).unwrap(),
            "out/deep/b.txt"
        );

        let copied = collect(
            &artifacts(&["deep/*", "deep/b.txt"], true),
            source.path(),
            target.path(),
        )
        .unwrap();
        assert_eq!(copied, ["a.txt", "b.txt"]);
    }

    #[test]
    fn nothing_is_lost_without_a_word() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        for (files, discard, want) in [
            (
                &["*.html"][..],
                false,
                "no matching artifact paths found for `*.html`",
            ),
            (
                &["**/*"],
                true,
                "two artifacts are called `a.txt` without their paths",
            ),
        ] {
            let error = collect(&artifacts(files, discard), source.path(), target.path()).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
