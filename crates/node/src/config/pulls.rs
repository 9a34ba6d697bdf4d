//! How images are pulled, as the configuration says it.

use toml_edit::{Item, Table};

use super::{COMMENT, CRI, Config, descend};
use crate::error::Error;

/// What has the CRI pull images as containerd's own client does, which unpacks those of the platform
/// `wasi/wasm` too. The transfer service, which containerd 2.1 and later use without it, does not.
pub(super) const LOCAL_PULL: &str = "use_local_image_pull";

/// What was changed to have images pulled locally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pulls {
    /// Nothing was said.
    Added,
    /// It was `false`, as in every configuration that containerd itself has printed.
    Changed,
}

impl Config {
    /// What it says of local pulls.
    pub(crate) fn local_pull(&self) -> Option<bool> {
        self.table(&["plugins", CRI[1]])?.get(LOCAL_PULL)?.as_bool()
    }

    /// Switches local pulls on, which images of `wasi/wasm` need; says what was changed for that, if anything.
    pub(crate) fn pull_locally(&mut self) -> Result<Option<Pulls>, Error> {
        let path = self.path.clone();
        let is_new = self.table(&["plugins", CRI[1]]).is_none();
        let images = descend(&path, self.doc.as_table_mut(), &["plugins", CRI[1]])?.table;
        if let Some(item) = images.get_mut(LOCAL_PULL) {
            if item.as_bool() == Some(true) {
                return Ok(None);
            }
            set(item, true);
            return Ok(Some(Pulls::Changed));
        }
        images.insert(LOCAL_PULL, toml_edit::value(true));
        if is_new && let Some(table) = self.images() {
            table.decor_mut().set_prefix(COMMENT);
        }
        Ok(Some(Pulls::Added))
    }

    /// Undoes what [`Self::pull_locally`] did.
    pub(crate) fn pull_as_before(&mut self, pulls: Pulls) {
        let Some(table) = self.images() else { return };
        if pulls == Pulls::Changed {
            if let Some(item) = table.get_mut(LOCAL_PULL) {
                set(item, false);
            }
            return;
        }
        table.remove(LOCAL_PULL);
        let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str());
        let is_ours = prefix.is_some_and(|prefix| prefix.contains(COMMENT.trim()));
        if table.is_empty() && is_ours {
            let plugins = self.doc.get_mut("plugins");
            if let Some(plugins) = plugins.and_then(Item::as_table_like_mut) {
                plugins.remove(CRI[1]);
            }
        }
    }

    fn images(&mut self) -> Option<&mut Table> {
        self.doc
            .get_mut("plugins")?
            .as_table_like_mut()?
            .get_mut(CRI[1])?
            .as_table_mut()
    }
}

/// Sets a value, and leaves what stands around it.
fn set(item: &mut Item, truth: bool) {
    let decor = item.as_value().map(|value| value.decor().clone());
    *item = toml_edit::value(truth);
    if let (Some(value), Some(decor)) = (item.as_value_mut(), decor) {
        *value.decor_mut() = decor;
    }
}
