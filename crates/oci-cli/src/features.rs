//! `features`: what this runtime can do, as the OCI runtime spec has it.

use crate::args::Args;
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::output::print;

pub(crate) const ABOUT: About = About {
    name: "features",
    args: "",
    about: "print the features of this runtime as JSON",
    flags: &[],
};

pub(crate) fn run(global: &Global, _: &Args) -> Result<u8, Failure> {
    let features = (global.host.features)();
    print(&format!("{features:#}\n")).map(|()| 0)
}
