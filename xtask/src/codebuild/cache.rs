//! Files that one build leaves to the next, in a folder beside the builds.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};

use super::artifacts::{Entry, copy, entries_below, patterns, place};
use super::buildspec::Cache;
use crate::ending::Folder;
use crate::workspace;

/// The caches of one project.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// The name of the file that says which key a cache is of.
const KEY: &str = "key";

impl Store {
    /// The store of a project, below the folder of its builds. Nothing is made before something is saved.
    pub(crate) fn new(output: &Path, project: &str) -> Self {
        Self {
            folder: output.join("cache").join(project),
        }
    }

    /// Copies a cache into the source: that of the key, else the newest whose key begins with the first fallback key that any begins
    /// with. Returns the key and the number of files; `None` when there is no such cache.
    pub(crate) fn restore(
        &self,
        key: &str,
        fallback: &[String],
        source: &Path,
    ) -> anyhow::Result<Option<(String, usize)>> {
        let Some((key, folder)) = self.find(key, fallback)? else {
            return Ok(None);
        };
        let kept = folder.join("files");
        let entries = entries_below(&kept)?;
        for entry in &entries {
            transfer(entry, &kept, source)?;
        }
        Ok(Some((key, entries.len())))
    }

    /// Keeps what the patterns match in the source under a key, in place of what was there; returns the number of files.
    pub(crate) fn save(&self, key: &str, cache: &Cache, source: &Path) -> anyhow::Result<usize> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make `{}`", self.folder.display()))?;
        let place = Folder::new_in(&self.folder, ".next-")?;
        let (next, old) = (place.path().join("next"), place.path().join("old"));
        let wanted = patterns(&cache.relative_paths())?;
        let mut count = 0;
        std::fs::create_dir_all(next.join("files"))?;
        for entry in entries_below(source)? {
            // A path that names a folder means all that is in it.
            let above = Path::new(&entry.name).ancestors();
            if above
                .into_iter()
                .any(|part| wanted.iter().any(|pattern| pattern.is_match(part)))
            {
                transfer(&entry, source, &next.join("files"))?;
                count += 1;
            }
        }
        std::fs::write(next.join(KEY), key)?;
        let folder = self.folder_of(key);
        if folder.exists() {
            std::fs::rename(&folder, &old).context("cannot replace the cache")?;
        }
        std::fs::rename(&next, &folder).context("cannot keep the cache")?;
        Ok(count)
    }

    fn find(&self, key: &str, fallback: &[String]) -> anyhow::Result<Option<(String, PathBuf)>> {
        let exact = self.folder_of(key);
        if exact.join(KEY).is_file() {
            return Ok(Some((key.to_owned(), exact)));
        }
        if fallback.is_empty() || !self.folder.is_dir() {
            return Ok(None);
        }
        let mut known = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let folder = entry?.path();
            let file = folder.join(KEY);
            if let (Ok(text), Ok(about)) = (std::fs::read_to_string(&file), file.metadata()) {
                known.push((about.modified()?, text, folder));
            }
        }
        known.sort();
        Ok(fallback.iter().find_map(|prefix| {
            let newest = known
                .iter()
                .rfind(|(_, text, _)| text.starts_with(prefix.as_str()));
            newest.map(|(_, text, folder)| (text.clone(), folder.clone()))
        }))
    }

    fn folder_of(&self, key: &str) -> PathBuf {
        let name = workspace::sha256(key.as_bytes());
        self.folder.join(name)
    }
}

/// Copies a file from one folder to its place in another; a symbolic link stays one.
fn transfer(entry: &Entry, from: &Path, to: &Path) -> anyhow::Result<()> {
    if !entry.is_link {
        return copy(&entry.path, to, &entry.name);
    }
    let target = target_within(entry, from)?;
    let link = place(to, &entry.name)?;
    if link.is_symlink() || link.is_file() {
        std::fs::remove_file(&link).with_context(|| format!("cannot replace `{}`", link.display()))?;
    }
    make_link(&target, &link).with_context(|| format!("cannot make the symbolic link `{}`", link.display()))
}

/// What a symbolic link below a folder leads to, as seen from where it is, so that it leads to the same in another folder. It
/// need not be there, but must not lead out of the folder.
fn target_within(entry: &Entry, folder: &Path) -> anyhow::Result<PathBuf> {
    let target = std::fs::read_link(&entry.path)
        .with_context(|| format!("cannot read the symbolic link `{}`", entry.name))?;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", folder.display()))?;
    let above = Path::new(&entry.name).components().count() - 1;
    let target = match target.strip_prefix(&folder) {
        Ok(below) => PathBuf::from("../".repeat(above)).join(below),
        Err(_) => target,
    };
    let mut depth = Some(above);
    for part in target.components() {
        depth = match part {
            Component::Normal(_) => depth.map(|depth| depth + 1),
            Component::CurDir => depth,
            Component::ParentDir => depth.and_then(|depth| depth.checked_sub(1)),
            Component::RootDir | Component::Prefix(_) => None,
        };
    }
    let leads_out = entry
        .path
        .canonicalize()
        .is_ok_and(|real| !real.starts_with(&folder));
    if depth.is_none() || leads_out {
        bail!("`{}` is a symbolic link that leads out of the source", entry.name);
    }
    Ok(target)
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere a link has to know whether it leads to a folder, which need not be there yet.
#[cfg(not(unix))]
fn make_link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

impl Cache {
    /// The patterns that are relative to the source. Absolute ones name folders of this machine, which the next build finds anyway.
    pub(crate) fn relative_paths(&self) -> Vec<String> {
        let paths = self.paths.iter().filter(|path| !path.starts_with('/'));
        paths.map(|path| path.trim_end_matches('/').to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(paths: &[&str]) -> Cache {
        Cache {
            key: None,
            fallback_keys: Vec::new(),
            restore: true,
            save: true,
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        }
    }

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_cache_comes_back_by_its_key_or_by_the_beginning_of_one() {
        let (output, first, second) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        write(first.path(), "deps/a/b", "one");
        write(first.path(), "src/x", "not kept");
        write(first.path(), "list.txt", "kept");
        let store = Store::new(output.path(), "project");
        let none: &[String] = &[];
        assert_eq!(store.restore("k-1", none, second.path()).unwrap(), None);
        assert_eq!(
            store
                .save("k-1", &cache(&["deps/", "*.txt", "/root/.m2/**"]), first.path())
                .unwrap(),
            2
        );
        // A second time in place of the first.
        assert_eq!(store.save("k-1", &cache(&["deps"]), first.path()).unwrap(), 1);

        assert_eq!(store.restore("k-2", none, second.path()).unwrap(), None);
        let fallback = ["x-".to_owned(), "k-".to_owned()];
        let restored = store.restore("k-2", &fallback, second.path()).unwrap();
        assert_eq!(restored, Some(("k-1".to_owned(), 1)));
        assert_eq!(
            std::fs::read_to_string(second.path().join("deps/a/b")).unwrap(),
            "one"
        );
        assert!(!second.path().join("src").exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links_and_lead_to_the_same_in_another_folder() {
        use std::os::unix::fs::symlink;

        let (output, first, second) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let source = first.path().canonicalize().unwrap();
        write(&source, "deps/lib/1.0/x", "one");
        symlink("1.0", source.join("deps/lib/current")).unwrap();
        symlink(source.join("deps/lib/1.0"), source.join("deps/lib/absolute")).unwrap();
        symlink("../later", source.join("deps/dangling")).unwrap();
        let store = Store::new(output.path(), "project");
        assert_eq!(store.save("k", &cache(&["deps"]), &source).unwrap(), 4);
        write(second.path(), "deps/lib/current", "a file in the way");
        // A second time over what the first left.
        for _ in 0..2 {
            let restored = store.restore("k", &[], second.path()).unwrap();
            assert_eq!(restored, Some(("k".to_owned(), 4)));
        }
        for (link, target) in [
            ("deps/lib/current", "1.0"),
            ("deps/lib/absolute", "../../deps/lib/1.0"),
            ("deps/dangling", "../later"),
        ] {
            let read = std::fs::read_link(second.path().join(link)).unwrap();
            assert_eq!(read, Path::new(target), "{link}");
        }
        assert_eq!(
            std::fs::read_to_string(second.path().join("deps/lib/absolute/x")).unwrap(),
            "one"
        );

        for target in ["/", "../..", "../../elsewhere", "lib/../../../x"] {
            symlink(target, source.join("deps/out")).unwrap();
            let error = store.save("k", &cache(&["deps"]), &source).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`deps/out` is a symbolic link that leads out of the source",
                "{target}"
            );
            std::fs::remove_file(source.join("deps/out")).unwrap();
        }
    }
}
