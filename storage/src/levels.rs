//! Levels: what a disk's fullness means, and when it does not mean it any more.
//!
//! ```text
//!   0 % ──────────── alarm 85 ───── delete 90 ───── stop 95 ──── 100
//!        nothing       a warning      the oldest       nothing is recorded:
//!                                     files go         a gap; live goes on
//! ```
//!
//! Percent of what an ordinary process may have of the file system, as `df` reckons. An alarm and a stop end one point
//! below where they began, so that they do not flicker.

/// How far below its level a state ends.
const HYSTERESIS_PERCENT: u8 = 1;

/// `recordDiskAlarm`, `recordDiskDelete`, `recordDiskStop`: percent, each at least the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLevels {
    /// Above it a person is told.
    pub alarm: u8,
    /// Above it the oldest files go that may.
    pub delete: u8,
    /// Above it nothing is recorded.
    pub stop: u8,
}

impl Default for DiskLevels {
    fn default() -> Self {
        Self { alarm: 85, delete: 90, stop: 95 }
    }
}

/// A file system's space, without what is reserved for the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// In all.
    pub total_bytes: u64,
    /// Taken, by whomever.
    pub used_bytes: u64,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fullness {
    /// There is room.
    #[default]
    Normal,
    /// Above the alarm.
    Alarm,
    /// So full that nothing is recorded.
    Stop,
}

impl Fullness {
    /// Its name in events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Alarm => "alarm",
            Self::Stop => "stop",
        }
    }
}

impl DiskLevels {
    /// How full a disk is that was `before`.
    pub(crate) fn judge(&self, before: Fullness, space: Space) -> Fullness {
        let level = |state: Fullness, percent: u8| {
            let hysteresis = if before >= state { HYSTERESIS_PERCENT } else { 0 };
            space.is_above(percent.saturating_sub(hysteresis))
        };
        if level(Fullness::Stop, self.stop) {
            Fullness::Stop
        } else if level(Fullness::Alarm, self.alarm) {
            Fullness::Alarm
        } else {
            Fullness::Normal
        }
    }

    /// How much is to be deleted.
    pub(crate) fn excess_bytes(&self, space: Space) -> u64 {
        space.used_bytes.saturating_sub(self.delete_bytes(space))
    }

    /// Where deleting begins.
    pub(crate) fn delete_bytes(&self, space: Space) -> u64 {
        space.share(self.delete)
    }
}

impl Space {
    /// So many percent of all.
    fn share(self, percent: u8) -> u64 {
        let share = u128::from(self.total_bytes) * u128::from(percent) / 100;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn is_above(self, percent: u8) -> bool {
        self.used_bytes > self.share(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(percent: u64) -> Space {
        Space { total_bytes: 1000, used_bytes: percent * 10 }
    }

    #[test]
    fn alarm_and_stop_begin_above_their_level_and_end_a_point_below() {
        let levels = DiskLevels::default();
        let mut state = Fullness::Normal;
        let walk = [
            (85, Fullness::Normal),
            (86, Fullness::Alarm),
            (85, Fullness::Alarm),
            (84, Fullness::Normal),
            (95, Fullness::Alarm),
            (96, Fullness::Stop),
            (95, Fullness::Stop),
            (94, Fullness::Alarm),
            (100, Fullness::Stop),
            (10, Fullness::Normal),
        ];
        for (percent, expected) in walk {
            state = levels.judge(state, at(percent));
            assert_eq!(state, expected, "at {percent} %");
        }
    }

    #[test]
    fn what_is_to_go_is_what_stands_above_the_level() {
        let levels = DiskLevels::default();
        assert_eq!(levels.excess_bytes(at(90)), 0);
        assert_eq!(levels.excess_bytes(at(93)), 30);
    }
}
