//! Signals by their names and numbers.

use crate::failure::Failure;

/// Every signal that has a name, as Linux numbers them on x86 and ARM.
const NAMES: [(&str, i32); 36] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("UNUSED", 31),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("RTMIN", 34),
];

/// The number of a signal that is named `KILL`, `SIGKILL`, `sigkill` or `9`.
pub(crate) fn number(named: &str) -> Result<i32, Failure> {
    if let Ok(number) = named.parse() {
        return Ok(number);
    }
    let upper = named.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| Failure::new(format!("unknown signal {named:?}")))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_signal_is_named_in_several_ways() {
        for name in ["KILL", "SIGKILL", "kill", "9"] {
            assert_eq!(number(name).unwrap(), 9);
        }
        assert_eq!(number("37").unwrap(), 37);
        let error = number("NOPE").unwrap_err().to_string();
        assert_eq!(error, "unknown signal \"NOPE\"");
    }
}
