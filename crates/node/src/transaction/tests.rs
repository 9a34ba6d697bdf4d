use super::{New, Step, Transaction};
use crate::root::Root;
use std::path::Path;

fn step(path: &str, text: &str) -> Step {
    Step::new(path, New::Bytes(text.as_bytes().to_vec()))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn all_is_changed_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::write(at("old"), "old").unwrap();
    std::fs::write(at("gone"), "gone").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let steps = || {
        vec![
            step("/old", "new"),
            Step::new("/gone", New::Nothing),
            step("/a/b/made", "made"),
            Step::new("/a/link", New::Link("b".into())),
            Step::new("/none", New::Nothing),
        ]
    };
    let staged = Transaction::stage(&root, steps()).unwrap();
    assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "old");
    staged.roll_back().unwrap();
    assert_eq!(names(dir.path()), ["gone", "old"]);
    let committed = Transaction::stage(&root, steps())
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "new");
    assert!(!at("gone").exists());
    committed.roll_back().unwrap();
    assert_eq!(names(dir.path()), ["gone", "old"]);
    assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "old");
    let committed = Transaction::stage(&root, steps())
        .unwrap()
        .commit()
        .unwrap();
    committed.keep().unwrap();
    assert_eq!(names(dir.path()), ["a", "old"]);
    assert_eq!(names(&at("a")), ["b", "link"]);
    assert_eq!(std::fs::read_to_string(at("a/b/made")).unwrap(), "made");
}

#[test]
fn one_that_cannot_be_written_leaves_the_others_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old"), "old").unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let root = Root::open(dir.path()).unwrap();
    // A directory is made before it is seen that a file stands where the next one would.
    let steps = vec![step("/old", "new"), step("/a/b", ""), step("/file/b", "")];
    assert!(Transaction::stage(&root, steps).is_err());
    assert_eq!(names(dir.path()), ["file", "old"]);
}

/// What comes between writing and putting in place is not overwritten.
#[test]
fn a_file_that_others_have_made_meanwhile_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("first"), "old").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let staged = Transaction::stage(&root, vec![step("/first", "new"), step("/second", "new")]);
    std::fs::write(dir.path().join("second"), "theirs").unwrap();
    assert!(staged.unwrap().commit().is_err());
    assert_eq!(names(dir.path()), ["first", "second"]);
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(
        (text("first"), text("second")),
        ("old".into(), "theirs".into())
    );
}

#[test]
fn what_a_run_that_was_killed_has_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".old.medley-new"), "half").unwrap();
    std::fs::write(dir.path().join(".old.medley-old"), "older").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let committed = Transaction::stage(&root, vec![step("/old", "new")])
        .unwrap()
        .commit();
    committed.unwrap().keep().unwrap();
    assert_eq!(names(dir.path()), ["old"]);
}
