//! Fake: recordings and configuration of a server that has one hold, one deletion, one file and one path, and writes down what
//! it is asked; and a door that lets in its own machine and who shows [`RIGHT`].

use std::sync::{Arc, Mutex};

use control_api::access::{Caller, Decision, Denied, Service, Visible};
use control_api::model::Time;
use control_api::paging::{PageWanted, Piece};
use control_api::storage::{Answer, DeletionsWanted, HoldWanted, HoldsWanted, Switch};
use control_api::storage_model::{
    CheckState, Deletion, DiskLevels, DiskStatus, Forecast, Hold, PathUsage, Recording, RecordingSegment,
    RecordingSwitch, StorageStatus,
};
use control_api::{ApiError, ConfigChange, ConfigStore, Settings};
use serde_json::{Value, json};

/// 2026-01-02T03:04:05.5Z
pub(crate) const TIME: Time = Time { unix_us: 1_767_323_045_500_000 };

/// See the module's header.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer<T: Send + 'static>(&self, asked: String, answer: Result<T, ApiError>) -> Answer<'_, T> {
        self.asked.lock().unwrap().push(asked);
        Box::pin(async move { answer })
    }
}

fn hold(released_by: Option<&str>) -> Hold {
    Hold {
        id: 7,
        path: "city/cam_1".to_owned(),
        start: TIME,
        end: Time { unix_us: TIME.unix_us + 1_000_000 },
        reason: "case 12".to_owned(),
        by: "ana".to_owned(),
        created: TIME,
        released: released_by.map(|_| TIME),
        released_by: released_by.map(str::to_owned),
        files: 2,
        bytes: 300,
    }
}

/// One setting, one path `a`; `b` can't be added.
impl ConfigStore for Fake {
    fn global(&self) -> Settings {
        object(json!({ "logLevel": "info" }))
    }

    fn path_defaults(&self) -> Settings {
        object(json!({ "record": false }))
    }

    fn paths(&self, skipped: usize, most: usize) -> Piece<Settings> {
        let items = self.path("a").into_iter().skip(skipped).take(most).collect();
        Piece { total: 1, items }
    }

    fn path(&self, name: &str) -> Option<Settings> {
        (name == "a").then(|| object(json!({ "name": "a" })))
    }

    fn change(&self, change: ConfigChange) -> Answer<'_, ()> {
        let answer = match &change {
            ConfigChange::AddPath(name, _) if name == "b" => Err(ApiError::PathExists),
            ConfigChange::DeletePath(name) if name == "b" => Err(ApiError::PathNotFound),
            _ => Ok(()),
        };
        self.answer(format!("{change:?}"), answer)
    }
}

fn object(json: Value) -> Settings {
    json.as_object().cloned().unwrap()
}

impl control_api::Storage for Fake {
    fn place_hold(&self, wanted: HoldWanted) -> Answer<'_, Hold> {
        self.answer(format!("{wanted:?}"), Ok(hold(None)))
    }

    fn holds(&self, wanted: HoldsWanted, page: PageWanted) -> Answer<'_, Piece<Hold>> {
        self.answer(format!("{wanted:?} {page:?}"), Ok(Piece { total: 3, items: vec![hold(None)] }))
    }

    fn hold(&self, id: i64) -> Answer<'_, Hold> {
        self.answer(format!("hold {id}"), if id == 7 { Ok(hold(None)) } else { Err(ApiError::HoldNotFound) })
    }

    fn release_hold(&self, id: i64, by: String) -> Answer<'_, Hold> {
        let released = hold(Some(&by));
        self.answer(format!("release {id} by {by}"), Ok(released))
    }

    fn deletions(&self, wanted: DeletionsWanted, page: PageWanted) -> Answer<'_, Piece<Deletion>> {
        let deletion = Deletion {
            id: 1,
            at: TIME,
            rule: "quota",
            by: None,
            path: "cam_1".to_owned(),
            file: "/r/cam_1/1.mp4".to_owned(),
            start: TIME,
            end: TIME,
            bytes: 10,
        };
        self.answer(format!("{wanted:?} {page:?}"), Ok(Piece { total: 1, items: vec![deletion] }))
    }

    fn status(&self) -> Answer<'_, StorageStatus> {
        let forecast = Forecast {
            bytes_per_day: 400,
            room_bytes: 1800,
            needed_bytes: Some(2800),
            full_at: Some(TIME),
            short_by_days: Some(2.5),
            says: "does not fit by 2.5 days".to_owned(),
        };
        let disk = DiskStatus {
            root: "/r".to_owned(),
            id: Some("d".to_owned()),
            condition: "usable",
            total_bytes: Some(2000),
            used_bytes: Some(200),
            recorded_bytes: 200,
            forecast: Some(forecast),
        };
        let path = PathUsage {
            name: "cam_1".to_owned(),
            files: 1,
            bytes: 200,
            bytes_per_day: Some(400),
            bytes_at_full_retention: Some(2800),
            quota_bytes: None,
            quota_unmet_bytes: 0,
        };
        let status = StorageStatus {
            time: TIME,
            disks: vec![disk],
            levels: DiskLevels { alarm: 85, delete: 90, stop: 95 },
            paths: vec![path],
            quota_total_bytes: None,
            quota_total_unmet_bytes: 0,
            deleted: Vec::new(),
            bucket: None,
        };
        self.answer("status".to_owned(), Ok(status))
    }

    fn begin_check(&self) -> Answer<'_, CheckState> {
        self.answer("begin check".to_owned(), Ok(CheckState { running: true, last: None }))
    }

    fn check_state(&self) -> Answer<'_, CheckState> {
        self.answer("check".to_owned(), Ok(CheckState { running: false, last: None }))
    }

    fn set_recording(&self, name: String, wanted: Switch, by: String) -> Answer<'_, RecordingSwitch> {
        let asked = format!("{name} {wanted:?} by {by}");
        self.answer(asked, Ok(RecordingSwitch { name, enabled: wanted == Switch::On }))
    }

    fn recordings(&self, page: PageWanted) -> Answer<'_, Piece<Recording>> {
        let segments = vec![RecordingSegment { start: TIME }];
        let items = vec![Recording { name: "city/cam_1".to_owned(), segments }];
        self.answer(format!("{page:?}"), Ok(Piece { total: 1, items }))
    }

    fn recording(&self, path: String) -> Answer<'_, Recording> {
        self.answer(path.clone(), Ok(Recording { name: path, segments: Vec::new() }))
    }

    fn delete_segment(&self, path: String, start: Time, by: String) -> Answer<'_, ()> {
        let answer = match path.as_str() {
            "held" => Err(ApiError::Conflict { why: "hold 7 keeps this file; release it first".to_owned() }),
            "none" => Err(ApiError::SegmentNotFound),
            _ => Ok(()),
        };
        self.answer(format!("{path} {} by {by}", start.unix_us), answer)
    }
}

/// The right credentials.
pub(crate) const RIGHT: &str = "Bearer right";

/// See the module's header.
pub(crate) struct Door;

impl Door {
    fn check(caller: &Caller) -> Result<(), Denied> {
        let shown = caller.headers.get("authorization").map(|value| value.to_str().unwrap());
        match shown {
            _ if caller.ip.is_loopback() => Ok(()),
            None => Err(Denied::CredentialsWanted),
            Some(RIGHT) => Ok(()),
            Some(_) if caller.ip.to_string().ends_with(".9") => {
                Err(Denied::TooManyTries { again_after: std::time::Duration::from_secs(7) })
            }
            Some(_) => Err(Denied::Wrong),
        }
    }
}

impl control_api::Access for Door {
    fn may_use(&self, _service: Service, caller: Caller) -> Decision<'_, ()> {
        Box::pin(async move { Self::check(&caller) })
    }

    fn visible(&self, caller: Caller, cameras: Vec<String>) -> Decision<'_, Visible> {
        Box::pin(async move {
            Self::check(&caller)?;
            let session = (!caller.ip.is_loopback()).then(|| "c0ffee".to_owned());
            Ok(Visible { names: cameras.into_iter().filter(|name| name != "vault").collect(), session })
        })
    }

    fn refresh_keys(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}
