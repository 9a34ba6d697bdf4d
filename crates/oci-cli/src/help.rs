//! What `--help` prints.

use crate::args::Flag;
use crate::name;

/// A command, for its help.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// What stands behind its options.
    pub(crate) args: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
}

/// The help of one command.
pub(crate) fn command(about: &About) -> String {
    let program = name();
    format!(
        "NAME:\n   {program} {} - {}\n\nUSAGE:\n   {program} {} [options] {}\n\nOPTIONS:\n{}",
        about.name,
        about.about,
        about.name,
        about.args,
        flags(about.flags)
    )
}

/// The help of all.
pub(crate) fn top(commands: &[About], global: &[Flag]) -> String {
    let list = commands.iter();
    let list = list.map(|command| format!("   {:<12}{}\n", command.name, command.about));
    let list: String = list.collect();
    let program = name();
    format!(
        "NAME:\n   {program} - Open Container Initiative runtime for Linux and Wasm containers\n\n\
         USAGE:\n   {program} [global options] command [options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n{list}\nGLOBAL OPTIONS:\n{}",
        env!("CARGO_PKG_VERSION"),
        flags(global)
    )
}

fn flags(flags: &[Flag]) -> String {
    let help = Flag::switch("help", "h", "show this");
    let line = |flag: &Flag| {
        let mut names = format!("--{}", flag.name);
        if !flag.short.is_empty() {
            names = format!("{names}, -{}", flag.short);
        }
        if let Some(value) = flag.value {
            names = format!("{names} {value}");
        }
        format!("   {names:<36}{}\n", flag.about)
    };
    flags.iter().chain([&help]).map(line).collect()
}
