//! A DNS server in a network namespace of its choice, which knows a few names.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};

/// Length of a message's header.
const HEADER: usize = 12;

/// Type and class of an IPv4 address, as a question has them.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// Seconds for which an answer may be kept.
const TTL: [u8; 4] = [0, 0, 0, 1];

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Dns {
    task: tokio::task::JoinHandle<()>,
}

impl Dns {
    /// Listens on 127.0.0.1, in the network of the process `pid`, and knows these names.
    ///
    /// # Errors
    /// The network can't be entered, or its port 53 is taken.
    pub async fn serve(pid: u32, names: &[(&str, Ipv4Addr)]) -> Result<Self> {
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        // A thread's network is its own, and goes with it; a socket's is that of its making.
        let socket = std::thread::spawn(move || -> Result<UdpSocket> {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?)
        });
        let socket = socket.join().map_err(|_| anyhow!("the thread panicked"))?;
        let socket = socket.context("cannot serve DNS")?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let names: HashMap<_, _> = names
            .iter()
            .map(|(name, address)| ((*name).to_owned(), *address))
            .collect();
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query).await {
                if let Some(answer) = answer(&query[..length], &names) {
                    // A client that is gone does not hear of it.
                    drop(socket.send_to(&answer, client).await);
                }
            }
        });
        Ok(Self { task })
    }

    /// Ends it, and lets go of its network.
    pub async fn close(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a message with one question: the address of a name, none for another type, and
/// that there is no such name.
fn answer(query: &[u8], names: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(std::str::from_utf8(query.get(at..at + length)?).ok()?);
        at += length;
    }
    let kind = query.get(at..at + ADDRESS.len())?;
    let address = names.get(&labels.join("."));
    let known = address.filter(|_| kind == ADDRESS);
    // An answer, with authority; 3 says that there is no such name.
    let code = if address.is_some() { 0 } else { 3 };
    let mut message = query.get(..2)?.to_vec();
    message.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(known.is_some())]);
    message.extend([0, 0, 0, 0]);
    message.extend(query.get(HEADER..at + ADDRESS.len())?);
    if let Some(address) = known {
        // The name of the question.
        message.extend([0xc0, 12]);
        message.extend(ADDRESS);
        message.extend(TTL);
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_by_name_and_type() {
        let names = HashMap::from([("web.test".to_owned(), Ipv4Addr::new(10, 1, 2, 3))]);
        let ask = |name: &[u8], kind: u8| {
            let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(name);
            query.extend([0, 0, kind, 0, 1]);
            answer(&query, &names).unwrap()
        };
        let found = ask(b"\x03web\x04test", 1);
        assert_eq!(found[..8], [7, 8, 0x85, 0x80, 0, 1, 0, 1]);
        assert!(found.ends_with(&[0, 4, 10, 1, 2, 3]), "{found:?}");
        // It has no IPv6 address.
        assert_eq!(ask(b"\x03web\x04test", 28)[3..8], [0x80, 0, 1, 0, 0]);
        assert_eq!(ask(b"\x05other\x04test", 1)[3..8], [0x83, 0, 1, 0, 0]);
    }
}
