//! Builds a guest of the tests as a component: `guest NAME WORLD FILE`.

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, world, file] = args.as_slice() else {
        bail!("usage: guest NAME WORLD FILE");
    };
    std::fs::write(file, medley_test::guests::of_world(name, world)?)?;
    Ok(())
}
