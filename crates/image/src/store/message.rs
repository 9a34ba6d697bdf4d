//! Protobuf's messages, and the few fields of containerd's that are asked and read here.
//!
//! Field numbers as in containerd's `api/services/{containers,images,content}/v1` and
//! `api/types/descriptor.proto`. Protobuf's encoding is small enough to be read in place; what is
//! not known is stepped over, as it has to be.

use super::Descriptor;

/// A message that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no protobuf message")]
pub struct Malformed;

/// A field's value, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'m> {
    /// A number, an enumeration's value or a truth.
    Number(u64),
    /// A string, bytes or another message.
    Bytes(&'m [u8]),
    /// 32 or 64 bits, of which nothing here makes use.
    Fixed,
}

/// The fields of a message, in their order; ends after the first that is malformed.
#[derive(Debug)]
pub struct Fields<'m> {
    rest: &'m [u8],
}

impl<'m> Fields<'m> {
    /// Those of this message.
    #[must_use]
    pub fn of(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self, length: u64) -> Result<&'m [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'m>), Malformed> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.bytes(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, value))
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<(u64, Value<'m>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The bytes of field `number`, empty if it is absent. The last of several counts.
fn bytes(message: &[u8], number: u64) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = &[];
    for field in Fields::of(message) {
        match field? {
            (at, Value::Bytes(bytes)) if at == number => found = bytes,
            _ => {}
        }
    }
    Ok(found)
}

fn text(message: &[u8], number: u64) -> Result<String, Malformed> {
    let bytes = bytes(message, number)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn whole(message: &[u8], number: u64) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in Fields::of(message) {
        match field? {
            (at, Value::Number(value)) if at == number => found = value,
            _ => {}
        }
    }
    Ok(found)
}

/// `GetContainerRequest`, `GetImageRequest` or `ReadContentRequest`: field 1 names what is asked
/// for, in each of them.
pub(super) fn encode_name_request(name: &str) -> Vec<u8> {
    let mut message = vec![1 << 3 | 2];
    let mut length = name.len();
    while length >= 0x80 {
        message.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    message.push(length.to_le_bytes()[0]);
    message.extend_from_slice(name.as_bytes());
    message
}

/// The image's name in a `GetContainerResponse`; empty if the container has none.
pub(super) fn image_of_container(answer: &[u8]) -> Result<String, Malformed> {
    text(bytes(answer, 1)?, 3)
}

/// The target in a `GetImageResponse`.
pub(super) fn target_of_image(answer: &[u8]) -> Result<Descriptor, Malformed> {
    let target = bytes(bytes(answer, 1)?, 3)?;
    Ok(Descriptor {
        media_type: text(target, 1)?,
        digest: text(target, 2)?,
        size: whole(target, 3)?,
    })
}

/// The data in a `ReadContentResponse`.
pub(super) fn data(answer: &[u8]) -> Result<&[u8], Malformed> {
    bytes(answer, 2)
}

#[cfg(test)]
mod tests {
    use super::{
        Descriptor, Malformed, bytes, data, encode_name_request, image_of_container,
        target_of_image,
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
    fn what_was_asked_for_is_what_is_read_back() {
        for length in [0, 1, 127, 128, 300, 20_000] {
            let name = "x".repeat(length);
            assert_eq!(
                bytes(&encode_name_request(&name), 1),
                Ok(name.as_bytes()),
                "{length}"
            );
        }
    }

    #[test]
    fn answers_are_read_past_what_is_not_known() {
        let unknown = [vec![9 << 3, 0x96, 1], vec![10 << 3 | 5, 1, 2, 3, 4]].concat();
        let container = [field(1, b"id"), unknown.clone(), field(3, b"an/image:1")].concat();
        assert_eq!(
            image_of_container(&field(1, &container)).as_deref(),
            Ok("an/image:1")
        );
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
        assert_eq!(target_of_image(&image), Ok(expected));
        assert_eq!(
            data(&[vec![1 << 3, 5], field(2, b"bytes")].concat()),
            Ok(&b"bytes"[..])
        );
        assert_eq!(
            image_of_container(b"").as_deref(),
            Ok(""),
            "nothing is there"
        );
    }

    #[test]
    fn malformed_answers_are_refused() {
        for message in [
            &b"\x0a"[..],
            b"\x0a\x05ab",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0f",
            b"\x0b\x0c",
            b"\x0d\0",
        ] {
            assert_eq!(data(message), Err(Malformed), "{}", message.escape_ascii());
        }
        assert_eq!(
            image_of_container(&field(1, &field(3, b"\xff"))),
            Err(Malformed)
        );
    }
}
