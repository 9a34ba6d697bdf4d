//! Links that change while a guest's paths are looked up.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};

use super::calls::{Call, Does, Open, Outcome};
use super::component::Component;
use super::module::Module;
use super::tree::Tree;

const TRIES: usize = 3_000;

/// What a guest reads whose only dir is `dir` of a tree, while a link in it leads inside and
/// outside by turns.
fn read_meanwhile<D: Does>(name: &str, guest: impl Fn(&Tree) -> D) -> Vec<Outcome> {
    let whole = Tree::new(name);
    let dir = whole.path().join("dir");
    fs::create_dir(whole.path().join("dir-not")).unwrap();
    fs::write(whole.path().join("dir-not/file"), "outside").unwrap();
    let (one, other) = (dir.join("swap"), dir.join("other-swap"));
    symlink(dir.join("sub"), &one).unwrap();
    symlink(whole.path().join("dir-not"), &other).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &one, CWD, &other, flags).unwrap();
            }
        });
        let mut guest = guest(&Tree::at(&dir));
        let read = Call::Open(Open {
            follow: true,
            ..Open::default()
        });
        let told = (0..TRIES).map(|_| guest.does(read, "swap/file")).collect();
        over.store(true, Ordering::Relaxed);
        told
    })
}

fn nothing_outside(told: &[Outcome]) {
    let denied = rustix::io::Errno::PERM.raw_os_error();
    for answer in told {
        match answer {
            Ok(text) => assert_eq!(text, "333"),
            Err(error) => assert_eq!(*error, denied),
        }
    }
    assert!(told.iter().any(Result::is_ok), "none found what is inside");
}

#[test]
fn a_module_never_gets_out_by_a_link_that_changes() {
    nothing_outside(&read_meanwhile("race-module", Module::new));
}

#[test]
fn a_component_never_gets_out_by_a_link_that_changes() {
    nothing_outside(&read_meanwhile("race-component", Component::new));
}
