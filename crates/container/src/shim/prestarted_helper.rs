//! The helper that will make a container, started ahead: the kernel loads it, and containerd tells it
//! which image the container was made of, while the shim prepares the rest.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use medley_image::artifact::Target;
use medley_types::{Cancel, RootfsMount};

use super::error::Error;
use super::helper_client::{HelperProcess, PendingCall};
use super::image_layers::{Images, Listed};
use crate::protocol::{Create, MakeReply};

/// A helper that was started ahead, and what it is asked first.
pub(super) struct PrestartedHelper<'h> {
    images: Images<'h>,
    cancel: Cancel,
    state: State,
}

enum State {
    Ready(HelperProcess),
    /// It was asked first which image the container was made of.
    ResolvesImage(PendingCall<Option<Target>>),
    Used,
}

impl<'h> PrestartedHelper<'h> {
    /// Starts it for the container `id`.
    pub(super) fn start(
        images: Images<'h>,
        id: &str,
        rootfs: &[RootfsMount],
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let helper = images.helpers.start(None)?;
        let resolve = images.resolve(id).filter(|_| has_empty_image(rootfs));
        let state = match resolve {
            Some(call) => State::ResolvesImage(helper.send(call)),
            None => State::Ready(helper),
        };
        Ok(Self {
            images,
            cancel: cancel.clone(),
            state,
        })
    }

    /// The Wasm layers of the container's image, if the helper was asked for that.
    pub(super) fn listing(&mut self, cache: Option<&Path>) -> Option<Listed> {
        let pending = match std::mem::replace(&mut self.state, State::Used) {
            State::ResolvesImage(pending) => pending,
            state => {
                self.state = state;
                return None;
            }
        };
        let listed = pending.wait_first().and_then(|(target, helper)| {
            self.state = State::Ready(helper);
            self.images.of_target(cache, target)
        });
        Some(listed)
    }

    /// Has it make the container, or another helper if it was used before or lacks the engine.
    pub(super) fn create(
        &mut self,
        call: Create<BorrowedFd<'_>>,
    ) -> Result<MakeReply<OwnedFd>, Error> {
        let prestarted = match std::mem::replace(&mut self.state, State::Used) {
            State::Ready(helper) => Some(helper),
            State::ResolvesImage(_) | State::Used => None,
        };
        let engine = call.program.engine();
        let helper = self.images.helpers.start_unless(prestarted, engine)?;
        Ok(helper.cancelled_by(&self.cancel)?.send(call).wait()?)
    }
}

/// Whether a rootfs comes from no layer that containerd could unpack, which is what it makes of an
/// artifact: a lone directory without files. The entrypoint is in a Wasm layer then, or nowhere.
fn has_empty_image(rootfs: &[RootfsMount]) -> bool {
    let [only] = rootfs else {
        return false;
    };
    only.kind == "bind" && std::fs::read_dir(&only.source).is_ok_and(|mut it| it.next().is_none())
}
