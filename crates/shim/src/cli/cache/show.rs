//! What the command prints.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use medley_image::cache::{Entry, Failure, Pruned};
use serde_json::{Value, json};

/// How much of a digest is shown to people.
const SHORT: usize = 12;

/// The entries, a line for each module, and what can't be compiled, with the reason.
pub(super) fn table(entries: &[Entry], failures: &[Failure]) -> String {
    let mut rows =
        vec![["MODULE", "NAME", "ENGINE", "CODE", "LAST USED", "IN USE"].map(str::to_owned)];
    for entry in entries {
        let row = |module: &str, name: String, engine: String| {
            [
                module.chars().take(SHORT).collect(),
                name,
                engine,
                bytes(entry.size),
                ago(entry.used),
                if entry.in_use { "yes" } else { "no" }.to_owned(),
            ]
        };
        if entry.records.is_empty() {
            rows.push(row("-", "-".to_owned(), "-".to_owned()));
        }
        rows.extend(entry.records.iter().map(|record| {
            let name = plain(&record.info.name.display().to_string());
            let engine = format!("{} {}", record.info.engine, record.info.version);
            row(&record.info.module, name, engine)
        }));
    }
    rows.extend(failures.iter().map(|failure| {
        [
            failure.info.module.chars().take(SHORT).collect(),
            plain(&failure.info.name.display().to_string()),
            format!("{} {}", failure.info.engine, failure.info.version),
            "failed".to_owned(),
            ago(failure.used),
            "no".to_owned(),
        ]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&cell);
            line.push_str(&" ".repeat(width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for failure in failures {
        let module: String = failure.info.module.chars().take(SHORT).collect();
        // A String takes everything.
        writeln!(text, "{module} failed: {}", plain(&failure.reason)).ok();
    }
    text
}

/// What comes out of an image, without what would write elsewhere on the terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The entries and what can't be compiled, for programs.
pub(super) fn entries_as_json(entries: &[Entry], failures: &[Failure]) -> anyhow::Result<String> {
    let failed = failures.iter().map(|failure| {
        json!({
            "code": null,
            "size": 0,
            "lastUsed": seconds(failure.used),
            "inUse": false,
            "failed": failure.reason,
            "modules": [{
                "engine": failure.info.engine,
                "version": failure.info.version,
                "digest": format!("sha256:{}", failure.info.module),
                "size": failure.info.bytes,
                "name": failure.info.name.to_string_lossy(),
            }],
        })
    });
    pretty(&Value::from(
        entries
            .iter()
            .map(as_json)
            .chain(failed)
            .collect::<Vec<_>>(),
    ))
}

fn as_json(entry: &Entry) -> Value {
    let modules: Vec<Value> = entry
        .records
        .iter()
        .map(|record| {
            json!({
                "key": record.key,
                "engine": record.info.engine,
                "version": record.info.version,
                "digest": format!("sha256:{}", record.info.module),
                "size": record.info.bytes,
                "name": record.info.name.to_string_lossy(),
            })
        })
        .collect();
    json!({
        "code": entry.code,
        "size": entry.size,
        "lastUsed": seconds(entry.used),
        "inUse": entry.in_use,
        "verity": entry.verity,
        "modules": modules,
    })
}

/// How much the cache holds.
pub(super) struct Totals {
    dir: PathBuf,
    limit: u64,
    entries: usize,
    size: u64,
    in_use: u64,
    verity: usize,
    longest_unused: Option<SystemTime>,
    failed: usize,
}

impl Totals {
    pub(super) fn of(dir: &Path, limit: u64, entries: &[Entry], failed: usize) -> Self {
        let used = entries.iter().filter(|entry| entry.in_use);
        Self {
            dir: dir.to_owned(),
            limit,
            entries: entries.len(),
            size: entries.iter().map(|entry| entry.size).sum(),
            in_use: used.map(|entry| entry.size).sum(),
            verity: entries.iter().filter(|entry| entry.verity).count(),
            longest_unused: entries.iter().map(|entry| entry.used).min(),
            failed,
        }
    }

    pub(super) fn as_text(&self) -> String {
        let checked = if self.entries > 0 && self.verity == self.entries {
            "once a boot, and each page by the kernel (fs-verity)"
        } else {
            "once a boot"
        };
        let oldest = self.longest_unused.map_or_else(|| "-".to_owned(), ago);
        format!(
            "directory:      {}\n\
             entries:        {}\n\
             size:           {} of {}\n\
             in use:         {}\n\
             longest unused: {oldest}\n\
             checked:        {checked}\n\
             failed:         {}\n",
            self.dir.display(),
            self.entries,
            bytes(self.size),
            bytes(self.limit),
            bytes(self.in_use),
            self.failed,
        )
    }

    pub(super) fn as_json(&self) -> anyhow::Result<String> {
        pretty(&json!({
            "dir": self.dir.to_string_lossy(),
            "entries": self.entries,
            "size": self.size,
            "limit": self.limit,
            "inUse": self.in_use,
            "verity": self.verity,
            "longestUnused": self.longest_unused.map(seconds),
            "failed": self.failed,
        }))
    }
}

/// What went.
pub(super) fn pruned(pruned: &Pruned) -> String {
    let mut text = format!(
        "removed {} with {}\n",
        count(pruned.removed.len()),
        bytes(pruned.removed.iter().map(|entry| entry.size).sum()),
    );
    if !pruned.kept.is_empty() {
        let kept = pruned.kept.iter().map(|entry| entry.size).sum();
        // A String takes everything.
        writeln!(
            text,
            "kept {} with {}, in use",
            count(pruned.kept.len()),
            bytes(kept)
        )
        .ok();
    }
    if pruned.forgotten > 0 {
        writeln!(
            text,
            "{} that failed may be tried again",
            modules(pruned.forgotten)
        )
        .ok();
    }
    text
}

/// What went, for programs.
pub(super) fn pruned_as_json(pruned: &Pruned) -> anyhow::Result<String> {
    let list = |entries: &[Entry]| entries.iter().map(as_json).collect::<Vec<_>>();
    pretty(&json!({
        "removed": list(&pruned.removed),
        "inUse": list(&pruned.kept),
        "forgotten": pruned.forgotten,
    }))
}

fn count(entries: usize) -> String {
    match entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    }
}

fn modules(count: usize) -> String {
    match count {
        1 => "1 module".to_owned(),
        count => format!("{count} modules"),
    }
}

pub(super) fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// A size, for people.
pub(super) fn bytes(size: u64) -> String {
    let (unit, name) = match size {
        0..1_048_576 => (1 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1_u64 << 30, "GiB"),
    };
    let tenths = (u128::from(size) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// How long ago, for people.
fn ago(time: SystemTime) -> String {
    let age = time.elapsed().unwrap_or(Duration::ZERO).as_secs();
    match age {
        0..120 => format!("{age} s ago"),
        120..7_200 => format!("{} min ago", age / 60),
        7_200..172_800 => format!("{} h ago", age / 3_600),
        _ => format!("{} d ago", age / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{Totals, bytes, pruned, table};
    use medley_image::cache::{Entry, ModuleInfo, Pruned, Record};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    fn entry(name: &str) -> Entry {
        Entry {
            code: "c".repeat(64),
            size: 3 << 19,
            used: SystemTime::now() - Duration::from_secs(3 * 3600),
            in_use: true,
            verity: false,
            records: vec![Record {
                key: "k".repeat(64),
                code: "c".repeat(64),
                info: ModuleInfo {
                    engine: "wasmtime".to_owned(),
                    version: "48.0.8".to_owned(),
                    module: "0123456789abcdef".repeat(4),
                    bytes: Some(1000),
                    name: name.into(),
                },
            }],
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_module() {
        let text = table(&[entry("/app.wasm")], &[]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").filter(|word| !word.is_empty()).collect())
            .collect();
        let cells: Vec<&str> = lines[1].iter().map(|cell| cell.trim()).collect();
        assert_eq!(
            cells,
            [
                "0123456789ab",
                "/app.wasm",
                "wasmtime 48.0.8",
                "1.5 MiB",
                "3 h ago",
                "yes"
            ]
        );
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal() {
        let text = table(&[entry("/a\x1b[2Jb")], &[]);
        assert!(text.contains("/a[2Jb"), "{text}");
    }

    #[test]
    fn sizes_are_those_that_people_read() {
        assert_eq!(bytes(0), "0.0 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(10 << 20), "10.0 MiB");
        assert_eq!(bytes(5 << 29), "2.5 GiB");
    }

    #[test]
    fn totals_and_removals_are_summed_up() {
        let entries = [entry("/a"), entry("/b")];
        let totals = Totals::of(Path::new("/cache"), 1 << 30, &entries, 2);
        let text = totals.as_text();
        for part in [
            "/cache",
            "3.0 MiB of 1.0 GiB",
            "3 h ago",
            "once a boot",
            "failed:         2\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let gone = Pruned {
            removed: entries.to_vec(),
            kept: vec![entry("/c")],
            forgotten: 1,
        };
        assert_eq!(
            pruned(&gone),
            "removed 2 entries with 3.0 MiB\nkept 1 entry with 1.5 MiB, in use\n\
             1 module that failed may be tried again\n"
        );
    }
}
