//! What holds for any bytes of a containerd: they are taken apart, or refused.
#![expect(
    clippy::unwrap_used,
    reason = "what the input is not to blame for ends the test, or the fuzzer"
)]

use bytes::{Bytes, BytesMut};
use medley_fuzzing::Unstructured;

use super::{grpc, message};

/// Reads a message as each of those that are asked for.
pub fn message(input: &[u8]) {
    if let Ok(data) = message::data(Bytes::copy_from_slice(input)) {
        assert!(data.len() <= input.len(), "it is a part of the message");
    }
    if let Ok(name) = message::image_of_container(input) {
        assert!(name.len() <= input.len());
    }
    if let Ok(target) = message::target_of_image(input) {
        assert!(target.media_type.len() <= input.len() && target.digest.len() <= input.len());
    }
    if let Ok(name) = std::str::from_utf8(input) {
        let request = message::encode_name_request(name);
        assert!(request.ends_with(input), "it names what is asked for");
    }
}

/// The messages of a stream are the same however it is cut into pieces.
pub fn stream(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let stream = stream_of(&mut input).unwrap_or_default();
    let whole = messages([stream.as_slice()]);
    let mut pieces = Vec::new();
    let mut rest = stream.as_slice();
    while !rest.is_empty() {
        let length = input.int_in_range(1..=rest.len()).unwrap_or(1);
        let (piece, behind) = rest.split_at(length);
        pieces.push(piece);
        rest = behind;
    }
    assert_eq!(messages(pieces), whole);
}

/// Messages with what stands before each, now and then of another length or compressed.
fn stream_of(input: &mut Unstructured<'_>) -> medley_fuzzing::Result<Vec<u8>> {
    let mut stream = Vec::new();
    for _ in 0..input.int_in_range(0..=6)? {
        let length = input.int_in_range(0..=20)?;
        let message = input.bytes(length)?;
        let told = if input.ratio(1, 8)? {
            input.arbitrary()?
        } else {
            u32::try_from(length).unwrap()
        };
        stream.push(u8::from(input.ratio(1, 16)?));
        stream.extend_from_slice(&told.to_be_bytes());
        stream.extend_from_slice(message);
    }
    Ok(stream)
}

/// The messages of a stream up to its end or to what is refused, and what is left of it then.
fn messages<'s>(pieces: impl IntoIterator<Item = &'s [u8]>) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut pending = BytesMut::new();
    let mut messages = Vec::new();
    for piece in pieces {
        pending.extend_from_slice(piece);
        loop {
            match grpc::next_message(&mut pending) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (messages, None),
            }
        }
    }
    (messages, Some(pending.to_vec()))
}

#[cfg(test)]
mod tests {
    use medley_fuzzing::{Unstructured, inputs, near};

    #[test]
    fn any_message_is_read_or_refused() {
        let known = [
            b"\x0a\x08\x0a\x02id\x1a\x02na".to_vec(),
            b"\x0a\x0c\x1a\x0a\x0a\x01t\x12\x01d\x18\xac\x02".to_vec(),
            b"\x12\x05bytes\x08\x05\x65\x01\x02\x03\x04".to_vec(),
        ];
        for input in inputs(10_000) {
            super::message(&near(&mut Unstructured::new(&input), &known).unwrap());
            super::message(&input);
        }
    }

    #[test]
    fn a_stream_has_the_same_messages_in_any_pieces() {
        for input in inputs(10_000) {
            super::stream(&input);
        }
    }
}
