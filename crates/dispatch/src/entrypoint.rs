//! Finds the file that the entrypoint means.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::content::{Content, Head, is_named_wat};
use crate::error::Error;
use crate::request::Request;
use crate::rule::Mode;
use crate::view::{Found, LookupError, View};
use medley_types::quoted::FirstBytes;

/// An entrypoint with more `#` than this is tried as a whole and at the last ones only; every
/// export's name in use has at most two.
const MAX_SPLITS: usize = 8;

/// Of `PATH`, this many directories are searched, so that a hostile one cannot keep the shim busy.
const MAX_DIRECTORIES: usize = 256;

/// The kernel's `NAME_MAX` in bytes.
const LONGEST_NAME: usize = 255;

/// What the entrypoint is.
#[derive(Debug)]
pub(crate) enum Entrypoint {
    Wasm(Module),
    Linux(Program),
    /// It lies on a mount of this type that cannot be looked into.
    Unseen {
        path: PathBuf,
        mount: PathBuf,
        kind: String,
    },
}

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) path: PathBuf,
    pub(crate) export: Option<String>,
    pub(crate) file: File,
    pub(crate) component: bool,
    pub(crate) text: bool,
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) found: Found,
    pub(crate) head: Head,
    pub(crate) script: bool,
}

/// Finds what `given`, the first of the arguments, means.
pub(crate) fn find(
    given: &str,
    req: &Request<'_>,
    view: &View<'_>,
    mode: &Mode,
) -> Result<Entrypoint, Error> {
    let mut search = Search {
        req,
        view,
        mode,
        looked: Vec::new(),
        obstacle: None,
        beside: None,
    };
    if let Some(entrypoint) = search.name(given, None)? {
        return Ok(entrypoint);
    }
    // From the right, so that the longest path that exists wins.
    for (path, export) in given.rmatch_indices('#').take(MAX_SPLITS).map(|(at, _)| {
        let (path, export) = given.split_at(at);
        (path, &export[1..])
    }) {
        if path.is_empty() {
            continue;
        }
        if let Some(entrypoint) = search.name(path, Some(export))? {
            return Ok(entrypoint);
        }
    }
    Err(search.obstacle.unwrap_or_else(|| Error::NotFound {
        entrypoint: given.to_owned(),
        looked: search.looked,
        search: is_bare(given).then(|| req.path().to_owned()),
        beside: search.beside,
    }))
}

fn is_bare(name: &str) -> bool {
    !name.split('#').next().unwrap_or(name).contains('/')
}

/// A path at which the entrypoint may lie.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    /// Only Wasm is looked for here.
    only_wasm: bool,
}

#[derive(Debug)]
struct Search<'a> {
    req: &'a Request<'a>,
    view: &'a View<'a>,
    mode: &'a Mode,
    looked: Vec<PathBuf>,
    /// The first thing that was found and is of no use; reported if nothing better is found.
    obstacle: Option<Error>,
    beside: Option<PathBuf>,
}

impl Search<'_> {
    /// Looks for `name`; with an `export`, for a Wasm module only.
    fn name(&mut self, name: &str, export: Option<&str>) -> Result<Option<Entrypoint>, Error> {
        let bare = !name.contains('/');
        for candidate in candidates(name, self.req) {
            let found = match self.view.file(&candidate.path) {
                Ok(found) => found,
                Err(LookupError::Unseen { mount, kind }) if !bare => {
                    // An empty tmpfs holds no program; anything else may.
                    let by_content = matches!(self.mode, Mode::Content { .. });
                    if by_content && export.is_none() && kind != "tmpfs" {
                        let path = candidate.path;
                        return Ok(Some(Entrypoint::Unseen { path, mount, kind }));
                    }
                    self.obstacle(Error::Unseen {
                        path: candidate.path,
                        mount,
                        kind,
                    });
                    continue;
                }
                Err(LookupError::Absent | LookupError::Unseen { .. }) => {
                    self.looked.push(candidate.path);
                    continue;
                }
                Err(error) => {
                    // A file among the directories of PATH is passed over, as everywhere.
                    if !(bare && matches!(error, LookupError::NotADirectory { .. }))
                        && let Some(error) = error.into_error(&candidate.path)
                    {
                        self.obstacle(error);
                    }
                    continue;
                }
            };
            if let Some(entrypoint) = self.judge(candidate, found, export)? {
                return Ok(Some(entrypoint));
            }
        }
        Ok(None)
    }

    /// What the file found is, if it is of use.
    fn judge(
        &mut self,
        Candidate { path, only_wasm }: Candidate,
        found: Found,
        export: Option<&str>,
    ) -> Result<Option<Entrypoint>, Error> {
        let head = Head::read(&found.file).map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?;
        let content = head.content();
        let (component, text) = match content {
            Content::Wasm { component } => (component, false),
            Content::WasmText { component } if self.takes_text(&path) => (component, true),
            // The name says Wasm; what is wrong in it, the compiler says better.
            Content::Unknown if is_named_wat(&path) => (false, true),
            Content::Elf | Content::Script => {
                return Ok(self.linux(path, found, head, content, only_wasm || export.is_some()));
            }
            Content::Precompiled => {
                self.obstacle(Error::Precompiled { path });
                return Ok(None);
            }
            Content::Empty => {
                self.obstacle(Error::Empty { path });
                return Ok(None);
            }
            Content::Unknown | Content::WasmText { .. } => {
                let first = FirstBytes::of(head.bytes());
                self.obstacle(match self.mode {
                    Mode::Content { .. } => Error::Unrecognised { path, first },
                    Mode::Wasm { annotation, .. } => Error::NotWasm {
                        path,
                        first,
                        annotation: annotation.clone(),
                    },
                });
                return Ok(None);
            }
        };
        let export = export
            .filter(|export| !export.is_empty())
            .map(str::to_owned);
        Ok(Some(Entrypoint::Wasm(Module {
            path,
            export,
            file: found.file,
            component,
            text,
        })))
    }

    fn takes_text(&self, path: &Path) -> bool {
        matches!(self.mode, Mode::Wasm { .. }) || is_named_wat(path)
    }

    fn linux(
        &mut self,
        path: PathBuf,
        found: Found,
        head: Head,
        content: Content,
        only_wasm: bool,
    ) -> Option<Entrypoint> {
        let script = content == Content::Script;
        let what = if script { "a script" } else { "an ELF program" };
        if let Mode::Wasm { annotation, remedy } = self.mode {
            let (annotation, remedy) = (annotation.clone(), remedy.clone());
            self.obstacle(Error::ForcedOnLinux {
                path,
                found: what,
                annotation,
                remedy,
            });
        } else if only_wasm {
            self.looked.push(path.clone());
            self.beside.get_or_insert(path);
        } else if found.mode & 0o111 == 0 {
            self.obstacle(Error::NotExecutable {
                path,
                mode: found.mode,
                what,
            });
        } else {
            return Some(Entrypoint::Linux(Program {
                path,
                found,
                head,
                script,
            }));
        }
        None
    }

    fn obstacle(&mut self, error: Error) {
        self.obstacle.get_or_insert(error);
    }
}

/// Where `name` may lie, in order.
fn candidates(name: &str, req: &Request<'_>) -> Vec<Candidate> {
    let cwd = Path::new("/").join(req.cwd);
    // A name too long for any directory is looked up once, for the error.
    if name.contains('/') || name.len() > LONGEST_NAME {
        return vec![Candidate {
            path: tidy(&cwd.join(name)),
            only_wasm: false,
        }];
    }
    // An empty entry of PATH is the working directory.
    let mut candidates: Vec<_> = req
        .path()
        .split(':')
        .take(MAX_DIRECTORIES)
        .map(|dir| Candidate {
            path: tidy(&cwd.join(dir).join(name)),
            only_wasm: false,
        })
        .collect();
    for dir in [cwd.as_path(), Path::new("/")] {
        let path = tidy(&dir.join(name));
        if candidates.iter().all(|candidate| candidate.path != path) {
            candidates.push(Candidate {
                path,
                only_wasm: true,
            });
        }
    }
    candidates
}

/// Without `.` and doubled slashes; `..` stays, as only the file system knows what it means.
fn tidy(path: &Path) -> PathBuf {
    path.components().collect()
}
