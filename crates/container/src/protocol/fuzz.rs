//! What holds for any bytes on a helper's socket: they are taken for a request or refused, and a
//! descriptor that a request names is there and named once.
#![expect(
    clippy::unwrap_used,
    reason = "what the input is not to blame for ends the test, or the fuzzer"
)]

use std::fs::File;

use super::descriptors::{IncomingFds, Slot};
use super::request::Request;

/// How many descriptors come with the input.
const FDS: usize = 4;

/// Reads `input` as a request that came with some descriptors. `true` if it is one.
pub fn request(input: &[u8]) -> bool {
    let Ok(wire) = serde_json::from_slice::<Request<Slot>>(input) else {
        return false;
    };
    let text = serde_json::to_vec(&wire).unwrap();
    let again: Request<Slot> = serde_json::from_slice(&text).unwrap();
    let same = serde_json::to_value(&again).unwrap();
    assert_eq!(
        same,
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()
    );
    let null = || File::open("/dev/null").unwrap().into();
    let mut fds = IncomingFds::new((0..FDS).map(|_| null()).collect());
    let mut taken = 0;
    let mapped = wire.try_map(&mut |slot| {
        taken += 1;
        fds.take(slot)
    });
    assert!(
        mapped.is_err() || taken <= FDS,
        "{taken} of {FDS} descriptors"
    );
    true
}

#[cfg(test)]
mod tests {
    use medley_fuzzing::{Unstructured, inputs, near};
    use medley_types::EngineKind;

    use super::super::{Fingerprint, MakeSandbox, Request};
    use super::{Slot, request};

    /// Requests as they are sent.
    fn known() -> Vec<Vec<u8>> {
        let slot: Slot = serde_json::from_str("1").unwrap();
        let sandbox = MakeSandbox {
            network: Some(slot),
            ipc: true,
            hostname: Some("web-0".to_owned()),
            holder_lifeline: Some(slot),
            sysctls: vec![("net.x".to_owned(), "1".to_owned())],
            debug: false,
        };
        let engine = EngineKind::Wasmtime;
        let requests: [Request<Slot>; 2] = [sandbox.into(), Fingerprint { engine }.into()];
        requests.map(|it| serde_json::to_vec(&it).unwrap()).into()
    }

    #[test]
    fn any_request_is_taken_or_refused() {
        for known in known() {
            assert!(request(&known), "{}", known.escape_ascii());
        }
        let mut taken = 0;
        for input in inputs(5000) {
            let bytes = near(&mut Unstructured::new(&input), &known()).unwrap();
            taken += usize::from(request(&bytes));
            request(&input);
        }
        assert!((50..4950).contains(&taken), "{taken} of 5000 are requests");
    }
}
