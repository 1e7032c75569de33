//! Configuration, as the API shows and changes it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use control_api::paging::Piece;
use control_api::storage::Answer;
use control_api::{ApiError, ConfigChange, ConfigStore, Settings};
use tokio::sync::{mpsc, oneshot};

use crate::config::shown;
use crate::config::tree::{Entry, Node};

/// Changes that wait: each takes less than a second, and who waits for one that is not taken gets an error after
/// `control_api::REQUEST_TIME_MAX`.
pub(crate) const ORDERS_MAX: usize = 16;

/// A change, and where its answer goes.
pub(crate) struct Order {
    /// What is to be changed.
    pub(crate) change: ConfigChange,
    /// Tells how that went; who asked may have left.
    pub(crate) answer: oneshot::Sender<Result<(), ApiError>>,
}

/// What the API knows of the configuration.
pub(crate) struct ConfigDesk {
    /// What is in force, as a tree; filled in by the reconciler.
    tree: Arc<ArcSwap<Node>>,
    orders: mpsc::Sender<Order>,
}

impl ConfigDesk {
    /// A desk, and where its orders come.
    pub(crate) fn new(tree: &Arc<ArcSwap<Node>>) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        (Self { tree: Arc::clone(tree), orders }, receiver)
    }
}

impl ConfigStore for ConfigDesk {
    fn global(&self) -> Settings {
        shown::global(&self.tree.load())
    }

    fn path_defaults(&self) -> Settings {
        shown::path_defaults(&self.tree.load())
    }

    fn paths(&self, skipped: usize, most: usize) -> Piece<Settings> {
        let tree = self.tree.load();
        let mut entries: Vec<&Entry> =
            tree.get("paths").map(Node::entries).unwrap_or_default().iter().collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        let total = entries.len();
        let items = entries.into_iter().skip(skipped).take(most).map(|entry| shown::path(&tree, entry));
        Piece { total, items: items.collect() }
    }

    fn path(&self, name: &str) -> Option<Settings> {
        let tree = self.tree.load();
        let entry = tree.get("paths")?.entries().iter().find(|entry| entry.key == name)?;
        Some(shown::path(&tree, entry))
    }

    fn change(&self, change: ConfigChange) -> Answer<'_, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let stops = || ApiError::Conflict { why: "the server stops".to_owned() };
            self.orders.send(Order { change, answer }).await.map_err(|_| stops())?;
            answered.await.map_err(|_| stops())?
        })
    }
}
