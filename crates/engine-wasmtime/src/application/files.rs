//! The files of a component: dirs of the image as they are, and copies of what is not to be seen with its
//! neighbours.
//!
//! This runs in the container, as its user: a path may lead where it will, and only ever sees what the container
//! sees. Copies lie in memory that is counted to the container.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use medley_engine::{Application, Preopen};
use medley_spin::app::Component;
use medley_spin::files::{self, Matcher, Shown};
use medley_spin::pack::Head;

use super::image;

/// Most files that an application has copied.
const MAX_FILES: usize = 65_536;

/// How deep dirs may lie that are looked through.
const MAX_DEPTH: usize = 64;

/// Why a component does not get its files.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "the component {component:?} has the files {files:?}, and {path:?} cannot be copied: {source}"
    )]
    Copy {
        component: String,
        files: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the component {component:?} has the files {files:?}, which are not in the image")]
    Missing { component: String, files: String },
    #[error("the component {component:?} has the files {files:?}, which lead to /proc")]
    Refused { component: String, files: String },
    #[error(
        "the component {component:?} has more than {MAX_FILES} files that are copied, or dirs that lie deeper than \
         {MAX_DEPTH}: show a whole dir by its source and destination"
    )]
    TooMany { component: String },
    #[error("the files of its components cannot be kept in the container's memory: {0}")]
    Unpack(io::Error),
    #[error("the component {component:?} {reason}")]
    Pattern { component: String, reason: String },
}

/// Makes a component's files ready, and gives the dirs that it finds open.
pub(super) fn show(
    application: &Application,
    id: &str,
    component: &Component,
) -> Result<Vec<Preopen>, Error> {
    let base = application.manifest.parent().unwrap_or(Path::new("/"));
    let mut copying = Copying {
        id,
        base,
        to: application.copies.as_ref().map(|copies| copies.join(id)),
        excluded: &component.exclude_files,
        count: 0,
    };
    let mut preopens = Vec::new();
    for shown in files::shown(component) {
        let dir = match shown {
            Shown::Dir {
                source,
                destination,
            } => Some((source, destination)),
            Shown::Placed {
                source,
                destination,
            } if image::is_dir(&base.join(source)) => Some((source, files::absolute(destination))),
            Shown::Placed {
                source,
                destination,
            }
            | Shown::Copy {
                source,
                destination,
            } => {
                copying.place(source, destination)?;
                None
            }
            Shown::Matching(pattern) => {
                copying.matching(pattern)?;
                None
            }
        };
        if let Some((source, destination)) = dir {
            let path = base.join(source);
            // One that is not there is left out.
            if path.is_dir() && !image::is_dir(&path) {
                return Err(copying.refused(source));
            }
            preopens.push(Preopen {
                path: path.display().to_string(),
                name: destination,
                read_only: true,
            });
        }
    }
    if let Some(copies) = copying.to.filter(|copies| copies.is_dir()) {
        // A dir at a longer path is found before it.
        preopens.insert(
            0,
            Preopen {
                path: copies.display().to_string(),
                name: "/".to_owned(),
                read_only: true,
            },
        );
    }
    Ok(preopens)
}

/// Puts the files of an artifact where their components see them.
pub(super) fn unpack(files: &File, to: &Path) -> Result<(), Error> {
    let mut from = BufReader::new(files);
    let mut unpacked = || -> io::Result<()> {
        while let Some(head) = Head::read(&mut from)? {
            let at = to.join(&head.component).join(&head.path);
            if let Some(dir) = at.parent() {
                fs::create_dir_all(dir)?;
            }
            let mut file = File::create(&at)?;
            if io::copy(&mut (&mut from).take(head.size), &mut file)? != head.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    };
    unpacked().map_err(Error::Unpack)
}

/// The copies of one component's files.
struct Copying<'a> {
    id: &'a str,
    /// Where the manifest lies.
    base: &'a Path,
    /// Where copies go.
    to: Option<PathBuf>,
    excluded: &'a [String],
    /// How many files there are.
    count: usize,
}

/// Files that are copied.
struct Wanted<'w> {
    /// As the manifest has them.
    files: &'w str,
    matcher: Matcher,
    /// What is taken from the beginning of a file's path, and what is put there.
    moved: Option<(&'w str, &'w str)>,
}

impl Copying<'_> {
    /// Copies a dir or a file to another path.
    fn place(&mut self, source: &str, destination: &str) -> Result<(), Error> {
        let wanted = Wanted {
            files: source,
            matcher: self.matcher("**/*")?,
            moved: Some((source, destination)),
        };
        let at = self.base.join(source);
        if image::is_dir(&at) {
            self.walk_from(&at, &files::absolute(source)[1..], &wanted)
        } else if image::is_file(&at) {
            let path = &files::absolute(source)[1..];
            if wanted.matcher.is_excluded(path) {
                return Ok(());
            }
            self.copy(&at, path, &wanted)
        } else {
            Err(self.missing(source))
        }
    }

    /// Copies the files of a path or a pattern.
    fn matching(&mut self, pattern: &str) -> Result<(), Error> {
        let wanted = Wanted {
            files: pattern,
            matcher: self.matcher(pattern)?,
            moved: None,
        };
        let plain = files::absolute(pattern)[1..].to_owned();
        let at = self.base.join(&plain);
        if image::is_file(&at) {
            if wanted.matcher.is_excluded(&plain) {
                return Ok(());
            }
            return self.copy(&at, &plain, &wanted);
        }
        if !files::is_pattern(pattern) {
            return Err(self.missing(pattern));
        }
        // Nothing but what is below the dirs that the pattern names can match.
        let parts: Vec<_> = plain.split('/').collect();
        let fixed = parts.iter().take_while(|part| !files::is_pattern(part));
        let fixed = fixed.copied().collect::<Vec<_>>().join("/");
        self.walk_from(&self.base.join(&fixed), &fixed, &wanted)
    }

    fn matcher(&self, pattern: &str) -> Result<Matcher, Error> {
        Matcher::new(pattern, self.excluded).map_err(|reason| Error::Pattern {
            component: self.id.to_owned(),
            reason,
        })
    }

    /// Copies what is wanted of the dir `at`, which is `path` from the manifest's dir on, and not of what is mounted
    /// below it: /proc and /sys have no end.
    fn walk_from(&mut self, at: &Path, path: &str, wanted: &Wanted<'_>) -> Result<(), Error> {
        match image::look(at) {
            Ok(dir) if dir.is_dir() => self.walk((at, dir.dev()), path, wanted, 0),
            _ if at.is_dir() => Err(self.refused(wanted.files)),
            _ => Ok(()),
        }
    }

    /// Copies what is wanted of the dir `at`, of the file system `device`.
    fn walk(
        &mut self,
        (at, device): (&Path, u64),
        path: &str,
        wanted: &Wanted<'_>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(self.too_many());
        }
        let entries = match fs::read_dir(at) {
            Ok(entries) => entries,
            // As if it were not there: its user may not see it.
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied]
                    .contains(&error.kind()) =>
            {
                return Ok(());
            }
            Err(source) => return Err(self.failed(wanted, at, source)),
        };
        for entry in entries {
            let entry = entry.map_err(|source| self.failed(wanted, at, source))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let below = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            let at = entry.path();
            // The copies themselves.
            if self.to.as_ref().is_some_and(|to| to.starts_with(&at)) {
                continue;
            }
            let kind = entry
                .file_type()
                .map_err(|source| self.failed(wanted, &at, source))?;
            if kind.is_dir() {
                if entry.metadata().is_ok_and(|dir| dir.dev() == device) {
                    self.walk((&at, device), &below, wanted, depth + 1)?;
                }
            } else if wanted.matcher.is_match(&below) && image::is_file(&at) {
                self.copy(&at, &below, wanted)?;
            }
        }
        Ok(())
    }

    fn copy(&mut self, at: &Path, path: &str, wanted: &Wanted<'_>) -> Result<(), Error> {
        self.count += 1;
        if self.count > MAX_FILES {
            return Err(self.too_many());
        }
        let Some(to) = &self.to else {
            return Err(self.failed(wanted, at, io::ErrorKind::Unsupported.into()));
        };
        let seen_at = match wanted.moved {
            Some((source, destination)) => {
                let source = &files::absolute(source)[1..];
                let below = path.strip_prefix(source).unwrap_or(path);
                files::absolute(&format!("{destination}/{below}"))
            }
            None => files::absolute(path),
        };
        let to = to.join(&seen_at[1..]);
        let copied = || {
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir)?;
            }
            let mut from = image::read(at)?;
            let mut copy = File::create(&to)?;
            io::copy(&mut from, &mut copy)
        };
        copied()
            .map(drop)
            .map_err(|source| self.failed(wanted, at, source))
    }

    fn failed(&self, wanted: &Wanted<'_>, path: &Path, source: io::Error) -> Error {
        Error::Copy {
            component: self.id.to_owned(),
            files: wanted.files.to_owned(),
            path: path.to_owned(),
            source,
        }
    }

    fn missing(&self, files: &str) -> Error {
        Error::Missing {
            component: self.id.to_owned(),
            files: files.to_owned(),
        }
    }

    fn refused(&self, files: &str) -> Error {
        Error::Refused {
            component: self.id.to_owned(),
            files: files.to_owned(),
        }
    }

    fn too_many(&self) -> Error {
        Error::TooMany {
            component: self.id.to_owned(),
        }
    }
}
