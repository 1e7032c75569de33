//! Bucket of a build without the feature `s3`: there is none, so nothing here is ever reached.

use std::sync::Arc;

use bytes::Bytes;

use super::{BucketError, Listed, ObjectFacts, PartToSend, SentPart};
use crate::bucket_config::BucketConfig;
use crate::upload::Pace;

/// None.
#[derive(Clone, Debug)]
pub(crate) enum Bucket {}

impl Bucket {
    /// None, whatever is configured; the configuration refuses it before.
    pub(crate) fn new(_config: &BucketConfig) -> Option<Self> {
        None
    }

    pub(crate) fn prefix(&self) -> &str {
        match *self {}
    }

    pub(crate) async fn put(
        &self,
        _key: &str,
        _part: PartToSend,
        _pace: &Arc<Pace>,
    ) -> Result<String, BucketError> {
        match *self {}
    }

    pub(crate) async fn begin(&self, _key: &str) -> Result<String, BucketError> {
        match *self {}
    }

    pub(crate) async fn put_part(
        &self,
        (_key, _upload): (&str, &str),
        _part: PartToSend,
        _pace: &Arc<Pace>,
    ) -> Result<SentPart, BucketError> {
        match *self {}
    }

    pub(crate) async fn complete(
        &self,
        (_key, _upload): (&str, &str),
        _parts: &[SentPart],
    ) -> Result<(), BucketError> {
        match *self {}
    }

    pub(crate) async fn abort(&self, (_key, _upload): (&str, &str)) -> Result<(), BucketError> {
        match *self {}
    }

    pub(crate) async fn facts(&self, _key: &str) -> Result<ObjectFacts, BucketError> {
        match *self {}
    }

    pub(crate) async fn read(&self, _key: &str, _from: u64, _to: u64) -> Result<Bytes, BucketError> {
        match *self {}
    }

    pub(crate) async fn list(&self, _after: &str) -> Result<Listed, BucketError> {
        match *self {}
    }

    pub(crate) async fn delete(&self, _key: &str) -> Result<(), BucketError> {
        match *self {}
    }
}
