//! Opening: storage is opened when something is to be recorded or played back, and tried again until that is done: live
//! video does not wait for it.

use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::info_span;

use super::{Recorders, RecordersSlot, open};
use crate::config::resolved::Config;
use crate::decode::pool::DecodePool;
use crate::events::Events;
use crate::paths::Paths;
use crate::runtime::tasks::TaskSet;

/// What it takes to record.
pub(crate) struct Recording {
    /// Filled once storage is open.
    pub(crate) slot: RecordersSlot,
    /// The database belongs there, with all that it starts.
    pub(crate) control: Handle,
    /// Owns the catalogue's task.
    pub(crate) storage_tasks: TaskSet,
    /// Counts the recorders' panics.
    pub(crate) media_tasks: TaskSet,
    /// Who wants to know of files.
    pub(crate) events: Events,
    /// Makes thumbnails.
    pub(crate) pool: Arc<DecodePool>,
}

impl Recording {
    /// Records what a configuration wants of the paths that exist; opens storage for that if need be. Whether all of it
    /// could be done; what could not is in the log.
    pub(crate) async fn apply(&self, config: &Config, paths: &Paths) -> bool {
        if self.slot.get().is_none() {
            if !super::is_wanted(config) {
                return true;
            }
            self.open(config).await;
        }
        let Some(recorders) = self.slot.get() else { return false };
        let applied = recorders.apply(config, paths).await;
        if let Err(error) = &applied {
            tracing::error!(%error, "not everything is recorded that should be; it is tried again");
        }
        applied.is_ok()
    }

    async fn open(&self, config: &Config) {
        let (wanted, set) = (config.clone(), self.storage_tasks.clone());
        let listener = Arc::new(self.events.clone());
        let opened = self.control.spawn(async move {
            let (storage, mut driver) = open(&wanted).await?;
            driver.tell(listener);
            set.spawn(info_span!("catalogue"), driver.run());
            Ok::<_, storage::CatalogueError>(storage)
        });
        match opened.await {
            Ok(Ok(mut storage)) => {
                storage.make_thumbnails(Arc::<DecodePool>::clone(&self.pool));
                self.slot.set(Recorders::new(storage, &self.media_tasks));
            }
            Ok(Err(error)) => tracing::error!(%error, "recordings are off; they are tried again"),
            Err(error) => {
                tracing::error!(%error, "recordings are off: their start failed; it is tried again")
            }
        }
    }
}
