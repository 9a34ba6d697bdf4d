//! Which of WASI's interfaces are put into a component's linker: those of the packages that it imports,
//! each once. What is left out makes a start quicker. `wasmtime_wasi::p2::add_to_linker_async` would
//! make the binary larger, by a second filesystem of which nothing is used.

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings as p2;
use wasmtime_wasi::p3::bindings as p3;
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{WasiView, p3 as wasi_0_3};

use crate::files::{Files, WasiFiles};
use crate::store_data::StoreData;

/// Whether a component imports from a package, such as `wasi:cli/`.
type Imports<'a> = &'a dyn Fn(&str) -> bool;

/// Where the resources of `wasi:io` are.
struct WasiIo;

impl HasData for WasiIo {
    type Data<'a> = &'a mut ResourceTable;
}

fn table(host: &mut StoreData) -> &mut ResourceTable {
    host.ctx().table
}

/// What is of WASI 0.2.
pub(crate) fn add_0_2(
    linker: &mut Linker<StoreData>,
    imports: Imports<'_>,
) -> wasmtime::Result<()> {
    if imports("wasi:io/") {
        p2::io::error::add_to_linker::<_, WasiIo>(linker, table)?;
        p2::io::poll::add_to_linker::<_, WasiIo>(linker, table)?;
        p2::io::streams::add_to_linker::<_, WasiIo>(linker, table)?;
    }
    if imports("wasi:clocks/") {
        p2::clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, StoreData::clocks)?;
        p2::clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, StoreData::clocks)?;
    }
    if imports("wasi:random/") {
        p2::random::random::add_to_linker::<_, WasiRandom>(linker, StoreData::random)?;
        p2::random::insecure::add_to_linker::<_, WasiRandom>(linker, StoreData::random)?;
        p2::random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, StoreData::random)?;
    }
    if imports("wasi:cli/") {
        add_cli_0_2(linker)?;
    }
    if imports("wasi:filesystem/") {
        p2::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(
            linker,
            StoreData::filesystem,
        )?;
        p2::filesystem::types::add_to_linker::<_, WasiFiles>(linker, |host| Files(host))?;
    }
    if imports("wasi:sockets/") {
        add_sockets_0_2(linker)?;
    }
    Ok(())
}

fn add_cli_0_2(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    p2::cli::exit::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::environment::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::stdin::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::stdout::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::stderr::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::terminal_input::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::terminal_output::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, StoreData::cli)?;
    p2::cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, StoreData::cli)
}

fn add_sockets_0_2(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let options = p2::sockets::network::LinkOptions::default();
    p2::sockets::network::add_to_linker::<_, WasiSockets>(linker, &options, StoreData::sockets)?;
    p2::sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    p2::sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    p2::sockets::tcp::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    p2::sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    p2::sockets::udp::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)?;
    p2::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(linker, StoreData::sockets)
}

/// What is of WASI 0.3, which needs an engine of a concurrent profile.
pub(crate) fn add_0_3(
    linker: &mut Linker<StoreData>,
    imports: Imports<'_>,
) -> wasmtime::Result<()> {
    if imports("wasi:cli/") {
        wasi_0_3::cli::add_to_linker(linker)?;
    }
    if imports("wasi:clocks/") {
        wasi_0_3::clocks::add_to_linker(linker)?;
    }
    if imports("wasi:random/") {
        wasi_0_3::random::add_to_linker(linker)?;
    }
    if imports("wasi:filesystem/") {
        p3::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(
            linker,
            StoreData::filesystem,
        )?;
        p3::filesystem::types::add_to_linker::<_, WasiFiles>(linker, |host| Files(host))?;
    }
    if imports("wasi:sockets/") {
        wasi_0_3::sockets::add_to_linker(linker)?;
    }
    Ok(())
}
