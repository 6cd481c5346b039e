//! Files that one build leaves to the next, in a folder beside the builds.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::artifacts::{copy, files_below, patterns};
use super::buildspec::Cache;
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
        let files = files_below(&folder.join("files"))?;
        for (path, name) in &files {
            copy(path, source, name)?;
        }
        Ok(Some((key, files.len())))
    }

    /// Keeps what the patterns match in the source under a key, in place of what was there; returns the number of files.
    pub(crate) fn save(&self, key: &str, cache: &Cache, source: &Path) -> anyhow::Result<usize> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make `{}`", self.folder.display()))?;
        let next = tempfile::Builder::new()
            .prefix(".next-")
            .tempdir_in(&self.folder)
            .context("cannot make a folder for the cache")?;
        let wanted = patterns(&cache.relative_paths())?;
        let mut count = 0;
        std::fs::create_dir(next.path().join("files"))?;
        for (path, name) in files_below(source)? {
            // A path that names a folder means all that is in it.
            let above = Path::new(&name).ancestors();
            if above
                .into_iter()
                .any(|part| wanted.iter().any(|pattern| pattern.is_match(part)))
            {
                copy(&path, &next.path().join("files"), &name)?;
                count += 1;
            }
        }
        std::fs::write(next.path().join(KEY), key)?;
        let folder = self.folder_of(key);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).context("cannot replace the cache")?;
        }
        std::fs::rename(next.keep(), &folder).context("cannot keep the cache")?;
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
}
