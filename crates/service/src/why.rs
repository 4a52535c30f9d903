//! One line that says whether a part of a program moves, and if not, why and what to do.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

/// A reason that is longer than this is cut.
const MAX_REASON_CHARS: usize = 600;

/// The log says something new only after so many looks that all say the same.
const MIN_LOOKS: u32 = 3;

/// How something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It works. What it does.
    Moving(String),
    /// It has nothing to do. Why.
    Idle(String),
    /// It cannot go on.
    Waiting(Waiting),
}

/// What is waited for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What must come, or change: `the bus`, `a human`.
    pub what_for: String,
    /// Since when, in milliseconds since the Unix epoch; 0 if that is not known.
    pub since_ms: u64,
    /// Why it waits.
    pub because: String,
    /// What to do.
    pub remedy: String,
}

impl Why {
    /// It waits.
    pub fn waiting(
        (what_for, since_ms): (impl Into<String>, u64),
        because: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (what_for, because) = (what_for.into(), because.into());
        Self::Waiting(Waiting { what_for, since_ms, because, remedy: remedy.into() })
    }

    /// The same, with the commands for this listener in what to do.
    #[must_use]
    pub fn for_listener(mut self, id: &str) -> Self {
        if let Self::Waiting(waiting) = &mut self {
            waiting.remedy = waiting.remedy.replace("-t ID", &format!("-t {id}"));
        }
        self
    }

    /// What it waits for, if it waits.
    pub fn what_for(&self) -> Option<&str> {
        match self {
            Self::Waiting(waiting) => Some(&waiting.what_for),
            Self::Moving(_) | Self::Idle(_) => None,
        }
    }

    /// The same with another thing to know, unless it waits.
    #[must_use]
    pub fn noting(self, note: Option<String>) -> Self {
        let Some(note) = note else { return self };
        match self {
            Self::Moving(what) => Self::Moving(format!("{what}; {note}")),
            Self::Idle(why) => Self::Idle(format!("{why}; {note}")),
            Self::Waiting(_) => self,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moving(what) => write!(out, "moving: {}", line(what)),
            Self::Idle(why) => write!(out, "idle: {}", line(why)),
            Self::Waiting(Waiting { what_for, since_ms, because, remedy }) => {
                write!(out, "waiting for {what_for}")?;
                if *since_ms > 0 {
                    write!(out, " since {}", time(*since_ms))?;
                }
                write!(out, " because {}: {}", line(because), line(remedy))
            }
        }
    }
}

/// A time as this line has it.
pub fn time(ms: u64) -> impl fmt::Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms))
}

/// The text in one line, and not too long.
fn line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{} …", &words[..end]),
        None => words,
    }
}

/// What the log was told of one part of a program.
#[derive(Debug, Default)]
pub struct WhyLog {
    /// What it waited for when the log was last told, if it waited.
    told: Option<String>,
    /// What it waited for at the last looks, and how many of these there were.
    seen: Option<String>,
    looks: u32,
    /// When that was seen first.
    since_ms: u64,
}

impl WhyLog {
    /// Looks at how it is now; `true` if the log must be told. That is when it begins to wait, when
    /// it waits for something else, or does not wait any more, for three looks. Moving and idle are
    /// the same here.
    pub fn look(&mut self, now: &Why, now_ms: u64) -> bool {
        let what_for = now.what_for();
        if self.seen.as_deref() == what_for {
            self.looks = self.looks.saturating_add(1);
        } else {
            (self.looks, self.since_ms) = (1, now_ms);
        }
        self.seen = what_for.map(str::to_owned);
        let is_new = self.looks >= MIN_LOOKS && self.told != self.seen;
        if is_new {
            self.told.clone_from(&self.seen);
        }
        is_new
    }

    /// What it waits for, and since when that has been seen.
    pub fn waits_since(&self) -> Option<(&str, u64)> {
        Some((self.seen.as_deref()?, self.since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(what_for: &str) -> Why {
        Why::waiting((what_for, 1_790_000_000_000), "it is\naway", "start it")
    }

    #[test]
    fn it_is_one_line() {
        assert_eq!(
            waiting("the bus").to_string(),
            "waiting for the bus since 2026-09-21T14:13:20Z because it is away: start it"
        );
        let note = Some("a full sync waits".to_owned());
        let idle = Why::Idle("nothing to do".to_owned()).noting(note.clone());
        assert_eq!(idle.to_string(), "idle: nothing to do; a full sync waits");
        assert_eq!(waiting("x").noting(note), waiting("x"));
        let long = Why::Moving("é".repeat(2 * MAX_REASON_CHARS)).to_string();
        assert_eq!(
            long.chars().count(),
            "moving: ".len() + MAX_REASON_CHARS + " …".chars().count()
        );
    }

    #[test]
    fn the_log_is_told_of_what_lasts_and_not_that_it_moves_and_is_idle() {
        let (moving, idle) = (Why::Moving(String::new()), Why::Idle(String::new()));
        let mut log = WhyLog::default();
        let mut told = |looks: &[&Why]| looks.iter().filter(|why| log.look(why, 7)).count();
        assert_eq!(told(&[&moving, &idle, &moving, &idle, &idle, &idle, &idle]), 0);
        let bus = waiting("the bus");
        assert_eq!(told(&[&bus, &moving, &bus, &bus, &moving]), 0, "it does not last");
        assert_eq!(told(&[&bus, &bus, &bus, &bus, &bus]), 1);
        let human = waiting("a human");
        assert_eq!(told(&[&human, &human, &bus, &human, &human, &human]), 1);
        assert_eq!(told(&[&moving, &idle, &moving, &idle]), 1, "it goes on");
        assert_eq!(log.waits_since(), None);
        log.look(&bus, 8);
        log.look(&bus, 9);
        assert_eq!(log.waits_since(), Some(("the bus", 8)));
    }
}
