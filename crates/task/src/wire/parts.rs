//! What several messages are made of.

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};

pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Default::default()
    }
}

/// Packs a message under containerd's bare type name.
///
/// The caller names it, and the message is not asked: protobuf's reflection would build and keep
/// every descriptor of the file for it.
pub(super) fn pack(
    name: &str,
    message: &impl Message,
) -> Result<Any, containerd_shim_protos::protobuf::Error> {
    Ok(Any {
        type_url: name.to_owned(),
        value: message.write_to_bytes()?,
        ..Default::default()
    })
}

/// `Some` for a message that is present.
pub(super) fn present<T>(message: T) -> MessageField<T> {
    MessageField::some(message)
}
