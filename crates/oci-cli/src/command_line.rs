//! From arguments to a command.

use std::ffi::OsString;
use std::process::ExitCode;

use medley_sys::child;

use crate::args::Args;
use crate::failure::Failure;
use crate::global::{self, Global};
use crate::help::{self, About};
use crate::output::print;
use crate::{
    Host, create, delete, events, exec, features, kill, list, passed, pause, ps, run, spec, start,
    state, update,
};

/// A command: what is said of it, how many arguments it takes, and what it does.
struct Command {
    about: About,
    /// Fewest and most arguments that are no options.
    takes: (usize, usize),
    /// How many of them come before what is taken as it is.
    options_until: usize,
    run: fn(&Global, &Args) -> Result<u8, Failure>,
}

const ALL: usize = usize::MAX;

/// Every command.
const COMMANDS: [Command; 15] = [
    command(create::ABOUT, (1, 1), ALL, create::run),
    command(delete::ABOUT, (1, 1), ALL, delete::run),
    command(events::ABOUT, (1, 1), ALL, events::run),
    command(exec::ABOUT, (1, ALL), 1, exec::run),
    command(features::ABOUT, (0, 0), ALL, features::run),
    command(kill::ABOUT, (1, 2), ALL, kill::run),
    command(list::ABOUT, (0, 0), ALL, list::run),
    command(pause::PAUSE, (1, 1), ALL, pause::pause),
    command(ps::ABOUT, (1, ALL), 1, ps::run),
    command(pause::RESUME, (1, 1), ALL, pause::resume),
    command(run::ABOUT, (1, 1), ALL, run::run),
    command(spec::ABOUT, (0, 0), ALL, spec::run),
    command(start::ABOUT, (1, 1), ALL, start::run),
    command(state::ABOUT, (1, 1), ALL, state::run),
    command(update::ABOUT, (1, 1), ALL, update::run),
];

/// Commands of runc's that are not offered.
const NOT_OFFERED: [About; 2] = [
    not_offered(
        "checkpoint",
        "not supported: a container can't be checkpointed",
    ),
    not_offered("restore", "not supported: a container can't be restored"),
];

const fn not_offered(name: &'static str, about: &'static str) -> About {
    About {
        name,
        args: "<container-id>",
        about,
        flags: &[],
    }
}

const fn command(
    about: About,
    takes: (usize, usize),
    options_until: usize,
    run: fn(&Global, &Args) -> Result<u8, Failure>,
) -> Command {
    Command {
        about,
        takes,
        options_until,
        run,
    }
}

/// Runs the command line, less the program's own name.
#[must_use]
pub fn execute(args: &[OsString], host: Host) -> ExitCode {
    match try_run(args, host) {
        Ok(code) => code.into(),
        Err(failure) => {
            log::error!("{failure}");
            if log::max_level() == log::LevelFilter::Off {
                // It failed before there was a log.
                eprintln!("{failure}");
            }
            failure.code.into()
        }
    }
}

fn try_run(args: &[OsString], host: Host) -> Result<u8, Failure> {
    // Before anything is opened.
    let inherited = child::count_inherited(passed::FIRST);
    let options = Args::parse(&global::FLAGS, args.iter().cloned(), 1)?;
    if options.has("version") {
        return version(&host).map(|()| 0);
    }
    let abouts = || {
        let offered = COMMANDS.map(|command| command.about);
        [offered.as_slice(), NOT_OFFERED.as_slice()].concat()
    };
    let top = || print(&help::top(&abouts(), &global::FLAGS)).map(|()| 0);
    let Some((name, rest)) = options.rest.split_first() else {
        return top();
    };
    if options.help || (name == "help" && rest.is_empty()) {
        return top();
    }
    let found = |name: &str| {
        COMMANDS
            .into_iter()
            .find(|command| command.about.name == name)
    };
    if name == "help" {
        let topic = found(&rest[0]);
        let topic = topic.ok_or_else(|| no_topic(&rest[0]))?;
        return print(&help::command(&topic.about)).map(|()| 0);
    }
    let global = Global::new(&options, inherited, host)?;
    log::debug!("command {name} in {}", global.root.display());
    if let Some(about) = NOT_OFFERED.iter().find(|about| about.name == name) {
        if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
            return print(&help::command(about)).map(|()| 0);
        }
        return Err(Failure::new(format!("{name} is {}", about.about)));
    }
    let command = found(name).ok_or_else(|| no_topic(name))?;
    let rest = rest.iter().map(OsString::from);
    let args = Args::parse(command.about.flags, rest, command.options_until)?;
    if args.help {
        return print(&help::command(&command.about)).map(|()| 0);
    }
    check_count(&command, args.rest.len())?;
    (command.run)(&global, &args)
}

fn check_count(command: &Command, count: usize) -> Result<(), Failure> {
    let (least, most) = command.takes;
    let wrong = if least == most && count != least {
        format!("exactly {least} argument(s)")
    } else if count < least {
        format!("a minimum of {least} argument(s)")
    } else if count > most {
        format!("a maximum of {most} argument(s)")
    } else {
        return Ok(());
    };
    print(&format!(
        "Incorrect Usage.\n\n{}",
        help::command(&command.about)
    ))?;
    let (program, name) = (crate::name(), command.about.name);
    Err(Failure::new(format!(
        "{program}: {name:?} requires {wrong}"
    )))
}

fn no_topic(name: &str) -> Failure {
    // As runc's own parser says it.
    Failure::new(format!("No help topic for '{name}'")).with_code(3)
}

fn version(host: &Host) -> Result<(), Failure> {
    let features = (host.features)();
    let spec = features["ociVersionMax"].as_str().unwrap_or("1.2.0");
    let (name, version) = (crate::name(), env!("CARGO_PKG_VERSION"));
    print(&format!(
        "{name} version {version}\ncommit: unknown\nspec: {spec}\n"
    ))
}
