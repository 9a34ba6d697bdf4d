//! Which devices the processes of a cgroup may open, on the unified hierarchy.
//!
//! cgroup v2 has no file for it: a small BPF program is attached to the directory, which the kernel
//! asks at each open and mknod. See `BPF_PROG_TYPE_CGROUP_DEVICE` in the kernel's documentation.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Whether a rule is about block or character devices, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device. As the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Make a node of it.
    pub const MKNOD: Self = Self(1);
    /// Open it for reading.
    pub const READ: Self = Self(2);
    /// Open it for writing.
    pub const WRITE: Self = Self(4);
    /// All of it.
    pub const ALL: Self = Self(7);

    /// What letters of `rwm` stand for; others mean nothing.
    #[must_use]
    pub fn parse(letters: &str) -> Self {
        let bit = |letter| match letter {
            'm' => Self::MKNOD.0,
            'r' => Self::READ.0,
            'w' => Self::WRITE.0,
            _ => 0,
        };
        Self(letters.chars().map(bit).fold(0, |all, bit| all | bit))
    }

    /// Its letters.
    #[must_use]
    pub fn letters(self) -> &'static str {
        const LETTERS: [&str; 8] = ["", "m", "r", "rm", "w", "wm", "rw", "rwm"];
        LETTERS[usize::from(self.0 & Self::ALL.0)]
    }
}

/// One rule. Of several that fit, the last counts, for each kind of access on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or forbids.
    pub allow: bool,
    /// Which kind of devices.
    pub kind: Kind,
    /// The major number, any if `None`.
    pub major: Option<u32>,
    /// The minor number, any if `None`.
    pub minor: Option<u32>,
    /// What it is about.
    pub access: Access,
}

/// Attaches `rules` to the cgroup whose directory is open as `cgroup`, beside what is attached already.
/// What no rule allows is forbidden. The program stays as long as the dir does.
///
/// # Errors
/// Those of `bpf`: `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`, `EINVAL` on a kernel without
/// `CONFIG_CGROUP_BPF`.
pub fn attach(cgroup: BorrowedFd<'_>, rules: &[Rule]) -> io::Result<()> {
    let program = load(&program(rules))?;
    let attributes = AttachAttributes {
        target_fd: descriptor(cgroup.as_raw_fd())?,
        attach_bpf_fd: descriptor(program.as_raw_fd())?,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes are a prefix of `union bpf_attr` as PROG_ATTACH reads it, and outlive
    // the call; the kernel takes the rest as zero. libc has no wrapper.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<AttachAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The prefix of `union bpf_attr` that loads a program.
#[repr(C)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The prefix of `union bpf_attr` that attaches one.
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

fn descriptor(fd: i32) -> io::Result<u32> {
    u32::try_from(fd).map_err(io::Error::other)
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let attributes = LoadAttributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(io::Error::other)?,
        insns: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
    };
    // SAFETY: the attributes are a prefix of `union bpf_attr` as PROG_LOAD reads it; the
    // instructions, their number and the string are valid and outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made the descriptor, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// The destination register in the low four bits, the source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The registers, by what the program keeps in them.
mod register {
    pub(super) const RESULT: u8 = 0;
    pub(super) const CONTEXT: u8 = 1;
    pub(super) const KIND: u8 = 2;
    /// The kinds of access that no rule has decided yet.
    pub(super) const UNDECIDED: u8 = 3;
    pub(super) const MAJOR: u8 = 4;
    pub(super) const MINOR: u8 = 5;
    pub(super) const SCRATCH: u8 = 6;
}

// Operation codes, from the kernel's `bpf_common.h` and `bpf.h`.
const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT: u8 = 0x55;
const JUMP_IF: u8 = 0x15;
const EXIT: u8 = 0x95;

fn on(register: u8, code: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate,
    }
}

/// Loads the word at `offset` of `struct bpf_cgroup_dev_ctx`.
fn field(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: LOAD_WORD,
        registers: register | register::CONTEXT << 4,
        offset,
        immediate: 0,
    }
}

fn copy(to: u8, from: u8) -> Instruction {
    on(to | from << 4, MOVE_REGISTER, 0)
}

fn answer(allowed: bool) -> [Instruction; 2] {
    [
        on(register::RESULT, MOVE, i32::from(allowed)),
        on(0, EXIT, 0),
    ]
}

/// A number as the kernel compares it: the 32 bits, sign-extended on both sides or not at all.
fn bits(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

/// The rules as a program, the last rule first.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // access_type: the kind of device in the low half, the access in the high one.
        field(register::KIND, 0),
        copy(register::UNDECIDED, register::KIND),
        on(register::KIND, AND, 0xffff),
        on(register::UNDECIDED, SHIFT_RIGHT, 16),
        field(register::MAJOR, 4),
        field(register::MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        program.extend(compile(rule));
    }
    program.extend(answer(false));
    program
}

/// One rule: conditions that lead behind it, and what it decides.
fn compile(rule: &Rule) -> Vec<Instruction> {
    let mask = i32::from(rule.access.0);
    let mut conditions = Vec::new();
    match rule.kind {
        Kind::All => {}
        Kind::Block => conditions.push(on(register::KIND, JUMP_IF_NOT, 1)),
        Kind::Char => conditions.push(on(register::KIND, JUMP_IF_NOT, 2)),
    }
    if let Some(major) = rule.major {
        conditions.push(on(register::MAJOR, JUMP_IF_NOT, bits(major)));
    }
    if let Some(minor) = rule.minor {
        conditions.push(on(register::MINOR, JUMP_IF_NOT, bits(minor)));
    }
    let mut decision = Vec::new();
    let skip = |code, over| Instruction {
        offset: over,
        ..on(register::SCRATCH, code, 0)
    };
    if rule.allow {
        // Decided: what this rule speaks of. All decided: allowed.
        decision.push(on(register::UNDECIDED, AND, !mask));
        decision.push(Instruction {
            offset: 2,
            ..on(register::UNDECIDED, JUMP_IF_NOT, 0)
        });
    } else {
        decision.push(copy(register::SCRATCH, register::UNDECIDED));
        decision.push(on(register::SCRATCH, AND, mask));
        decision.push(skip(JUMP_IF, 2));
    }
    decision.extend(answer(rule.allow));
    // Each condition that does not hold leads behind the whole rule.
    let mut behind = decision.len() + conditions.len();
    for condition in &mut conditions {
        behind -= 1;
        condition.offset = i16::try_from(behind).unwrap_or(i16::MAX);
    }
    conditions.extend(decision);
    conditions
}

#[cfg(test)]
mod tests {
    use super::{
        AND, Access, EXIT, Instruction, JUMP_IF, JUMP_IF_NOT, Kind, LOAD_WORD, MOVE, MOVE_REGISTER,
        Rule, SHIFT_RIGHT, program,
    };

    /// Runs a program as the kernel does, on a device of this kind and numbers.
    fn allowed(rules: &[Rule], kind: u64, access: u64, major: u64, minor: u64) -> bool {
        let context = [access << 16 | kind, major, minor];
        let program = program(rules);
        let mut registers = [0u64; 16];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                registers: named,
                offset,
                immediate,
            } = program[at];
            let to = usize::from(named & 15);
            let from = usize::from(named >> 4);
            let value = i64::from(immediate).cast_unsigned();
            at += 1;
            let jump = usize::try_from(offset).unwrap_or_default();
            match code {
                LOAD_WORD => registers[to] = context[jump / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_IF_NOT if registers[to] != value => at += jump,
                JUMP_IF if registers[to] == value => at += jump,
                JUMP_IF_NOT | JUMP_IF => {}
                EXIT => return registers[0] == 1,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    const BLOCK: u64 = 1;
    const CHAR: u64 = 2;

    fn rule(allow: bool, kind: Kind, major: Option<u32>, minor: Option<u32>, access: &str) -> Rule {
        Rule {
            allow,
            kind,
            major,
            minor,
            access: Access::parse(access),
        }
    }

    #[test]
    fn what_no_rule_allows_is_forbidden() {
        assert!(!allowed(&[], CHAR, 2, 1, 3));
        let null = [rule(true, Kind::Char, Some(1), Some(3), "rwm")];
        assert!(allowed(&null, CHAR, 7, 1, 3));
        assert!(!allowed(&null, BLOCK, 2, 1, 3));
        assert!(!allowed(&null, CHAR, 2, 1, 5));
        assert!(!allowed(&null, CHAR, 2, 2, 3));
    }

    #[test]
    fn the_last_rule_that_fits_counts_for_each_kind_of_access() {
        let rules = [
            rule(false, Kind::All, None, None, "rwm"),
            rule(true, Kind::Char, Some(10), None, "r"),
            rule(true, Kind::Char, Some(10), Some(200), "w"),
            rule(false, Kind::Char, Some(10), Some(7), "r"),
        ];
        assert!(allowed(&rules, CHAR, 2, 10, 1));
        assert!(!allowed(&rules, CHAR, 4, 10, 1));
        // Reading by one rule, writing by another: both at once too.
        assert!(allowed(&rules, CHAR, 6, 10, 200));
        assert!(!allowed(&rules, CHAR, 7, 10, 200));
        assert!(!allowed(&rules, CHAR, 2, 10, 7));
    }

    #[test]
    fn everything_may_be_allowed_at_once() {
        let privileged = [rule(true, Kind::All, None, None, "rwm")];
        assert!(allowed(&privileged, BLOCK, 7, 8, 0));
        assert!(allowed(&privileged, CHAR, 7, u64::from(u32::MAX >> 1), 0));
    }
}
