//! `docker` on a terminal of the test's.

use super::Docker;
use crate::containerd::PATIENCE;
use anyhow::{Context, Result, ensure};
use nix::pty::{OpenptyResult, Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A `docker` that talks to a terminal, 100 columns by 30 lines at first.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    path: PathBuf,
    /// Guards what has come up on the screen.
    screen: Arc<Mutex<String>>,
}

impl Docker {
    /// Runs `docker` with these arguments on a terminal of its own.
    ///
    /// # Errors
    /// There is no terminal to be had, or `docker` cannot be run.
    pub fn on_terminal(&self, args: &[&str]) -> Result<Terminal> {
        let size = Winsize {
            ws_row: 30,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None)?;
        let path = nix::unistd::ttyname(&slave)?;
        let client = self.client();
        // Its controlling terminal, so that it is told of a new size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(client.get_program()).args(args);
        let told = client.get_envs();
        command.envs(told.filter_map(|(name, value)| Some((name, value?))));
        let child = command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()
            .context("cannot run setsid: install util-linux")?;
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, shown) = (File::from(master.try_clone()?), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error, when no process has the terminal open any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                screen.push_str(&text);
            }
        });
        Ok(Terminal {
            child,
            keyboard: File::from(master),
            path,
            screen,
        })
    }
}

impl Terminal {
    /// What has come up on the screen so far.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.clone()
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits until `text` is on the screen.
    ///
    /// # Errors
    /// It does not come up in time.
    pub async fn says(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            let in_time = Instant::now() < deadline;
            ensure!(in_time, "{text:?} is not in {:?}", self.screen());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// `stty` cannot be run.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let done = Command::new("stty")
            .arg("-F")
            .arg(&self.path)
            .args(["cols", &columns, "rows", &rows])
            .status()?;
        ensure!(done.success(), "stty: {done}");
        Ok(())
    }

    /// Waits for its end, and returns its exit code.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait(&mut self) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            let in_time = Instant::now() < deadline;
            ensure!(
                in_time,
                "docker does not end; on its screen: {}",
                self.screen()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
