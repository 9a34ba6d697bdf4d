//! A guest's calls on paths against those of a Linux program: the same calls in two trees that are
//! alike, and the answers and what became of the trees compared.

mod calls;
mod component;
mod module;
mod native;
mod race;
mod tree;

use calls::Does;
use tree::Tree;

/// Ways to the directory that a name is in.
const WAYS: [&str; 14] = [
    "",
    "abs/",
    "rel/",
    "chain/",
    "slashed/",
    "abs/sub/../",
    "abs//sub/up/",
    "missing/../",
    "abs/missing/../",
    "file/../",
    "abs/file/",
    "loop/",
    "dangling/",
    "dangling/../",
];

/// The names in it.
const NAMES: [&str; 15] = [
    "file",
    "sub",
    "empty",
    "none",
    "to-file",
    "to-sub",
    "to-dir",
    "to-dir-slash",
    "to-file-slash",
    "to-none",
    "to-none-rel",
    "to-none-slash",
    "to-itself",
    ".",
    "up",
];

/// What comes after the name.
const ENDS: [&str; 4] = ["", "//", "/.", "/.."];

/// All but the one that leads out of the tree.
fn paths() -> impl Iterator<Item = String> {
    let paths = WAYS.iter().flat_map(|way| {
        let names = NAMES.iter();
        names.flat_map(move |name| ENDS.iter().map(move |end| format!("{way}{name}{end}")))
    });
    paths.filter(|path| path != "./..")
}

/// Does every call on every path, as a guest and as a program, and says where the two differ.
fn compare<D: Does>(name: &str, guest: impl Fn(&Tree) -> D) {
    let (ours, theirs) = (
        Tree::new(&format!("{name}-ours")),
        Tree::new(&format!("{name}-theirs")),
    );
    let mut differ = Vec::new();
    for call in calls::ALL {
        let (mut one, mut other) = (guest(&ours), native::CompiledModule::new(&theirs));
        for path in paths() {
            let (said, right) = (one.does(call, &path), other.does(call, &path));
            let mut same = said == right;
            if said.is_ok() || right.is_ok() || !same {
                same = same && ours.is_like(&theirs);
                ours.renew();
                theirs.renew();
                (one, other) = (guest(&ours), native::CompiledModule::new(&theirs));
            }
            if !same {
                differ.push(format!("{call:?} {path}: {said:?}, and Linux {right:?}"));
            }
        }
        assert!(ours.is_like(&theirs), "{call:?} changed what it refused");
    }
    let count = differ.len();
    assert!(
        differ.is_empty(),
        "{count} answers differ:\n{}",
        differ.join("\n")
    );
}

#[test]
fn a_module_is_answered_as_a_linux_program_is() {
    compare("module", module::Module::new);
}

#[test]
fn a_component_is_answered_as_a_linux_program_is() {
    compare("component", component::Component::new);
}
