//! The Wasm file that the containers of an ordinary image start with, out of the image's layers.
//!
//! It is for warming a cache, where there is no container whose rootfs could be looked into. Layers are
//! archives, the last one on top: what it holds, or says is gone, hides what lies below.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use medley_types::layers::{LayerContent, NotAModule};
use serde::Deserialize;

use crate::artifact::{self, Inspect, Manifest, Target};
use crate::cache::MAX_MODULE;
use crate::decompress;
use crate::digest;
use crate::store::{Descriptor, Error as StoreError, Store};

/// Largest layer, in bytes, compressed.
const MAX_LAYER: u64 = 2 << 30;

/// Most that comes out of a layer, in bytes.
const MAX_ARCHIVE: u64 = 16 << 30;

/// Most layers: as many as overlayfs takes.
const MAX_LAYERS: usize = 500;

/// In front of the name of a file that is gone.
const WHITEOUT: &[u8] = b".wh.";

/// What is behind it where all that lies below a directory is gone.
const OPAQUE: &[u8] = b".wh..opq";

/// Why there is no file to be had.
#[allow(missing_docs, reason = "the sentence of each says what its fields are")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image can't be read.
    #[error(transparent)]
    Image(#[from] artifact::Error),
    /// It says of no file that it is to be run.
    #[error("the image {image:?} has no Wasm layer, and its config has no entrypoint")]
    NoEntrypoint { image: String },
    /// It is in no layer.
    #[error(
        "the image {image:?} has no Wasm layer, and in its file system there is no {program:?}"
    )]
    NotThere { image: String, program: String },
    /// Links are not followed.
    #[error("{} of the image {image:?} is, or is behind, a link; warm the file itself", path.display())]
    Link { image: String, path: PathBuf },
    /// A layer is none.
    #[error("the layer {digest} of the image cannot be read")]
    Layer {
        digest: String,
        /// Where it is wrong.
        source: io::Error,
    },
    /// A layer can't be unpacked.
    #[error("the layer {digest} of the image cannot be unpacked")]
    Unpack {
        digest: String,
        /// Why.
        source: decompress::Error,
    },
    /// The file is not Wasm.
    #[error("cannot run {} of the image {image:?}", path.display())]
    NotAModule {
        image: String,
        path: PathBuf,
        /// What it is instead.
        source: NotAModule,
    },
}

/// The file that an image's containers start with.
#[derive(Debug)]
pub struct Entrypoint {
    /// Where it is, in the container.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// What is in it.
    pub content: LayerContent,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    config: Option<Settings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
}

/// A file that is looked for.
#[derive(Debug)]
struct Candidate {
    /// Relative to the root.
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Lower layers may have it.
    Open,
    /// No layer has it.
    Gone,
    Link,
    Found(File),
}

/// The Wasm file that an image's containers start with, of the manifest for the node's platform.
///
/// # Errors
/// [`Error`] with what there is instead.
pub fn of_image(store: &mut Store, target: Target, inspect: Inspect) -> Result<Entrypoint, Error> {
    let image = &target.image.clone();
    let no_entrypoint = || Error::NoEntrypoint {
        image: image.to_owned(),
    };
    let manifest = first_manifest(store, target)?.ok_or_else(no_entrypoint)?;
    let config = manifest.config.ok_or_else(no_entrypoint)?;
    let config: Config = artifact::read_json(store, &config.blob, "config")?;
    let settings = config.config.unwrap_or_default();
    let program = settings.program().ok_or_else(no_entrypoint)?;
    let mut candidates: Vec<_> = settings
        .places(&program)
        .into_iter()
        .map(|path| Candidate {
            path,
            state: State::Open,
        })
        .collect();
    let layers = manifest.layers.iter().map(|layer| &layer.blob);
    for layer in layers.rev().take(MAX_LAYERS) {
        if decided(&candidates).is_some() {
            break;
        }
        if artifact::is_file_system(&layer.media_type) {
            read_layer(store, layer, &mut candidates)?;
        }
    }
    match candidates.iter().find(|candidate| candidate.is_there()) {
        Some(Candidate {
            path,
            state: State::Found(file),
        }) => opened(image, path, file, inspect),
        Some(Candidate { path, .. }) => Err(Error::Link {
            image: image.to_owned(),
            path: Path::new("/").join(path),
        }),
        None => Err(Error::NotThere {
            image: image.to_owned(),
            program,
        }),
    }
}

/// The manifest that containerd would unpack.
fn first_manifest(store: &mut Store, target: Target) -> Result<Option<Manifest>, Error> {
    for entry in artifact::manifests_of(store, target)? {
        match artifact::read_json(store, &entry.blob, "manifest") {
            Ok(manifest) => return Ok(Some(manifest)),
            // Of an index, those for other platforms were not pulled.
            Err(artifact::Error::Store(StoreError::Missing { .. })) if entry.platform.is_some() => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

impl Candidate {
    fn is_there(&self) -> bool {
        matches!(self.state, State::Found(_) | State::Link)
    }
}

/// The file that it is going to be, even if lower layers have others: those in front of it are gone.
fn decided(candidates: &[Candidate]) -> Option<&Candidate> {
    candidates
        .iter()
        .find(|candidate| !matches!(candidate.state, State::Gone))
        .filter(|candidate| candidate.is_there())
}

impl Settings {
    fn program(&self) -> Option<String> {
        let args = self.entrypoint.iter().chain(&self.cmd).flatten();
        args.into_iter().next().cloned()
    }

    /// Where `program` is looked for, in this order, relative to the root. Behind a `#` is the name
    /// of an export.
    fn places(&self, program: &str) -> Vec<PathBuf> {
        let cwd = Path::new(self.working_dir.as_deref().unwrap_or("/"));
        let path = self.env.iter().flatten();
        let path = path
            .filter_map(|variable| variable.strip_prefix("PATH="))
            .next_back()
            .unwrap_or(medley_types::DEFAULT_PATH);
        let mut places = Vec::new();
        for name in [program, program.split('#').next().unwrap_or(program)] {
            if name.contains('/') {
                places.push(plain(&cwd.join(name)));
            } else {
                let dirs = path.split(':').map(Path::new).chain([cwd, Path::new("/")]);
                places.extend(dirs.map(|dir| plain(&cwd.join(dir).join(name))));
            }
        }
        let mut seen = std::collections::HashSet::new();
        places.retain(|place| seen.insert(place.clone()));
        places
    }
}

/// `path` below the root, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}

fn read_layer(
    store: &mut Store,
    layer: &Descriptor,
    candidates: &mut [Candidate],
) -> Result<(), Error> {
    let failed = |source| Error::Layer {
        digest: layer.digest.clone(),
        source,
    };
    // Nothing is looked at before all of it is known to be what it is called.
    let packed = artifact::read_blob(store, layer, MAX_LAYER)?;
    let archive: Box<dyn Read> = match decompress::compression(&packed).map_err(failed)? {
        None => Box::new(io::BufReader::new(packed)),
        Some(compression) => {
            decompress::reader(compression, packed).map_err(|source| Error::Unpack {
                digest: layer.digest.clone(),
                source,
            })?
        }
    };
    look(archive.take(MAX_ARCHIVE), candidates).map_err(failed)
}

/// Looks for the candidates in one layer.
fn look(archive: impl Read, candidates: &mut [Candidate]) -> io::Result<()> {
    let mut hidden = vec![false; candidates.len()];
    for member in tar::Archive::new(archive).entries()? {
        let mut member = member?;
        let path = plain(&member.path()?);
        let name = path.file_name().unwrap_or_default().as_bytes();
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            let dir = path.parent().unwrap_or(Path::new(""));
            let gone = match gone {
                OPAQUE => dir.to_owned(),
                name => dir.join(OsStr::from_bytes(name)),
            };
            for (candidate, hidden) in candidates.iter().zip(&mut hidden) {
                *hidden |= candidate.path.starts_with(&gone);
            }
            continue;
        }
        let kind = member.header().entry_type();
        for (candidate, hidden) in candidates.iter_mut().zip(&mut hidden) {
            if matches!(candidate.state, State::Gone) || candidate.is_there() && !*hidden {
                continue;
            }
            if candidate.path == path {
                // The last member of a name is the one that counts, and hides what lies below.
                *hidden = true;
                candidate.state = if kind.is_file() || kind.is_contiguous() {
                    State::Found(copy(&mut member)?)
                } else if kind.is_symlink() || kind.is_hard_link() {
                    State::Link
                } else {
                    State::Open
                };
            } else if kind.is_symlink() && candidate.path.starts_with(&path) {
                *hidden = true;
                candidate.state = State::Link;
            }
        }
    }
    for (candidate, hidden) in candidates.iter_mut().zip(hidden) {
        if hidden && !candidate.is_there() {
            candidate.state = State::Gone;
        }
    }
    Ok(())
}

fn copy(member: &mut impl Read) -> io::Result<File> {
    let mut file = artifact::memory().map_err(io::Error::other)?;
    let size = io::copy(&mut member.take(MAX_MODULE + 1), &mut file)?;
    if size > MAX_MODULE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the entrypoint has more than {MAX_MODULE} bytes"),
        ));
    }
    Ok(file)
}

fn opened(image: &str, path: &Path, file: &File, inspect: Inspect) -> Result<Entrypoint, Error> {
    let path = Path::new("/").join(path);
    let failed = |source| Error::NotAModule {
        image: image.to_owned(),
        path: path.clone(),
        source,
    };
    let facts = inspect(file).map_err(failed)?;
    let size = file.metadata().map_err(|error| failed(error.into()))?.len();
    let module = digest::of_file(file).map_err(|error| failed(error.into()))?;
    let file = file.try_clone().map_err(|error| failed(error.into()))?;
    artifact::seal(&file)?;
    Ok(Entrypoint {
        content: LayerContent {
            module,
            facts,
            file: Some(file),
        },
        path,
        size,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    use super::{Candidate, Settings, State, decided, look};

    /// What a member of a layer is.
    enum Member {
        File(&'static str),
        Link(&'static str),
        Dir,
    }

    fn layer(members: &[(&str, Member)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, member) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            let content = match member {
                Member::File(content) => content,
                Member::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_link_name(target).unwrap();
                    ""
                }
                Member::Dir => {
                    header.set_entry_type(tar::EntryType::Directory);
                    ""
                }
            };
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// What is found of `path` in these layers, the lowest first.
    fn found(path: &str, layers: &[Vec<u8>]) -> String {
        let mut candidates = [Candidate {
            path: PathBuf::from(path),
            state: State::Open,
        }];
        for layer in layers.iter().rev() {
            if decided(&candidates).is_none() {
                look(&layer[..], &mut candidates).unwrap();
            }
        }
        match &candidates[0].state {
            State::Found(file) => {
                let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                String::from_utf8(bytes).unwrap()
            }
            state => format!("{state:?}"),
        }
    }

    #[test]
    fn the_uppermost_file_counts_and_what_is_gone_is_gone() {
        use Member::{Dir, File, Link};
        let low = layer(&[("opt", Dir), ("./opt/a.wasm", File("low"))]);
        let high = layer(&[("opt/a.wasm", File("high"))]);
        let other = layer(&[("opt/b.wasm", File("other"))]);
        let gone = layer(&[("opt/.wh.a.wasm", File(""))]);
        let dir_gone = layer(&[(".wh.opt", File(""))]);
        let opaque = layer(&[("opt/.wh..wh..opq", File(""))]);
        let anew = layer(&[("opt/.wh..wh..opq", File("")), ("opt/a.wasm", File("anew"))]);
        let link = layer(&[("opt/a.wasm", Link("b.wasm"))]);
        let behind = layer(&[("opt", Link("usr"))]);
        let dir = layer(&[("opt/a.wasm", Dir)]);
        for (layers, expected) in [
            (vec![&low], "low"),
            (vec![&low, &high, &other], "high"),
            (vec![&high, &low], "low"),
            (vec![&low, &gone], "Gone"),
            (vec![&low, &gone, &high], "high"),
            (vec![&low, &dir_gone], "Gone"),
            (vec![&low, &opaque, &other], "Gone"),
            (vec![&low, &anew], "anew"),
            (vec![&low, &link], "Link"),
            (vec![&low, &behind], "Link"),
            (vec![&low, &dir], "Gone"),
            (vec![&other], "Open"),
        ] {
            let layers: Vec<_> = layers.into_iter().cloned().collect();
            assert_eq!(found("opt/a.wasm", &layers), expected);
        }
    }

    #[test]
    fn a_layer_that_is_no_archive_or_cut_is_refused() {
        let whole = layer(&[("a.wasm", Member::File("module"))]);
        for bytes in [&[b'x'; 600][..], &whole[..100], &whole[..515]] {
            let mut candidates = [Candidate {
                path: PathBuf::from("a.wasm"),
                state: State::Open,
            }];
            assert!(look(bytes, &mut candidates).is_err(), "{}", bytes.len());
        }
        // One that never ends is left when enough has come out of it.
        let mut candidates: [Candidate; 0] = [];
        assert!(look(std::io::repeat(b'x').take(1 << 20), &mut candidates).is_err());
    }

    #[test]
    fn an_entrypoint_is_looked_for_as_in_a_container() {
        let settings = Settings {
            env: Some(vec!["PATH=/bin:/usr/bin".to_owned()]),
            working_dir: Some("/work".to_owned()),
            ..Settings::default()
        };
        let places = |program| -> Vec<String> {
            let places = settings.places(program).into_iter();
            places.map(|place| place.display().to_string()).collect()
        };
        assert_eq!(places("/a/../app.wasm"), ["app.wasm"]);
        assert_eq!(places("./app.wasm"), ["work/app.wasm"]);
        assert_eq!(places("/a#b"), ["a#b", "a"]);
        assert_eq!(places("app"), ["bin/app", "usr/bin/app", "work/app", "app"]);
        let none = Settings::default();
        assert!(
            none.places("app")
                .contains(&Path::new("usr/local/bin/app").into())
        );
        assert_eq!(none.program(), None);
    }
}
