//! A guest's arguments, environment and preopens, as WasmEdge takes them.

use std::ffi::{CStr, CString};
use std::path::Path;

use medley_engine::{Guest, Preopen};

use crate::ffi::ModuleInstance;
use crate::imports;
use crate::owned::Owned;

/// What the guest reads as its working directory. WASI preview 1 has none of its own; Go and
/// others read this variable.
const PWD: &str = "PWD";

/// What WasmEdge puts between the parts of a preopen.
const SEPARATOR: char = ':';

/// The module of WASI with all that `guest` names. Preopens that are not there, or that the
/// container's user may not open, are left out: the guest gets ENOENT where a Linux program gets
/// EACCES.
pub(crate) fn wasi(guest: &Guest) -> Result<Owned<ModuleInstance>, String> {
    let mut env: Vec<String> = guest
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !guest.env.iter().any(|(name, _)| name == PWD) {
        env.push(format!("{PWD}={}", guest.cwd));
    }
    let preopens = guest.preopens.iter().filter_map(preopen).collect();
    let (args, env, preopens) = (
        terminated(guest.args.clone())?,
        terminated(env)?,
        terminated(preopens)?,
    );
    let wasi = imports::wasi(&borrowed(&args), &borrowed(&env), &borrowed(&preopens))?;
    Ok(wasi)
}

/// `name:path`, or `name:path:readonly`. A colon can't be written in either.
fn preopen(preopen: &Preopen) -> Option<String> {
    let Preopen {
        path,
        name,
        read_only,
    } = preopen;
    if path.contains(SEPARATOR) || name.contains(SEPARATOR) || !Path::new(path).is_dir() {
        return None;
    }
    let mode = if *read_only { ":readonly" } else { "" };
    Some(format!("{name}{SEPARATOR}{path}{mode}"))
}

fn terminated(texts: Vec<String>) -> Result<Vec<CString>, String> {
    texts
        .into_iter()
        .map(|text| CString::new(text).map_err(|error| error.to_string()))
        .collect()
}

fn borrowed(texts: &[CString]) -> Vec<&CStr> {
    texts.iter().map(CString::as_c_str).collect()
}
