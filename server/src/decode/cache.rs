//! Cache: pictures that were asked for, so that a hundred who ask at once cost one.
//!
//! A key frame never changes, so what was made of it stays right, and that it can't be made too; the oldest go when there is no
//! room.
//! Limits: [`PICTURES_MAX`], [`BYTES_MAX`].

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media_core::path_name::PathName;
use media_core::time::WallTime;
use tokio::sync::OnceCell;

use super::{Jpeg, PictureError, Wanted};

/// Pictures kept.
const PICTURES_MAX: usize = 1024;
/// Bytes of pictures kept.
const BYTES_MAX: usize = 32 << 20;

/// Which picture.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PictureKey {
    /// Of which path.
    pub(crate) path: PathName,
    /// Taken when.
    pub(crate) taken: WallTime,
    /// In which form.
    pub(crate) wanted: Wanted,
}

type Made = Result<Jpeg, PictureError>;

/// Pictures, kept or being made.
#[derive(Default)]
pub(crate) struct Pictures {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    cells: HashMap<PictureKey, Cell>,
    /// The oldest first.
    order: VecDeque<PictureKey>,
    bytes: usize,
}

#[derive(Default)]
struct Cell {
    made: Arc<OnceCell<Made>>,
    /// Of it, once that is counted in `Kept::bytes`.
    bytes: usize,
}

impl Pictures {
    /// The picture of a key, made by `make` unless it is there or is being made.
    ///
    /// # Errors
    /// What `make` fails with; that is not kept.
    pub(crate) async fn get<E>(
        &self,
        key: PictureKey,
        make: impl Future<Output = Result<Made, E>>,
    ) -> Result<Made, E> {
        let cell = self.lock().cell(&key);
        let made = cell.get_or_try_init(|| make).await.cloned();
        let bytes = made.as_ref().map_or(0, |made| made.as_ref().map_or(0, |jpeg| jpeg.bytes.len()));
        self.lock().count(&key, bytes);
        made
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn cell(&mut self, key: &PictureKey) -> Arc<OnceCell<Made>> {
        if let Some(cell) = self.cells.get(key) {
            return Arc::clone(&cell.made);
        }
        self.order.push_back(key.clone());
        let cell = self.cells.entry(key.clone()).or_default();
        let made = Arc::clone(&cell.made);
        self.shrink();
        made
    }

    fn count(&mut self, key: &PictureKey, bytes: usize) {
        // It may have gone meanwhile, or have been counted.
        let Some(cell) = self.cells.get_mut(key).filter(|cell| cell.bytes == 0) else { return };
        cell.bytes = bytes;
        self.bytes += bytes;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.order.len() > PICTURES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.cells.remove(&oldest).map_or(0, |cell| cell.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::decode::{NotNow, Width};

    fn key(taken: i64) -> PictureKey {
        let wanted = Wanted { width: Width::THUMBNAIL, quality: 70 };
        PictureKey { path: PathName::parse("cam").unwrap(), taken: WallTime(taken), wanted }
    }

    fn jpeg(bytes: usize) -> Made {
        Ok(Jpeg { bytes: vec![7; bytes].into(), taken: WallTime(0) })
    }

    async fn made_twice() -> Result<Made, Infallible> {
        panic!("made a second time")
    }

    #[tokio::test]
    async fn a_picture_is_made_once_and_a_refusal_is_not_kept() {
        let pictures = Pictures::default();
        let refused = pictures.get(key(1), async { Err(NotNow::Busy) }).await;
        assert_eq!(refused, Err(NotNow::Busy));
        let made = tokio::join!(
            pictures.get(key(1), async { Ok::<_, Infallible>(jpeg(10)) }),
            pictures.get(key(1), made_twice()),
        );
        assert_eq!(made, (Ok(jpeg(10)), Ok(jpeg(10))));
        let fault = Err(PictureError::TooSlow);
        let first = pictures.get(key(2), async { Ok::<_, Infallible>(fault.clone()) }).await;
        let second = pictures.get(key(2), async { Ok::<_, Infallible>(jpeg(1)) }).await;
        assert_eq!((first, second), (Ok(fault.clone()), Ok(fault)), "what can't be made is not tried again");
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_is_no_room() {
        let pictures = Pictures::default();
        for taken in 0..40 {
            pictures.get(key(taken), async { Ok::<_, Infallible>(jpeg(1 << 20)) }).await.unwrap().unwrap();
        }
        assert_eq!(pictures.lock().bytes, BYTES_MAX);
        for taken in 40..2000 {
            pictures.get(key(taken), async { Ok::<_, Infallible>(jpeg(10)) }).await.unwrap().unwrap();
        }
        let kept = pictures.lock();
        assert_eq!((kept.order.len(), kept.cells.len()), (PICTURES_MAX, PICTURES_MAX));
        assert_eq!(kept.bytes, kept.cells.values().map(|cell| cell.bytes).sum::<usize>());
    }
}
