use super::{Error, Stdio};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Size, StdioHandles};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions};

struct Fifos(PathBuf, Option<File>);

impl Fifos {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("medley-io-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for stream in ["in", "out"] {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                dir.join(stream),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )
            .unwrap();
        }
        let reader = crate::fifo::open_fifo("stdout", &dir.join("out"), rustix::fs::OFlags::RDONLY);
        Self(dir, Some(reader.unwrap().into()))
    }

    fn stdio(&self) -> Stdio {
        Stdio {
            stdin: self.path("in"),
            stdout: self.path("out"),
            ..Stdio::default()
        }
    }

    fn path(&self, stream: &str) -> String {
        self.0.join(stream).display().to_string()
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn output_survives_a_reader_that_goes_away_and_comes_back() {
    let mut fifos = Fifos::new("output");
    let (ends, keeper) = fifos.stdio().open(0).unwrap();
    fifos.1 = None;
    let mut stdout = File::from(ends.stdout);
    stdout.write_all(b"no SIGPIPE").unwrap();
    let mut reader = File::open(fifos.path("out")).unwrap();
    drop(stdout);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(
        text, "no SIGPIPE",
        "the shim's handle must not hold back the end"
    );
    drop(keeper);
}

#[test]
fn a_reader_that_is_still_opening_is_waited_for() {
    let mut fifos = Fifos::new("late");
    fifos.1 = None;
    let path = fifos.path("out");
    let reader = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut text = String::new();
        File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let (ends, _keeper) = fifos.stdio().open(0).unwrap();
    File::from(ends.stdout).write_all(b"short").unwrap();
    assert_eq!(reader.join().unwrap(), "short");
}

#[test]
fn input_ends_once_it_is_closed_and_not_before() {
    let fifos = Fifos::new("input");
    let (ends, keeper) = fifos.stdio().open(0).unwrap();
    for line in ["one", "two"] {
        File::options()
            .write(true)
            .open(fifos.path("in"))
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
    keeper.close_stdin();
    let mut text = String::new();
    File::from(ends.stdin).read_to_string(&mut text).unwrap();
    assert_eq!(text, "onetwo");
}

#[test]
fn what_is_no_fifo_is_refused_by_name() {
    let stdio = Stdio {
        stdout: "/dev/null".into(),
        ..Stdio::default()
    };
    assert!(matches!(
        stdio.open(0),
        Err(Error::NotAFifo {
            stream: "stdout",
            ..
        })
    ));
    let stdio = Stdio {
        stderr: "syslog:///usr/bin/log".into(),
        ..Stdio::default()
    };
    let error = stdio.open(0).unwrap_err().to_string();
    assert!(error.contains("syslog:///usr/bin/log"), "{error}");
}

/// And it waits for the input's beginning.
#[tokio::test]
async fn a_session_ends_with_its_clients_input() {
    let fifos = Fifos::new("session");
    let mut client = client(&fifos);
    let (ends, _keeper) = fifos.stdio().open_session(0).unwrap();
    let writing = std::thread::spawn(move || client.write_all(b"all").unwrap());
    let mut text = String::new();
    File::from(ends.stdin).read_to_string(&mut text).unwrap();
    assert_eq!(text, "all");
    writing.join().unwrap();
}

/// A client's end of the input, as it has it once there is a reader.
fn client(fifos: &Fifos) -> File {
    use rustix::fs::OFlags;
    let path = fifos.0.join("in");
    let open = |flags| crate::fifo::open_fifo("stdin", &path, flags).unwrap();
    let _reader = open(OFlags::RDONLY);
    open(OFlags::WRONLY).into()
}

/// Which may be all there before the session begins: to look for a client takes nothing of it.
#[tokio::test]
async fn a_session_has_its_input_from_the_first_byte() {
    let fifos = Fifos::new("session-first");
    let path = fifos.0.join("in");
    let reader = crate::fifo::open_fifo("stdin", &path, rustix::fs::OFlags::RDONLY).unwrap();
    let mut client = client(&fifos);
    client.write_all(b"all").unwrap();
    let (ends, keeper) = fifos.stdio().open_session(0).unwrap();
    drop((reader, client));
    let mut text = String::new();
    // The client's end was the only one.
    File::from(ends.stdin).read_to_string(&mut text).unwrap();
    assert_eq!(text, "all");
    drop(keeper);
}

/// A client that closes its input at once may be gone before the session begins.
#[tokio::test]
async fn a_session_without_a_client_has_input_until_it_is_closed() {
    let fifos = Fifos::new("session-none");
    let (ends, keeper) = fifos.stdio().open_session(0).unwrap();
    let late = File::options().write(true).open(fifos.path("in"));
    late.unwrap().write_all(b"late").unwrap();
    keeper.close_stdin();
    let mut text = String::new();
    File::from(ends.stdin).read_to_string(&mut text).unwrap();
    assert_eq!(text, "late");
}

/// Even if a process still holds it.
#[tokio::test]
async fn a_session_that_is_closed_ends_its_output() {
    let mut fifos = Fifos::new("session-output");
    let mut reader = fifos.1.take().unwrap();
    let stdio = Stdio {
        stdout: fifos.stdio().stdout,
        ..Stdio::default()
    };
    let (ends, keeper) = stdio.open_session(0).unwrap();
    // A process that the session left behind.
    let held = File::from(ends.stdout);
    (&held).write_all(b"said").unwrap();
    keeper.close().await;
    drop(keeper);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "said");
}

/// A session whose output goes to a FIFO: the end that its processes write to, and the FIFO's other one.
fn session(fifos: &mut Fifos) -> (File, StdioHandles, File) {
    let stdio = Stdio {
        stdout: fifos.stdio().stdout,
        ..Stdio::default()
    };
    let (ends, keeper) = stdio.open_session(0).unwrap();
    (ends.stdout.into(), keeper, fifos.1.take().unwrap())
}

#[tokio::test]
async fn a_reader_that_pauses_at_the_end_loses_nothing() {
    /// More than a pipe holds, and less than two of them.
    const LENGTH: usize = 100 << 10;
    let mut fifos = Fifos::new("pause");
    let (mut stdout, keeper, mut reader) = session(&mut fifos);
    apart(move || stdout.write_all(&[b'x'; LENGTH]).unwrap()).await;
    keeper.close().await;
    drop(keeper);
    let read = apart(move || {
        let mut said = Vec::new();
        reader.read_to_end(&mut said).map(|_| said.len())
    });
    assert_eq!(read.await.unwrap(), LENGTH);
}

#[tokio::test]
async fn what_a_session_left_behind_may_write_for_ever() {
    let mut fifos = Fifos::new("flood");
    let (mut stdout, keeper, mut reader) = session(&mut fifos);
    let flood = std::thread::spawn(move || while stdout.write_all(&[b'x'; 4096]).is_ok() {});
    let reader = std::thread::spawn(move || {
        // As slow as to have the flood never wait for long, and not as slow as to be given up.
        while reader.read(&mut [0; 4096]).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    tokio::time::timeout(Duration::from_secs(30), keeper.close())
        .await
        .unwrap();
    drop(keeper);
    apart(move || {
        flood.join().unwrap();
        reader.join().unwrap();
    })
    .await;
}

#[test]
fn no_paths_mean_dev_null() {
    let (ends, _keeper) = Stdio::default().open(0).unwrap();
    let mut text = Vec::new();
    File::from(ends.stdin).read_to_end(&mut text).unwrap();
    assert!(text.is_empty());
    File::from(ends.stdout).write_all(b"gone").unwrap();
}

/// A terminal: master and slave. It echoes nothing, so that what was said is what is read.
fn terminal() -> (OwnedFd, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
    let mut modes = rustix::termios::tcgetattr(&slave).unwrap();
    modes.local_modes.remove(LocalModes::ECHO);
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes).unwrap();
    (master, slave.into())
}

fn with_terminal(fifos: &Fifos) -> (StdioHandles, File) {
    let stdio = Stdio {
        terminal: true,
        ..fifos.stdio()
    };
    let (_, keeper) = stdio.open(0).unwrap();
    let (master, slave) = terminal();
    keeper.connect(master).unwrap();
    (keeper, slave)
}

/// Runs `work`, which waits for the copying tasks, on a thread that may.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn line(slave: &mut File) -> String {
    let mut bytes = [0; 100];
    let count = slave.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn a_terminal_brings_what_is_typed_and_takes_what_is_said() {
    let mut fifos = Fifos::new("terminal");
    let (keeper, mut slave) = with_terminal(&fifos);
    let path = fifos.path("in");
    let (typed, slave) = apart(move || {
        std::fs::write(path, "typed\n").unwrap();
        (line(&mut slave), slave)
    })
    .await;
    assert_eq!(typed, "typed\n");
    (&slave).write_all(b"said\n").unwrap();
    drop(slave);
    keeper.drain().await;
    let mut reader = fifos.1.take().unwrap();
    let said = apart(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).map(|_| said)
    });
    // The writing end went with the last byte, although ours for reading is still there.
    assert_eq!(said.await.unwrap(), "said\r\n");
}

#[tokio::test]
async fn the_end_of_a_terminals_input_is_typed() {
    let fifos = Fifos::new("end");
    let (keeper, mut slave) = with_terminal(&fifos);
    let mut writer = File::options().write(true).open(fifos.path("in")).unwrap();
    writer.write_all(b"begun").unwrap();
    drop(writer);
    keeper.close_stdin();
    let lines = apart(move || [line(&mut slave), line(&mut slave)]).await;
    assert_eq!(lines, ["begun", ""]);
}

#[tokio::test]
async fn a_terminal_that_was_closed_and_opened_again_goes_on() {
    let mut fifos = Fifos::new("again");
    let stdio = Stdio {
        terminal: true,
        ..fifos.stdio()
    };
    let (_, keeper) = stdio.open(0).unwrap();
    let (master, slave) = terminal();
    let again = master.try_clone().unwrap();
    keeper.connect(master).unwrap();
    drop(slave);
    let mut reader = fifos.1.take().unwrap();
    for text in ["one", "two"] {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let end = rustix::pty::ioctl_tiocgptpeer(&again, flags).unwrap();
        File::from(end).write_all(text.as_bytes()).unwrap();
        let mut said = [0; 3];
        let read;
        (reader, read) = apart(move || {
            // What was opened for reading has a writer by now.
            rustix::io::ioctl_fionbio(&reader, false).unwrap();
            reader.read_exact(&mut said).unwrap();
            (reader, said)
        })
        .await;
        assert_eq!(read, text.as_bytes());
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_neither_end_nor_others() {
    let fifos = Fifos::new("stuck");
    let (keeper, slave) = with_terminal(&fifos);
    let flood = std::thread::spawn(move || {
        // It waits once everything on the way is full, until the shim hangs up.
        while (&slave).write_all(&[b'x'; 4096]).is_ok() {}
    });
    let fifo = fifos.1.as_ref().unwrap();
    while rustix::io::ioctl_fionread(fifo).unwrap() < 32 << 10 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::timeout(Duration::from_secs(30), keeper.close())
        .await
        .unwrap();
    apart(move || flood.join().unwrap()).await;
}

#[tokio::test]
async fn a_size_that_was_set_before_is_the_first_one() {
    let fifos = Fifos::new("size");
    let stdio = Stdio {
        terminal: true,
        ..fifos.stdio()
    };
    let (_, keeper) = stdio.open(0).unwrap();
    let (master, slave) = terminal();
    let size = |rows, columns| Size { rows, columns };
    let seen = |slave: &File| {
        let size = rustix::termios::tcgetwinsize(slave).unwrap();
        (size.ws_row, size.ws_col)
    };
    keeper.resize(size(10, 20)).unwrap();
    keeper.connect(master).unwrap();
    assert_eq!(seen(&slave), (10, 20));
    keeper.resize(size(30, 40)).unwrap();
    assert_eq!(seen(&slave), (30, 40));
    keeper.close().await;
    assert!(matches!(keeper.resize(size(1, 1)), Err(Error::NoTerminal)));
}

#[tokio::test]
async fn a_terminal_leaves_alone_what_is_named_as_its_stderr() {
    for stderr in ["/nowhere/at-all", "file:///nowhere/log", "odd://scheme"] {
        let fifos = Fifos::new("stderr");
        let stdio = Stdio {
            stderr: stderr.into(),
            terminal: true,
            ..fifos.stdio()
        };
        let (_ends, keeper) = stdio.open(0).unwrap();
        keeper.close().await;
    }
    assert!(!Path::new("/nowhere").exists());
}

#[tokio::test]
async fn a_terminal_leaves_a_fifo_alone_that_is_named_as_its_stderr() {
    let fifos = Fifos::new("named-stderr");
    let path = fifos.0.join("err");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let stdio = Stdio {
        stderr: fifos.path("err"),
        terminal: true,
        ..fifos.stdio()
    };
    let (_ends, keeper) = stdio.open(0).unwrap();
    // No process has it open for writing, so a reader finds its end.
    let reader = crate::fifo::open_fifo("stderr", &path, rustix::fs::OFlags::RDONLY).unwrap();
    assert_eq!(File::from(reader).read(&mut [0]).unwrap(), 0);
    keeper.close().await;
}
