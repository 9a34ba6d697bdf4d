//! Moments as Go writes them: RFC 3339 in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// With nine digits of a second's fraction.
pub(crate) fn with_nanos(time: SystemTime) -> String {
    let nanos = since(time).subsec_nanos();
    format!("{}.{nanos:09}Z", whole(time))
}

/// Without a fraction.
pub(crate) fn whole_seconds(time: SystemTime) -> String {
    format!("{}Z", whole(time))
}

fn since(time: SystemTime) -> std::time::Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn whole(time: SystemTime) -> String {
    let seconds = since(time).as_secs();
    let (year, month, day) = date(seconds / DAY);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// The date of a day since 1970, by years that begin in March: a leap day is the last of its year then.
fn date(days: u64) -> (u64, u64, u64) {
    /// From 1 March of year 0 to 1 January 1970.
    const TO_1970: u64 = 719_468;
    /// Days in 400 years.
    const ERA: u64 = 146_097;
    let days = days + TO_1970;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{whole_seconds, with_nanos};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_moment_is_written_as_go_does() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(
                whole_seconds(UNIX_EPOCH + Duration::from_secs(seconds)),
                text
            );
        }
        let moment = UNIX_EPOCH + Duration::new(1, 5);
        assert_eq!(with_nanos(moment), "1970-01-01T00:00:01.000000005Z");
    }
}
