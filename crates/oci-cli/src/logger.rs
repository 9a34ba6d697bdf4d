//! The log: a file that the caller reads when a command has failed, or stderr.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use crate::failure::Failure;
use crate::time;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Where lines go.
#[derive(Debug)]
struct Logger {
    file: Option<File>,
    format: Format,
}

/// Begins to log. Callers read the file as one line of JSON when a command has failed: below a warning
/// nothing is written unless it is asked for.
pub(crate) fn start(path: Option<&Path>, format: Format, debug: bool) -> Result<(), Failure> {
    let open = |path: &Path| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o644)
            .open(path)
            .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))
    };
    let file = path.map(open).transpose()?;
    let logger = Logger { file, format };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(if debug {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Warn
        });
    }
    Ok(())
}

/// A line as runc writes it.
fn line(format: Format, level: log::Level, text: &str, now: SystemTime) -> String {
    let level = match level {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    };
    let time = time::whole_seconds(now);
    match format {
        Format::Json => {
            let line = json!({"level": level, "msg": text, "time": time});
            format!("{line}\n")
        }
        Format::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let line = line(self.format, record.level(), &text, SystemTime::now());
        // A log that can't be written is no reason to fail.
        let written = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
        // Who calls hears of a failure by stderr as well.
        if self.file.is_some() && record.level() == log::Level::Error || written.is_err() {
            eprintln!("{text}");
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::{Format, line};
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_line_has_what_runcs_callers_read() {
        let text = "cannot open \"x\"";
        let json = line(Format::Json, log::Level::Error, text, UNIX_EPOCH);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["level"], "error");
        assert_eq!(parsed["msg"], text);
        assert_eq!(parsed["time"], "1970-01-01T00:00:00Z");
        assert_eq!(
            line(Format::Text, log::Level::Warn, text, UNIX_EPOCH),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"cannot open \\\"x\\\"\"\n"
        );
    }
}
