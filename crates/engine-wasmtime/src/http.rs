//! Components that answer HTTP requests: they export `wasi:http/incoming-handler`, and the
//! engine is their server.
//!
//! | file | what |
//! |---|---|
//! | `settings` | what the environment says of address, limits and times |
//! | `server` | from the first thread to the last answer |
//! | `listener` | the socket, and how it is closed without losing anybody |
//! | `connection` | one client, HTTP/1.1 or HTTP/2 |
//! | `request` | one request: an instance of its own |
//! | `body` | bodies on their way in and out |
//! | `purse` | what handlers may take of the container's memory |
//! | `stdio` | what handlers write, in whole lines |
//! | `ticker` | takes turns among handlers that never wait |

mod body;
mod connection;
mod listener;
mod purse;
mod request;
mod server;
mod settings;
mod stdio;
mod ticker;

use std::path::PathBuf;

use medley_engine::{Ended, Entry, Guest, Program, Unfit};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

pub(crate) use purse::Part;

use crate::config::{MEMORIES, SLOTS, TABLES};
use crate::host::Host;
use crate::unfit;

/// What a handler exports, of any 0.2 version.
pub(crate) const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// A handler with its imports found.
pub(crate) struct LinkedHandler {
    handler: ProxyPre<Host>,
    path: PathBuf,
    /// How many instances there can be at a time.
    instances: usize,
    /// What one instance needs to begin with, in bytes.
    instance_size: u64,
}

impl LinkedHandler {
    pub(crate) fn new(
        component: &Component,
        instance: InstancePre<Host>,
        entry: &Entry,
    ) -> Result<Self, Unfit> {
        let handler = ProxyPre::new(instance).map_err(|error| unfit(entry, &error))?;
        let needs = component.resources_required();
        let share = |all: u32, each: u32| all / each.max(1);
        let (memories, tables, size) = needs.map_or((1, 1, 0), |needs| {
            let size = needs.max_initial_memory_size.unwrap_or(0);
            (needs.num_memories, needs.num_tables, size)
        });
        let instances = SLOTS
            .min(share(MEMORIES, memories))
            .min(share(TABLES, tables));
        Ok(Self {
            handler,
            path: entry.path.clone(),
            instances: usize::try_from(instances).unwrap_or(1).max(1),
            instance_size: size,
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.handler.engine()
    }
}

impl Program for LinkedHandler {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> Ended {
        match server::run(self, guest, started) {
            Ok(status) => Ended::Exited(status),
            Err(error) => Ended::NotStarted(error.to_string()),
        }
    }
}
