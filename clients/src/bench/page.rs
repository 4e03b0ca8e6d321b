//! The file that the page with plots is written to: the old one stays until the new one is
//! complete.
//!
//! Owns the file beside it and the exchange of the two. What is in it is `html`'s business.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::bench::failure::Failure;

/// A page that is to be written.
#[derive(Debug)]
pub(crate) struct Page {
    path: PathBuf,
    /// The file beside it; `None`: the path is no ordinary file, and is written as it is.
    beside: Option<NamedTempFile>,
}

impl Page {
    /// Checks that `path` can be written, without changing it.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn open(path: &Path) -> Result<Page, Failure> {
        let failed = |error: io::Error| unwritable(path, &error);
        // For a symbolic link, its target is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&target).is_ok_and(|found| !found.is_file());
        if is_special {
            fs::OpenOptions::new().write(true).open(&target).map_err(failed)?;
            return Ok(Page { path: target, beside: None });
        }
        let folder = match target.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // Permissions as of a newly created file; the process's umask is applied.
        let mut builder = Builder::new();
        builder.prefix(".bench-").suffix(".html").permissions(Permissions::from_mode(0o666));
        let beside = builder.tempfile_in(folder).map_err(failed)?;
        Ok(Page { path: target, beside: Some(beside) })
    }

    /// Replaces the old page by this one.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there then.
    pub(crate) fn write(self, text: &str) -> Result<(), Failure> {
        let Page { path, beside } = self;
        let failed = |error: io::Error| unwritable(&path, &error);
        let Some(mut file) = beside else {
            return fs::write(&path, text).map_err(failed);
        };
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(&path).map(drop).map_err(|error| failed(error.error))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_page_is_there_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page.html");
        fs::write(&path, "old").unwrap();
        drop(Page::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let page = Page::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        page.write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(Page::open(&folder.path().join("no/such/page.html")).is_err());
    }

    #[test]
    fn a_device_is_not_replaced() {
        Page::open(Path::new("/dev/null")).unwrap().write("x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
