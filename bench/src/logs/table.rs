//! The figures of a contest, as a table.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Durability, Figures, Task};

/// What each system did, in the order of the tasks.
#[derive(Default)]
pub(super) struct Table(Vec<Entry>);

struct Entry {
    task: Task,
    system: &'static str,
    runs: Vec<Figures>,
}

impl Entry {
    /// The run with the median rate.
    fn median(&self) -> Option<&Figures> {
        let mut runs: Vec<&Figures> = self.runs.iter().collect();
        runs.sort_by(|left, right| left.per_second().total_cmp(&right.per_second()));
        runs.get(runs.len() / 2).copied()
    }
}

impl Table {
    pub(super) fn enter(&mut self, task: Task, system: &'static str, figures: Figures) {
        let is_same = |entry: &&mut Entry| entry.task == task && entry.system == system;
        match self.0.iter_mut().find(is_same) {
            Some(entry) => entry.runs.push(figures),
            None => self.0.push(Entry { task, system, runs: vec![figures] }),
        }
    }

    pub(super) fn to_markdown(&self, durability: Durability) -> Result<String> {
        let title = match durability {
            Durability::Synced => "Durable before the answer",
            Durability::Default => "The others by their defaults: the answer comes before the disk",
        };
        let mut text = format!("\n## {title}\n\n| task |");
        let systems = self.systems();
        for system in &systems {
            write!(text, " {system} |")?;
        }
        write!(text, " ours to the best other |\n|---|")?;
        writeln!(text, "{}", "---|".repeat(systems.len() + 1))?;
        let mut tasks: Vec<Task> = self.0.iter().map(|entry| entry.task).collect();
        tasks.dedup();
        for task in tasks {
            self.write_row(task, &systems, &mut text)?;
        }
        Ok(text)
    }

    /// Ours is the first.
    fn systems(&self) -> Vec<&'static str> {
        let mut systems: Vec<&'static str> = Vec::new();
        for entry in &self.0 {
            if !systems.contains(&entry.system) {
                systems.push(entry.system);
            }
        }
        systems
    }

    fn write_row(&self, task: Task, systems: &[&str], text: &mut String) -> Result<()> {
        write!(text, "| {} |", named(task))?;
        let mut rates = Vec::new();
        for system in systems {
            let entry = self.0.iter().find(|entry| entry.task == task && entry.system == *system);
            let Some(figures) = entry.and_then(Entry::median) else { continue };
            rates.push(figures.per_second());
            match task {
                Task::Append { .. } => {
                    write!(text, " {:.0}, p99 {:.1} ms |", figures.per_second(), figures.p99_ms)?;
                }
                _ => write!(text, " {:.0} |", figures.per_second())?,
            }
        }
        let best = rates.iter().skip(1).copied().fold(f64::NAN, f64::max);
        writeln!(text, " {:.2} |", rates.first().copied().unwrap_or(f64::NAN) / best)?;
        Ok(())
    }
}

fn named(task: Task) -> String {
    match task {
        Task::Append { producers, bytes } => format!("append, {bytes} B, {producers} producers"),
        Task::Fan { readers, bytes } => format!("{readers} readers follow, {bytes} B"),
        Task::Read { readers, bytes } => format!("{readers} readers catch up, {bytes} B"),
    }
}
