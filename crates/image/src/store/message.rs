//! The messages of containerd that are sent and read here, with the few fields that count.
//!
//! Field numbers as in containerd's `api/services/{containers,images,content}/v1` and
//! `api/types/descriptor.proto`. What is not known is stepped over.

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::descriptor::Descriptor;

/// A message that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no protobuf message")]
pub struct Malformed(#[from] DecodeError);

/// `GetContainerRequest`, `GetImageRequest` or `ReadContentRequest`: the first field names what is
/// asked for, in each of them.
#[derive(Clone, PartialEq, Message)]
struct NameRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetContainerResponse {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "3")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetImageResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(message, optional, tag = "3")]
    target: Option<Target>,
}

#[derive(Clone, PartialEq, Message)]
struct Target {
    #[prost(string, tag = "1")]
    media_type: String,
    #[prost(string, tag = "2")]
    digest: String,
    #[prost(uint64, tag = "3")]
    size: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ReadContentResponse {
    #[prost(bytes = "bytes", tag = "2")]
    data: Bytes,
}

/// What asks for one thing by its name.
pub(super) fn encode_name_request(name: &str) -> Vec<u8> {
    let name = name.to_owned();
    NameRequest { name }.encode_to_vec()
}

/// The image's name in a `GetContainerResponse`; empty if the container has none.
pub(super) fn image_of_container(reply: &[u8]) -> Result<String, Malformed> {
    let reply = GetContainerResponse::decode(reply)?;
    Ok(reply.container.unwrap_or_default().image)
}

/// The target in a `GetImageResponse`.
pub(super) fn target_of_image(reply: &[u8]) -> Result<Descriptor, Malformed> {
    let reply = GetImageResponse::decode(reply)?;
    let target = reply.image.unwrap_or_default().target.unwrap_or_default();
    Ok(Descriptor {
        media_type: target.media_type,
        digest: target.digest,
        size: target.size,
    })
}

/// The data in a `ReadContentResponse`, a part of `reply` that is not copied.
pub(super) fn data(reply: Bytes) -> Result<Bytes, Malformed> {
    Ok(ReadContentResponse::decode(reply)?.data)
}

#[cfg(test)]
mod tests {
    use super::{
        Bytes, Descriptor, data, encode_name_request, image_of_container, target_of_image,
    };

    /// A field of bytes, short.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [
            &[number << 3 | 2, u8::try_from(value.len()).unwrap()],
            value,
        ]
        .concat()
    }

    #[test]
    fn a_request_names_what_it_is_for_in_its_first_field() {
        assert_eq!(encode_name_request("an/image:1"), field(1, b"an/image:1"));
        let long = encode_name_request(&"x".repeat(300));
        assert_eq!(long[..4], [1 << 3 | 2, 0xac, 2, b'x']);
        assert_eq!(long.len(), 303);
    }

    #[test]
    fn answers_are_read_past_what_is_not_known() {
        let unknown = [vec![9 << 3, 0x96, 1], vec![10 << 3 | 5, 1, 2, 3, 4]].concat();
        let container = [field(1, b"id"), unknown.clone(), field(3, b"an/image:1")].concat();
        let image = image_of_container(&field(1, &container)).unwrap();
        assert_eq!(image, "an/image:1");
        let target = [
            field(1, b"a/type"),
            unknown,
            field(2, b"sha256:00"),
            vec![3 << 3, 0xac, 2],
        ];
        let image = field(1, &field(3, &target.concat()));
        let expected = Descriptor {
            media_type: "a/type".into(),
            digest: "sha256:00".into(),
            size: 300,
        };
        assert_eq!(target_of_image(&image).unwrap(), expected);
        let content = [vec![1 << 3, 5], field(2, b"bytes")].concat();
        assert_eq!(data(content.into()).unwrap(), &b"bytes"[..]);
        assert_eq!(image_of_container(b"").unwrap(), "", "nothing is there");
    }

    #[test]
    fn data_is_not_copied() {
        let reply = Bytes::from(field(2, b"bytes"));
        let data = data(reply.clone()).unwrap();
        assert_eq!(data.as_ptr(), reply[2..].as_ptr());
    }

    #[test]
    fn malformed_answers_are_refused() {
        for message in [
            &b"\x0a"[..],
            b"\x0a\x05ab",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0f",
            b"\x0b",
            b"\x0d\0",
        ] {
            let read = data(Bytes::from_static(message));
            assert!(read.is_err(), "{}", message.escape_ascii());
        }
        assert!(image_of_container(&field(1, &field(3, b"\xff"))).is_err());
    }
}
