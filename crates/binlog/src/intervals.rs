//! Sets of numbers, as intervals.

/// Numbers as sorted intervals. Each interval has both of its ends; between two intervals at least
/// one number is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    /// One interval.
    pub(super) fn one(first: u64, last: u64) -> Self {
        Self(vec![(first, last)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers the intervals hold.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (first, last)| {
            sum.saturating_add(last.saturating_sub(*first)).saturating_add(1)
        })
    }

    /// Adds an interval, and joins the intervals that it touches:
    ///
    /// ```text
    /// self     [1---3]     [7--8]   [20-22]
    /// added         [4------8]
    /// result   [1------------8]    [20-22]
    /// ```
    pub(super) fn add(&mut self, first: u64, last: u64) {
        // Numbers mostly come in order, so the last interval grows.
        if let Some((_, end)) = self.0.last_mut()
            && first == end.saturating_add(1)
        {
            *end = last;
            return;
        }
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let touched = self.0.get(from..to).unwrap_or_default().iter();
        let joined = touched
            .fold((first, last), |(low, high), (start, end)| (low.min(*start), high.max(*end)));
        self.0.splice(from..to, [joined]);
    }

    /// The numbers of `self` that are not in `taken`:
    ///
    /// ```text
    /// self     [1---------10]     [20-------30]
    /// taken          [5-6]  [9-------22]
    /// result   [1--4]  [7-8]           [23--30]
    /// ```
    pub(super) fn minus(&self, taken: &Self) -> Self {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut from = first;
            for &(start, end) in taken.within(first, last) {
                if from < start {
                    left.push((from, start.saturating_sub(1)));
                }
                from = end.saturating_add(1);
            }
            if from <= last {
                left.push((from, last));
            }
        }
        Self(left)
    }

    /// The intervals that share a number with `first..=last`.
    fn within(&self, first: u64, last: u64) -> &[(u64, u64)] {
        let from = self.0.partition_point(|(_, end)| *end < first);
        let to = self.0.partition_point(|(start, _)| *start <= last);
        self.0.get(from..to).unwrap_or_default()
    }
}
