//! The files that a build leaves: found by pattern, copied to a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use globset::{GlobBuilder, GlobMatcher};

use super::buildspec::FileSet;

/// Copies what the patterns match from the source into `target`, and returns the paths there, sorted.
///
/// A pattern that matches nothing is an error, as in the service; so is a name that two files would share when paths are
/// discarded or base directories are left out, because one of them would be lost. A symbolic link stands for what it leads to, which
/// has to be within the source.
pub(crate) fn collect(set: &FileSet, source: &Path, target: &Path) -> anyhow::Result<Vec<String>> {
    let source = source
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", source.display()))?;
    let files = list(set, &source)?;
    let excluded = patterns(&set.exclude)?;
    let mut chosen: Vec<&Listed> = Vec::new();
    for (pattern, text) in patterns(&set.files)?.iter().zip(&set.files) {
        let matching: Vec<_> = files.iter().filter(|file| pattern.is_match(&file.name)).collect();
        if matching.is_empty() {
            bail!("no matching artifact paths found for `{text}`");
        }
        chosen.extend(
            matching
                .into_iter()
                .filter(|file| !excluded.iter().any(|pattern| pattern.is_match(&file.name))),
        );
    }
    // What several patterns match is one file.
    chosen.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    chosen.dedup_by(|a, b| (&a.name, &a.path) == (&b.name, &b.path));

    let mut copied: Vec<String> = Vec::new();
    for file in chosen {
        let name = match file.name.rsplit('/').next() {
            Some(last) if set.discard_paths => last,
            _ => &file.name,
        };
        if let Some(problem) = file.problem {
            bail!("`{}` {problem}", file.name);
        }
        if copied.iter().any(|known| known == name) {
            bail!(
                "two artifacts are called `{name}` {}",
                if set.discard_paths {
                    "without their paths"
                } else {
                    "below their base directories"
                }
            );
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
    let to = place(folder, name)?;
    let copied = || {
        std::fs::copy(from, &to)?;
        let times = std::fs::FileTimes::new().set_modified(from.metadata()?.modified()?);
        std::fs::File::options().append(true).open(&to)?.set_times(times)
    };
    no_link(&to)?;
    copied().with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))
}

/// Where a file of this name is below a folder; the folders in between are made, and none of them is a symbolic link.
pub(crate) fn place(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let to = folder.join(name);
    let mut above = folder.to_owned();
    for part in Path::new(name).parent().into_iter().flat_map(Path::components) {
        above.push(part);
        no_link(&above)?;
    }
    std::fs::create_dir_all(&above).with_context(|| format!("cannot make `{}`", above.display()))?;
    Ok(to)
}

fn no_link(path: &Path) -> anyhow::Result<()> {
    if path.is_symlink() {
        bail!(
            "`{}` is a symbolic link, and nothing is written through it",
            path.display()
        );
    }
    Ok(())
}

/// A file that a set may take.
struct Listed {
    path: PathBuf,
    /// What patterns see: the path below the base directory, which is also its path among the artifacts.
    name: String,
    /// Why it cannot be taken.
    problem: Option<&'static str>,
}

/// Every file below the base directory; a base directory that is a pattern stands for the folders that it matches.
fn list(set: &FileSet, source: &Path) -> anyhow::Result<Vec<Listed>> {
    let base = set.base_directory.as_deref().unwrap_or(".");
    let mut listing = Listing {
        source,
        patterns: &set.files,
        above: Vec::new(),
        files: Vec::new(),
    };
    if !base.contains(['*', '?', '[']) {
        let folder = source.join(base);
        if !folder.is_dir() {
            bail!("the base directory `{base}` is not there");
        }
        let folder = folder.canonicalize()?;
        if !folder.starts_with(source) {
            bail!("the base directory `{base}` leads out of the source");
        }
        listing.add_folder(&folder, "")?;
        return Ok(listing.files);
    }
    let pattern = &patterns(&[base.to_owned()])?[0];
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in walk(source) {
        let entry = entry?;
        let name = relative(entry.path(), source)?;
        if pattern.is_match(&name) && entry.path().is_dir() {
            let folder = entry.path().canonicalize()?;
            if !folder.starts_with(source) {
                bail!("the base directory `{name}` leads out of the source");
            }
            folders.push(folder);
        }
    }
    if folders.is_empty() {
        bail!("no base directory matches `{base}`");
    }
    // A folder comes before those in it, which are part of it.
    folders.sort();
    folders.dedup_by(|folder, outer| folder.starts_with(outer));
    for folder in folders {
        listing.add_folder(&folder, "")?;
    }
    Ok(listing.files)
}

/// What is found below base directories, with symbolic links followed where a pattern may match.
struct Listing<'a> {
    source: &'a Path,
    patterns: &'a [String],
    /// The folders that links led to on the way here.
    above: Vec<PathBuf>,
    files: Vec<Listed>,
}

impl Listing<'_> {
    /// Adds what is in a folder, under names that begin with `prefix`.
    fn add_folder(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        for entry in entries_below(folder)? {
            let name = format!("{prefix}{}", entry.name);
            if entry.is_link {
                self.add_link(entry.path, name)?;
            } else {
                self.add(entry.path, name, None);
            }
        }
        Ok(())
    }

    fn add_link(&mut self, path: PathBuf, name: String) -> anyhow::Result<()> {
        let Ok(target) = path.canonicalize() else {
            self.add(path, name, Some("is a symbolic link that leads nowhere"));
            return Ok(());
        };
        if !target.starts_with(self.source) {
            self.add(
                path,
                name,
                Some("is a symbolic link that leads out of the source"),
            );
        } else if !target.is_dir() {
            self.add(target, name, None);
        } else if path.starts_with(&target) || self.above.contains(&target) {
            self.add(path, name, Some("is a symbolic link to a folder that it is in"));
        } else if self
            .patterns
            .iter()
            .any(|pattern| may_match_below(pattern, &name))
        {
            self.above.push(target.clone());
            self.add_folder(&target, &format!("{name}/"))?;
            self.above.pop();
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, name: String, problem: Option<&'static str>) {
        self.files.push(Listed { path, name, problem });
    }
}

/// Whether a pattern may match something in a folder. Where that is hard to tell, it may.
fn may_match_below(pattern: &str, folder: &str) -> bool {
    if pattern.contains('{') {
        return true;
    }
    let mut wanted = pattern.strip_prefix("./").unwrap_or(pattern).split('/');
    for part in folder.split('/') {
        match wanted.next() {
            None => return false,
            Some("**") => return true,
            Some(text) => {
                let matches = patterns(&[text.to_owned()]).map(|one| one[0].is_match(part));
                if matches.is_ok_and(|matches| !matches) {
                    return false;
                }
            }
        }
    }
    wanted.next().is_some()
}

/// A regular file or a symbolic link below a folder.
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Its path below the folder.
    pub(crate) name: String,
    pub(crate) is_link: bool,
}

/// Every regular file and symbolic link below a folder, sorted. No link is followed, and `.git` is not entered.
pub(crate) fn entries_below(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in walk(folder) {
        let entry = entry?;
        if entry.file_type().is_file() || entry.path_is_symlink() {
            entries.push(Entry {
                name: relative(entry.path(), folder)?,
                is_link: entry.path_is_symlink(),
                path: entry.into_path(),
            });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
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
        assert_eq!(copied, ["b.txt"]);
    }

    #[test]
    fn matching_base_directories_are_left_out_and_share_no_name() {
        let (source, target) = (source(), tempfile::tempdir().unwrap());
        // The example of the service's reference.
        for file in ["my-build1/1.txt", "my-build2/2.txt", "my-build2/sub/3.txt"] {
            let path = source.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let based = |base: &str, files: &[&str]| FileSet {
            base_directory: Some(base.to_owned()),
            ..set(files)
        };
        let copied = collect(&based("my-build*", &["**/*"]), source.path(), target.path()).unwrap();
        assert_eq!(copied, ["1.txt", "2.txt", "sub/3.txt"]);
        // What is in a folder that matches is part of it, even if it matches itself.
        let copied = collect(&based("my-**", &["**/*"]), source.path(), target.path()).unwrap();
        assert_eq!(copied, ["1.txt", "2.txt", "sub/3.txt"]);

        std::fs::write(source.path().join("my-build1/2.txt"), "another").unwrap();
        let error = collect(&based("my-build*", &["*.txt"]), source.path(), target.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "two artifacts are called `2.txt` below their base directories"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_within_the_source_stand_for_what_they_lead_to() {
        use std::os::unix::fs::symlink;

        let (source, target) = (source(), tempfile::tempdir().unwrap());
        let at = |name: &str| source.path().join(name);
        symlink("../other.txt", at("out/file")).unwrap();
        symlink(at("out/deep"), at("out/folder")).unwrap();
        let copied = collect(&set(&["**/*"]), source.path(), target.path()).unwrap();
        assert_eq!(
            copied,
            [
                "a.txt",
                "deep/a.txt",
                "deep/b.txt",
                "file",
                "folder/a.txt",
                "folder/b.txt"
            ]
        );
        assert!(!target.path().join("file").is_symlink());
        assert_eq!(
            std::fs::read_to_string(target.path().join("file")).unwrap(),
            "other.txt"
        );
        let copied = collect(&set(&["fold*/b.txt"]), source.path(), target.path()).unwrap();
        assert_eq!(copied, ["folder/b.txt"]);

        // Only what is asked for matters.
        for (name, leads, problem) in [
            ("out/deep/outside", "/", "that leads out of the source"),
            ("out/deep/nothing", "not-there", "that leads nowhere"),
            ("out/deep/up", "..", "to a folder that it is in"),
        ] {
            symlink(leads, at(name)).unwrap();
            collect(&set(&["*.txt", "deep/*.txt"]), source.path(), target.path()).unwrap();
            let error = collect(&set(&["deep/**/*"]), source.path(), target.path()).unwrap_err();
            let name_there = name.trim_start_matches("out/");
            assert_eq!(
                error.to_string(),
                format!("`{name_there}` is a symbolic link {problem}")
            );
            std::fs::remove_file(at(name)).unwrap();
        }
        // Folders that lead to each other.
        std::fs::create_dir(at("out/a")).unwrap();
        symlink("../b", at("out/a/x")).unwrap();
        std::fs::create_dir(at("out/b")).unwrap();
        symlink("../a", at("out/b/y")).unwrap();
        let error = collect(&set(&["a/**"]), source.path(), target.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`a/x/y/x` is a symbolic link to a folder that it is in"
        );
    }

    #[test]
    fn links_are_followed_where_a_pattern_may_match() {
        for (pattern, folder, want) in [
            ("a.txt", "a", false),
            ("a/b", "a", true),
            ("./a/b", "a", true),
            ("a/b", "a/b", false),
            ("*/c", "a/b", false),
            ("*/b/*", "a/b", true),
            ("**/x", "a/b", true),
            ("b/**", "a", false),
            ("{a,b/c}/*", "b/c", true),
        ] {
            assert_eq!(may_match_below(pattern, folder), want, "{pattern} in {folder}");
        }
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
