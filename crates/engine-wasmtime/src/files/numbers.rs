//! The descriptors of a module by their numbers: which of Wasmtime's own each one means. A stream that
//! is opened by its name, and given another number or closed, stays what it was to every other one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wasmtime_wasi::p1::types::Errno;

use super::streams::Stream;

/// How many streams a guest may have open as files, more than any has use for.
const MAX: usize = 1 << 12;

/// Those of Wasmtime's descriptors that are the process's streams, which are never closed.
const STREAMS: u32 = 3;

/// What Wasmtime gives to nothing.
const NONE: u32 = u32::MAX;

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meant {
    /// What is read from, or asked about.
    read: u32,
    /// What is written to.
    write: u32,
    /// Whether it was opened by the name of a stream.
    by_name: bool,
}

impl Meant {
    fn own(fd: u32) -> Self {
        Self {
            read: fd,
            write: fd,
            by_name: false,
        }
    }
}

/// The numbers that a module knows.
#[derive(Debug)]
pub(super) struct Numbers {
    used: BTreeMap<u32, Meant>,
    free: BTreeSet<u32>,
    /// How many numbers mean the same of Wasmtime's descriptors, where more than one do.
    shared: HashMap<u32, u32>,
}

impl Numbers {
    /// The streams, and the dirs that a module finds open, up to this number.
    pub(super) fn new(end: u32) -> Self {
        Self {
            used: (0..end).map(|fd| (fd, Meant::own(fd))).collect(),
            free: BTreeSet::new(),
            shared: HashMap::new(),
        }
    }

    /// The descriptor of Wasmtime's to read from, or to ask about.
    pub(super) fn read(&self, number: u32) -> u32 {
        self.used.get(&number).map_or(NONE, |meant| meant.read)
    }

    /// The one to write to.
    pub(super) fn write(&self, number: u32) -> u32 {
        self.used.get(&number).map_or(NONE, |meant| meant.write)
    }

    /// Whether it was opened by the name of a stream.
    pub(super) fn is_by_name(&self, number: u32) -> bool {
        self.used.get(&number).is_some_and(|meant| meant.by_name)
    }

    /// Gives the lowest number that is free to a descriptor of Wasmtime's.
    pub(super) fn give(&mut self, fd: u32) -> Result<u32, Errno> {
        self.put(Meant::own(fd))
    }

    /// Gives one to a stream, as it is now: the guest may have put something else in its place.
    pub(super) fn open(&mut self, stream: Stream) -> Result<u32, Errno> {
        let meant = match stream {
            Stream::Stdin => self.now(0)?,
            Stream::Stdout => self.now(1)?,
            Stream::Stderr => self.now(2)?,
            // What the container's own streams are then.
            Stream::Terminal if stream.file().is_ok() => Meant {
                read: 0,
                write: 1,
                by_name: true,
            },
            Stream::Terminal => return Err(Errno::Nxio),
        };
        if meant.by_name && self.used.values().filter(|meant| meant.by_name).count() >= MAX {
            return Err(Errno::Nfile);
        }
        let number = self.put(meant)?;
        if meant.read >= STREAMS {
            *self.shared.entry(meant.read).or_insert(1) += 1;
        }
        Ok(number)
    }

    /// What the number of a stream means.
    fn now(&self, number: u32) -> Result<Meant, Errno> {
        let mut meant = *self.used.get(&number).ok_or(Errno::Noent)?;
        meant.by_name = meant.read < STREAMS;
        Ok(meant)
    }

    fn put(&mut self, meant: Meant) -> Result<u32, Errno> {
        let next = self
            .used
            .last_key_value()
            .map_or(Some(0), |(last, _)| last.checked_add(1));
        let number = self.free.pop_first().or(next).ok_or(Errno::Nfile)?;
        self.used.insert(number, meant);
        Ok(number)
    }

    /// Frees a number. Gives the descriptor of Wasmtime's that nothing means any more.
    pub(super) fn close(&mut self, number: u32) -> Result<Option<u32>, Errno> {
        let meant = self.used.remove(&number).ok_or(Errno::Badf)?;
        self.free.insert(number);
        if meant.read < STREAMS {
            return Ok(None);
        }
        match self.shared.remove(&meant.read) {
            None => Ok(Some(meant.read)),
            Some(count) => {
                if count > 2 {
                    self.shared.insert(meant.read, count - 1);
                }
                Ok(None)
            }
        }
    }

    /// Gives what one number means to another, which is in use. Gives what [`Self::close`] does of
    /// the latter.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<u32>, Errno> {
        if !self.used.contains_key(&from) || !self.used.contains_key(&to) {
            return Err(Errno::Badf);
        }
        if from == to {
            return Ok(None);
        }
        let closed = self.close(to)?;
        if let Some(meant) = self.used.remove(&from) {
            self.free.insert(from);
            self.free.remove(&to);
            self.used.insert(to, meant);
        }
        Ok(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::{NONE, Numbers, Stream};
    use wasmtime_wasi::p1::types::Errno;

    #[test]
    fn the_lowest_number_that_is_free_is_given() {
        let mut numbers = Numbers::new(4);
        assert_eq!(numbers.give(7).unwrap(), 4);
        assert_eq!(numbers.close(1).unwrap(), None);
        assert_eq!(numbers.close(3).unwrap(), Some(3));
        assert_eq!((numbers.read(1), numbers.write(3)), (NONE, NONE));
        assert_eq!(numbers.give(8).unwrap(), 1);
        assert_eq!(numbers.give(9).unwrap(), 3);
        assert_eq!(numbers.give(10).unwrap(), 5);
        assert_eq!(numbers.close(6).unwrap_err(), Errno::Badf);
    }

    #[test]
    fn a_stream_survives_what_becomes_of_its_number() {
        let mut numbers = Numbers::new(3);
        let log = numbers.open(Stream::Stdout).unwrap();
        assert!(numbers.is_by_name(log) && !numbers.is_by_name(1));
        assert_eq!(numbers.close(1).unwrap(), None);
        assert_eq!(numbers.open(Stream::Stdout).unwrap_err(), Errno::Noent);
        // A file takes the number, and gives it up again.
        assert_eq!(numbers.give(3).unwrap(), 1);
        assert_eq!((numbers.write(log), numbers.write(1)), (1, 3));
        assert_eq!(numbers.renumber(log, 1).unwrap(), Some(3));
        assert_eq!((numbers.write(1), numbers.write(log)), (1, NONE));
        assert_eq!(numbers.renumber(1, log).unwrap_err(), Errno::Badf);
        assert_eq!(numbers.renumber(1, 1).unwrap(), None);
    }

    #[test]
    fn a_file_in_place_of_a_stream_closes_with_its_last_number() {
        let mut numbers = Numbers::new(3);
        let file = numbers.give(5).unwrap();
        assert_eq!(numbers.renumber(file, 1).unwrap(), None);
        let again = numbers.open(Stream::Stdout).unwrap();
        let more = numbers.open(Stream::Stdout).unwrap();
        assert_eq!(
            (numbers.write(again), numbers.is_by_name(again)),
            (5, false)
        );
        assert_eq!(numbers.close(1).unwrap(), None);
        assert_eq!(numbers.close(again).unwrap(), None);
        assert_eq!(numbers.close(more).unwrap(), Some(5));
    }

    #[test]
    fn streams_that_are_open_as_files_have_a_bound() {
        let mut numbers = Numbers::new(3);
        let opened = (0..=super::MAX).map(|_| numbers.open(Stream::Stderr));
        let refused: Vec<_> = opened.filter_map(Result::err).collect();
        assert_eq!(refused, [Errno::Nfile]);
    }
}
