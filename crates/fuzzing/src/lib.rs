//! Inputs for properties that hold for any bytes.
//!
//! A property is a function of bytes in the crate that it is about, in a module `fuzz` that is there for
//! `cfg(test)` and for `cfg(fuzzing)`, which cargo-fuzz sets. Its test calls it with [`inputs`], the
//! same ones at each run. The program of the same name in `fuzz/fuzz_targets/` calls it with what
//! libFuzzer finds.

pub use arbitrary::{Result, Unstructured};

/// The longest of [`inputs`], in bytes.
const MAX_INPUT: usize = 512;

/// As many inputs, the same ones at each run.
pub fn inputs(count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; random.usize(..=MAX_INPUT)];
        random.fill(&mut bytes);
        bytes
    })
}

/// One of `known`, with some of its bytes changed, cut, or grown by others.
///
/// # Errors
/// If the input has come to its end.
pub fn near(input: &mut Unstructured<'_>, known: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut bytes = input.choose(known)?.clone();
    for _ in 0..input.int_in_range(0..=5)? {
        if !bytes.is_empty() {
            let at = input.choose_index(bytes.len())?;
            let next = bytes[at].wrapping_add(1);
            bytes[at] = *input.choose(&[0, 1, 2, 3, 0x7f, 0x80, 0xff, next])?;
        }
    }
    if input.ratio(1, 4)? {
        bytes.truncate(input.int_in_range(0..=bytes.len())?);
    }
    if input.ratio(1, 2)? {
        let more = input.int_in_range(0..=24)?;
        bytes.extend_from_slice(input.bytes(more.min(input.len()))?);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Unstructured, inputs, near};

    #[test]
    fn inputs_are_the_same_at_each_run_and_differ_among_each_other() {
        let first: Vec<_> = inputs(8).collect();
        assert_eq!(inputs(8).collect::<Vec<_>>(), first);
        assert_ne!(first[0], first[1]);
    }

    #[test]
    fn what_is_near_is_now_and_then_the_same() {
        let known = [b"known".to_vec()];
        let of = |bytes: Vec<u8>| near(&mut Unstructured::new(&bytes), &known).unwrap();
        let found: Vec<_> = inputs(200).map(of).collect();
        assert!(found.iter().any(|it| it.starts_with(b"known")));
        assert!(found.iter().any(|it| !it.starts_with(b"known")));
    }
}
