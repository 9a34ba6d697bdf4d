//! Modules of any size, and modules that no compiler likes.

use anyhow::{Context, Result, ensure};

const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;
const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// A function shorter than this is not copied, in bytes: it is hardly any work to compile.
const WORTH_COPYING: usize = 100;

/// `module` with copies of its own functions, which are not called, until it has `bytes`: as much work
/// for a compiler as a real program of that size, and the same to run.
///
/// # Errors
/// It is no core module, or has no function to copy.
pub fn enlarged(module: &[u8], bytes: usize) -> Result<Vec<u8>> {
    let body = module.strip_prefix(HEADER).context("no core module")?;
    let sections = sections(body)?;
    let of = |id| {
        let found = sections.iter().find(|(found, _)| *found == id);
        found.map(|(_, content)| *content).context("no functions")
    };
    let mut types = vector(of(FUNCTIONS)?, |rest| Ok(number(rest)?.1))?;
    let mut bodies = vector(of(CODE)?, |rest| {
        let (size, from) = number(rest)?;
        Ok(from + size)
    })?;
    let worth: Vec<usize> = (0..bodies.len())
        .filter(|index| bodies[*index].len() >= WORTH_COPYING)
        .collect();
    ensure!(!worth.is_empty(), "no function that is worth copying");
    let mut size = module.len();
    for index in worth.into_iter().cycle() {
        if size >= bytes {
            break;
        }
        types.push(types[index]);
        bodies.push(bodies[index]);
        size += types[index].len() + bodies[index].len();
    }
    let mut made = HEADER.to_vec();
    for (id, content) in &sections {
        match *id {
            FUNCTIONS => section(&mut made, FUNCTIONS, &joined(&types)),
            CODE => section(&mut made, CODE, &joined(&bodies)),
            id => section(&mut made, id, content),
        }
    }
    Ok(made)
}

/// `module` with a custom section of `bytes`: larger, and the same native code.
pub fn padded(module: &[u8], bytes: usize) -> Vec<u8> {
    let mut content = vec![1, b'x'];
    content.resize(bytes.max(content.len()), 0);
    let mut made = module.to_vec();
    section(&mut made, 0, &content);
    made
}

/// A module of one function with this body, exported as `_start`, and a memory of one page.
pub fn of_body(body: &[u8]) -> Vec<u8> {
    let mut code = vec![0];
    code.extend_from_slice(body);
    code.push(0x0b);
    let mut functions = unsigned(1);
    functions.extend(unsigned(code.len()));
    functions.extend(code);
    let mut made = HEADER.to_vec();
    // () -> (), one function of it, a memory, `_start`.
    section(&mut made, 1, &[1, 0x60, 0, 0]);
    section(&mut made, FUNCTIONS, &[1, 0]);
    section(&mut made, 5, &[1, 0, 1]);
    section(&mut made, 7, b"\x01\x06_start\0\0");
    section(&mut made, CODE, &functions);
    made
}

fn section(made: &mut Vec<u8>, id: u8, content: &[u8]) {
    made.push(id);
    made.extend(unsigned(content.len()));
    made.extend_from_slice(content);
}

fn sections(mut rest: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (size, from) = number(after)?;
        let content = after.get(from..from + size).context("a section is cut")?;
        found.push((*id, content));
        rest = &after[from + size..];
    }
    Ok(found)
}

/// The items of a vector, each as long as `length` says.
fn vector(content: &[u8], length: impl Fn(&[u8]) -> Result<usize>) -> Result<Vec<&[u8]>> {
    let (count, from) = number(content)?;
    let mut rest = &content[from..];
    let mut items = Vec::new();
    for _ in 0..count {
        let (item, after) = rest
            .split_at_checked(length(rest)?)
            .context("an item is cut")?;
        items.push(item);
        rest = after;
    }
    Ok(items)
}

fn joined(items: &[&[u8]]) -> Vec<u8> {
    let mut content = unsigned(items.len());
    items
        .iter()
        .for_each(|item| content.extend_from_slice(item));
    content
}

/// A number in LEB128, and how many bytes it takes.
fn number(bytes: &[u8]) -> Result<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    anyhow::bail!("a number is cut")
}

/// `value` in LEB128.
pub fn unsigned(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::{enlarged, padded};
    use crate::guests;

    #[test]
    fn an_enlarged_module_is_still_one() -> anyhow::Result<()> {
        let small = guests::module("hello")?;
        let large = enlarged(&small, 1 << 20)?;
        assert!(large.len() >= 1 << 20 && large.len() < 2 << 20);
        // It is validated on the way.
        let component = guests::componentise(&large)?;
        assert!(component.len() > large.len());
        guests::componentise(&padded(&small, 1000))?;
        Ok(())
    }
}
