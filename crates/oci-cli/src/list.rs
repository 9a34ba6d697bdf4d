//! `list`: every container below the root.

use std::path::PathBuf;

use medley_container::shim::command::Record;

use crate::args::{Args, Flag};
use crate::failure::Failure;
use crate::global::Global;
use crate::help::About;
use crate::output::print;
use crate::state::State;
use crate::{owner, state};

pub(crate) const FORMAT: Flag = Flag::with("format", "f", "FORMAT", "table (the default), or json");

pub(crate) const ABOUT: About = About {
    name: "list",
    args: "",
    about: "list containers",
    flags: &[FORMAT, Flag::switch("quiet", "q", "print ids alone")],
};

const TITLES: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];

pub(crate) fn run(global: &Global, args: &Args) -> Result<u8, Failure> {
    let containers = containers(global)?;
    if args.has("quiet") {
        let ids = containers.iter().map(|each| format!("{}\n", each.id));
        return print(&ids.collect::<String>()).map(|()| 0);
    }
    let text = match args.value(FORMAT.name) {
        None | Some("table") => {
            let rows: Vec<_> = containers.iter().map(row).collect();
            table(&rows)
        }
        // As Go's encoder has it, without containers.
        Some("json") if containers.is_empty() => "null\n".to_owned(),
        Some("json") => {
            let json = serde_json::to_string(&containers);
            format!("{}\n", json.map_err(|error| Failure::of(&error))?)
        }
        Some(_) => return Err(Failure::new("invalid format option")),
    };
    print(&text).map(|()| 0)
}

fn containers(global: &Global) -> Result<Vec<State>, Failure> {
    let entries = match std::fs::read_dir(&global.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !global.root_is_named => {
            return Ok(Vec::new());
        }
        entries => entries,
    };
    let entries = entries.map_err(Failure::when(format!("read {}", global.root.display())))?;
    let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    let described = dirs.iter().filter_map(|dir| {
        let id = dir.file_name()?.to_str()?;
        let record = Record::read(dir)?;
        let mut state = state::of(id, &record);
        state.owner = owner::of(dir);
        Some(state)
    });
    Ok(described.collect())
}

fn row(state: &State) -> [String; 6] {
    [
        state.id.clone(),
        state.pid.to_string(),
        state.status.to_owned(),
        state.bundle.clone(),
        state.created.clone(),
        state.owner.clone(),
    ]
}

/// Columns at least twelve wide, three characters apart.
fn table(rows: &[[String; 6]]) -> String {
    let titles = TITLES.map(str::to_owned);
    let rows = || [&titles].into_iter().chain(rows);
    let widest = |column: usize| rows().map(|row| row[column].len()).max();
    let widths: Vec<_> = (0..TITLES.len())
        .map(|column| (widest(column).unwrap_or(0) + 3).max(12))
        .collect();
    let line = |row: &[String; 6]| {
        let last = TITLES.len() - 1;
        let cells = row.iter().zip(&widths).take(last);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{line}{}\n", row[last])
    };
    rows().map(line).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_has_a_row_for_each() {
        let one = ["a", "7", "running", "/b", "now", "root"].map(str::to_owned);
        assert_eq!(
            super::table(&[one]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n\
             a           7           running     /b          now         root\n"
        );
    }
}
