//! What is not done.

/// Something that is not done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place} of the container's spec {what}")]
pub struct Refused {
    place: String,
    what: String,
}

pub(super) fn refused(place: impl Into<String>, what: impl Into<String>) -> Result<(), Refused> {
    Err(Refused {
        place: place.into(),
        what: what.into(),
    })
}
