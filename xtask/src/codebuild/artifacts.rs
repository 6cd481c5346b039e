//! The files that a build leaves: found by pattern, copied to a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use globset::{GlobBuilder, GlobMatcher};

use super::buildspec::FileSet;

/// Copies what the patterns match from the source into `target`, and returns the paths there, sorted.
///
/// A pattern that matches nothing is an error, as in the service; so is a name that two files would share when paths are
/// discarded, because one of them would be lost.
pub(crate) fn collect(set: &FileSet, source: &Path, target: &Path) -> anyhow::Result<Vec<String>> {
    let files = list(set, source)?;
    let excluded = patterns(&set.exclude)?;
    let mut chosen: Vec<&Listed> = Vec::new();
    for (pattern, text) in patterns(&set.files)?.iter().zip(&set.files) {
        let matching: Vec<_> = files
            .iter()
            .filter(|file| pattern.is_match(&file.matched))
            .collect();
        if matching.is_empty() {
            bail!("no matching artifact paths found for `{text}`");
        }
        chosen.extend(
            matching
                .into_iter()
                .filter(|file| !excluded.iter().any(|pattern| pattern.is_match(&file.matched))),
        );
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen.dedup_by(|a, b| a.name == b.name);

    let mut copied: Vec<String> = Vec::new();
    for file in chosen {
        let name = match file.name.rsplit('/').next() {
            Some(last) if set.discard_paths => last,
            _ => &file.name,
        };
        if copied.iter().any(|known| known == name) {
            bail!("two artifacts are called `{name}` without their paths");
        }
        copy(&file.path, target, name)?;
        copied.push(name.to_owned());
    }
    copied.sort();
    Ok(copied)
}

/// Copies a file to a path below a folder, making the folders in between. It keeps the time of its last change, by which tools tell
/// whether what they made is older than what they made it of.
///
/// No symbolic link on the way is followed: it could lead out of the folder.
pub(crate) fn copy(from: &Path, folder: &Path, name: &str) -> anyhow::Result<()> {
    let mut to = folder.to_owned();
    for part in Path::new(name).components() {
        to.push(part);
        if to.is_symlink() {
            bail!(
                "`{}` is a symbolic link, and nothing is written through it",
                to.display()
            );
        }
    }
    if let Some(above) = to.parent() {
        std::fs::create_dir_all(above).with_context(|| format!("cannot make `{}`", above.display()))?;
    }
    let copied = || {
        std::fs::copy(from, &to)?;
        let times = std::fs::FileTimes::new().set_modified(from.metadata()?.modified()?);
        std::fs::File::options().append(true).open(&to)?.set_times(times)
    };
    copied().with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
}

/// A file that a set may take.
struct Listed {
    path: PathBuf,
    /// What patterns see: the path below the base directory.
    matched: String,
    /// Its path among the artifacts.
    name: String,
}

/// Every file below the base directory; a base directory that is a pattern stands for the folders that it matches.
fn list(set: &FileSet, source: &Path) -> anyhow::Result<Vec<Listed>> {
    let base = set.base_directory.as_deref().unwrap_or(".");
    if !base.contains(['*', '?', '[']) {
        let folder = source.join(base);
        if !folder.is_dir() {
            bail!("the base directory `{base}` is not there");
        }
        if !folder.canonicalize()?.starts_with(source.canonicalize()?) {
            bail!("the base directory `{base}` leads out of the source");
        }
        let paths = files_below(&folder)?;
        return Ok(paths
            .into_iter()
            .map(|(path, name)| Listed {
                path,
                matched: name.clone(),
                name,
            })
            .collect());
    }
    let pattern = &patterns(&[base.to_owned()])?[0];
    let mut folders = Vec::new();
    for entry in walk(source) {
        let entry = entry?;
        let name = relative(entry.path(), source)?;
        if entry.file_type().is_dir() && pattern.is_match(&name) {
            folders.push((entry.into_path(), name));
        }
    }
    if folders.is_empty() {
        bail!("no base directory matches `{base}`");
    }
    folders.sort();
    let mut files = Vec::new();
    for (folder, above) in folders {
        for (path, matched) in files_below(&folder)? {
            let name = format!("{above}/{matched}");
            files.push(Listed { path, matched, name });
        }
    }
    Ok(files)
}

/// Every regular file below a folder, with its path there. Symbolic links are not followed, and `.git` is not entered.
pub(crate) fn files_below(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in walk(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = relative(entry.path(), folder)?;
            files.push((entry.into_path(), name));
        }
    }
    files.sort();
    Ok(files)
}

fn walk(folder: &Path) -> impl Iterator<Item = anyhow::Result<walkdir::DirEntry>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git")
        .map(|entry| entry.context("cannot list the files of the source"))
}

fn relative(path: &Path, folder: &Path) -> anyhow::Result<String> {
    let path = path.strip_prefix(folder).unwrap_or(path);
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("the name of `{}` is not Unicode", path.display()),
    }
}

/// The patterns of a list: `**` stands for any number of folders, `*` and `?` for characters within a name.
pub(crate) fn patterns(texts: &[String]) -> anyhow::Result<Vec<GlobMatcher>> {
    texts
        .iter()
        .map(|text| {
            let plain = text.strip_prefix("./").unwrap_or(text);
            let glob = GlobBuilder::new(plain).literal_separator(true).build();
            Ok(glob
                .with_context(|| format!("`{text}` is not a pattern of paths"))?
                .compile_matcher())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, want) in [
            ("report.html", "report.html", true),
            ("./report.html", "report.html", true),
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
            let compiled = &patterns(&[pattern.to_owned()]).unwrap()[0];
            assert_eq!(compiled.is_match(path), want, "{pattern} on {path}");
        }
    }

    fn set(files: &[&str]) -> FileSet {
        FileSet {
            files: files.iter().map(|&file| file.to_owned()).collect(),
            base_directory: Some("out".to_owned()),
            ..FileSet::default()
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
        let copied = collect(&set(&["**/*"]), source.path(), target.path()).unwrap();
        assert_eq!(copied, ["a.txt", "deep/a.txt", "deep/b.txt"]);
        assert_eq!(
            std::fs::read_to_string(target.path().join("deep/b.txt")).unwrap(),
            "out/deep/b.txt"
        );

        let flat = FileSet {
            discard_paths: true,
            ..set(&["deep/*", "deep/b.txt"])
        };
        let copied = collect(&flat, source.path(), target.path()).unwrap();
        assert_eq!(copied, ["a.txt", "b.txt"]);
    }

    #[test]
    fn what_is_excluded_stays_and_a_pattern_chooses_base_directories() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        let some = FileSet {
            exclude: vec!["**/a.txt".to_owned()],
            ..set(&["**/*"])
        };
        let copied = collect(&some, source.path(), target.path()).unwrap();
        assert_eq!(copied, ["deep/b.txt"]);

        let chosen = FileSet {
            base_directory: Some("o*/d*".to_owned()),
            ..set(&["b.*"])
        };
        let copied = collect(&chosen, source.path(), target.path()).unwrap();
        assert_eq!(copied, ["out/deep/b.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_nowhere() {
        let (source, target, elsewhere) = (
            source(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        std::os::unix::fs::symlink(elsewhere.path(), source.path().join("linked")).unwrap();
        let linked = FileSet {
            base_directory: Some("linked".to_owned()),
            ..set(&["*"])
        };
        let error = collect(&linked, source.path(), target.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the base directory `linked` leads out of the source"
        );

        let from = source.path().join("other.txt");
        let error = copy(&from, source.path(), "linked/x").unwrap_err();
        assert!(
            error.to_string().ends_with("nothing is written through it"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_is_as_old_as_what_it_is_of() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        let from = source.path().join("other.txt");
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = std::fs::File::options().append(true).open(&from).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(old))
            .unwrap();
        copy(&from, target.path(), "a/b").unwrap();
        let copied = target.path().join("a/b").metadata().unwrap();
        assert_eq!(copied.modified().unwrap(), old);
    }

    #[test]
    fn nothing_is_lost_without_a_word() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        let flat = FileSet {
            discard_paths: true,
            ..set(&["**/*"])
        };
        let nowhere = FileSet {
            base_directory: Some("no*".to_owned()),
            ..set(&["*"])
        };
        for (set, want) in [
            (set(&["*.html"]), "no matching artifact paths found for `*.html`"),
            (flat, "two artifacts are called `a.txt` without their paths"),
            (nowhere, "no base directory matches `no*`"),
        ] {
            let error = collect(&set, source.path(), target.path()).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
