//! The calls that are compared.

/// A call on a path. Its other path, if it has one, is one that is there for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Open(Open),
    Stat {
        follow: bool,
    },
    ReadLink,
    SetTimes {
        follow: bool,
    },
    MakeDir,
    RemoveDir,
    RemoveFile,
    /// From the path to a name that is free.
    MoveFrom,
    /// A file to the path.
    MoveFile,
    /// A directory to the path.
    MoveDir,
    /// A new name for what is at the path.
    LinkFrom,
    /// A new name at the path for a file.
    LinkTo,
    /// A symbolic link at the path.
    Symlink {
        absolute: bool,
    },
}

/// How something is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Open {
    pub(super) write: bool,
    pub(super) follow: bool,
    pub(super) create: bool,
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
    pub(super) dir: bool,
}

const READ: Open = Open {
    write: false,
    follow: true,
    create: false,
    exclusive: false,
    truncate: false,
    dir: false,
};
const WRITE: Open = Open {
    write: true,
    ..READ
};
const CREATE: Open = Open {
    create: true,
    ..WRITE
};

pub(super) const ALL: [Call; 24] = [
    Call::Open(READ),
    Call::Open(Open {
        follow: false,
        ..READ
    }),
    Call::Open(Open { dir: true, ..READ }),
    Call::Open(WRITE),
    Call::Open(Open {
        truncate: true,
        ..WRITE
    }),
    Call::Open(CREATE),
    Call::Open(Open {
        follow: false,
        ..CREATE
    }),
    Call::Open(Open {
        truncate: true,
        ..CREATE
    }),
    Call::Open(Open {
        exclusive: true,
        ..CREATE
    }),
    Call::Stat { follow: true },
    Call::Stat { follow: false },
    Call::ReadLink,
    Call::SetTimes { follow: true },
    Call::SetTimes { follow: false },
    Call::MakeDir,
    Call::RemoveDir,
    Call::RemoveFile,
    Call::MoveFrom,
    Call::MoveFile,
    Call::MoveDir,
    Call::LinkFrom,
    Call::LinkTo,
    Call::Symlink { absolute: false },
    Call::Symlink { absolute: true },
];

/// What other paths are called.
pub(super) const FREE: &str = "free";
pub(super) const OTHER_FILE: &str = "other/file";
pub(super) const OTHER_DIR: &str = "other/folder";

/// What symbolic links hold.
pub(super) const HELD: [&str; 2] = ["held", "/held"];

/// What is made in a directory that was opened, to see which one it was.
pub(super) const MARK: &str = "mark";

/// The time that is set, in seconds.
pub(super) const TIME: u32 = 7_000;

/// An answer: what was told, or the number of an error.
pub(super) type Outcome = Result<String, i32>;

/// What does calls in a tree.
pub(super) trait Does {
    fn does(&mut self, call: Call, path: &str) -> Outcome;
}

/// What is told of a stat: the time says what it is of.
pub(super) fn told(kind: rustix::fs::FileType, time: i64) -> String {
    format!("{kind:?} {time}")
}
