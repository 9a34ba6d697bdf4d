//! What `ps` shows of a process that was cloned and never executes anything.

use std::ffi::{c_int, c_uint, c_ulong};
use std::io;

/// `struct prctl_mm_map` of `<linux/prctl.h>`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *const u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Where the kernel has what it shows of this process. Its clones have it in the same places.
#[derive(Debug, Clone, Copy)]
pub struct Layout(Map);

impl Layout {
    /// Of the calling process.
    ///
    /// # Errors
    /// If the node's procfs can't be read, or says something else than proc(5).
    pub fn of_self() -> io::Result<Self> {
        let stat = crate::kernel_file::read("/proc/self/stat")?;
        parse(&stat)
            .map(Self)
            .ok_or_else(|| io::Error::other("/proc/self/stat is not what it is known as"))
    }

    /// Has `/proc/<pid>/cmdline` show these arguments for the rest of the process's life. Nothing
    /// asks for its own after that. On a kernel that was built without checkpoint and restore, and
    /// under a filter without prctl, they are cut to the length of the old ones.
    pub fn show_arguments(self, arguments: &[impl AsRef<[u8]>]) {
        let mut text = Vec::new();
        for argument in arguments {
            text.extend_from_slice(argument.as_ref());
            text.push(0);
        }
        // Never freed: the kernel reads it whenever a process asks.
        let text: &'static [u8] = text.leak();
        if self.show(text).is_err() {
            self.overwrite(text);
        }
    }

    fn show(self, text: &'static [u8]) -> io::Result<()> {
        let range = text.as_ptr_range();
        let map = Map {
            // SAFETY: brk with 0 changes nothing, and gives where the heap ends now, which the
            // kernel takes as part of the map. There is no other way to ask.
            brk: unsafe { libc::syscall(libc::SYS_brk, 0) }.cast_unsigned(),
            arg_start: range.start as u64,
            arg_end: range.end as u64,
            ..self.0
        };
        // SAFETY: `map` is of the size that is passed and outlives the call. Of what it says only
        // the arguments' place differs from what is in force, and that is ours for ever.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_MM,
                c_ulong::from(PR_SET_MM_MAP.cast_unsigned()),
                &raw const map,
                size_of::<Map>() as c_ulong,
                0 as c_ulong,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Writes over the arguments that the process was executed with.
    fn overwrite(self, text: &[u8]) {
        let Map {
            arg_start, arg_end, ..
        } = self.0;
        let Some(room) = arg_end
            .checked_sub(arg_start)
            .and_then(|room| usize::try_from(room).ok())
        else {
            return;
        };
        // The last byte stays what it is, a NUL: without it the environment would be shown too.
        let room = room.saturating_sub(1);
        let mut shown = text.get(..room).unwrap_or(text).to_vec();
        shown.resize(room, 0);
        // SAFETY: the kernel put the arguments there, on this process's stack, which is writable
        // and never freed; no reference to them is held, as the caller promises.
        unsafe {
            std::ptr::copy_nonoverlapping(shown.as_ptr(), arg_start as *mut u8, room);
        }
    }
}

/// `PR_SET_MM_MAP` of `<linux/prctl.h>`: the one of its kind that needs no capability.
const PR_SET_MM_MAP: c_int = 14;

/// The numbers in proc(5)'s order, in which the process's name, the second, may hold anything.
fn parse(stat: &str) -> Option<Map> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // The first of these is the third of all.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Map {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: field(47)?,
        start_stack: field(28)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: std::ptr::null(),
        auxv_size: 0,
        exe_fd: c_uint::MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_numbers() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("1 (a) b) S {}", numbers.join(" "));
        let map = parse(&stat).unwrap();
        assert_eq!(
            (map.start_code, map.end_code, map.start_stack),
            (26, 27, 28)
        );
        assert_eq!((map.arg_start, map.env_end), (48, 51));
        assert!(parse("1 (a) S 1 2").is_none());
    }
}
