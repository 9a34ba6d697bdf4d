//! Rust's own text of structures, as libcontainer's log has it.

use rustix::io::Errno;

/// The errno that a line names: `Nix(ENODEV)`, `ENOENT: No such file`, `Os { code: 2, .. }`, or
/// `(os error 2)`. What is between quotes is the spec's.
pub(super) fn errno(line: &str) -> Option<Errno> {
    let line = without_texts(line);
    let by_name = || {
        let words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
        let mut names = words.filter(|word| word.len() > 3 && word.starts_with('E'));
        names.find_map(|name| NAMES.iter().find(|(known, _)| *known == name))
    };
    number(&line, "Os { code: ")
        .or_else(|| number(&line, "(os error "))
        .or_else(|| by_name().map(|(_, errno)| *errno))
}

fn number(line: &str, before: &str) -> Option<Errno> {
    let rest = &line[line.find(before)? + before.len()..];
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    let number = rest[..end].parse().ok();
    let number = number.filter(|number| (1..4096).contains(number));
    number.map(Errno::from_raw_os_error)
}

/// The line without what is between quotes.
fn without_texts(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::new();
    while let Some(at) = rest.find('"') {
        kept.push_str(&rest[..at]);
        rest = literal(&rest[at..]).map_or("", |(_, after)| after);
    }
    kept + rest
}

/// The line up to its fields, with the errno that they name.
pub(super) fn plain(line: &str) -> String {
    let fields = [" err=", " error=", " errno=", " e=", " pid=Pid("];
    let ends = fields.iter().filter_map(|field| line.find(field)).min();
    match ends {
        None => line.to_owned(),
        Some(end) => {
            let cause = errno(&line[end..]).map(std::io::Error::from);
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            format!("{}{cause}", &line[..end])
        }
    }
}

/// What stands behind `name`, up to the line's end.
pub(super) fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.find(name).map(|at| &line[at + name.len()..])
}

/// The text behind `name`, which may be `Some("text")` or `"text"`.
pub(super) fn text(line: &str, name: &str) -> Option<String> {
    let value = field(line, name)?;
    let value = value.strip_prefix("Some(").unwrap_or(value);
    literal(value).map(|(text, _)| text)
}

/// The word behind `name`.
pub(super) fn word<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let value = field(line, name)?;
    let end = value.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    Some(&value[..end.unwrap_or(value.len())])
}

/// The texts of a list behind `name`.
pub(super) fn texts(line: &str, name: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let list = field(line, name).and_then(|value| value.strip_prefix("Some(["));
    let mut rest = list.unwrap_or_default();
    while let Some((text, after)) = literal(rest) {
        texts.push(text);
        rest = after.strip_prefix(", ").unwrap_or_default();
    }
    texts
}

/// The text that a literal at the beginning of `code` stands for, and what is behind it.
pub(super) fn literal(code: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = code.strip_prefix('"')?.char_indices();
    while let Some((at, letter)) = chars.next() {
        match letter {
            '"' => return Some((text, &code[at + 2..])),
            '\\' => text.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'u' => unicode(&mut chars)?,
                other => other,
            }),
            letter => text.push(letter),
        }
    }
    None
}

/// The letter of `{7f}`.
fn unicode(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let digits: String = chars
        .skip(1)
        .map(|(_, letter)| letter)
        .take_while(|letter| *letter != '}')
        .collect();
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

macro_rules! names {
    ($($name:ident)*) => {
        &[$((concat!("E", stringify!($name)), Errno::$name)),*, ("EACCES", Errno::ACCESS)]
    };
}

/// Those that a container's making ends with.
const NAMES: &[(&str, Errno)] = names!(
    PERM NOENT SRCH INTR IO NXIO BADF AGAIN NOMEM FAULT NOTBLK BUSY EXIST XDEV NODEV NOTDIR ISDIR
    INVAL NFILE MFILE TXTBSY FBIG NOSPC ROFS MLINK PIPE RANGE NAMETOOLONG NOSYS NOTEMPTY LOOP
    OPNOTSUPP NOTSUP USERS DQUOT STALE OVERFLOW CONNREFUSED TIMEDOUT
);
