//! Compares the figures, in sentences.

use std::fmt::{Result, Write};

use crate::report::Step;

/// Names of steps that are compared.
pub(crate) const DECODE: &str = "dts, decoded to nowhere";
pub(crate) const DECODE_TLS: &str = "dts, decoded to nowhere, over TLS";
pub(crate) const LOG: &str = "dts, to the event log";
pub(crate) const LOG_TLS: &str = "dts, to the event log, over TLS";
pub(crate) const OURS_IN_TURNS: &str = "dts, decoded to nowhere, in turns";
/// What brings rows to a target.
pub(crate) const SINK: &str = "event-worker";
const EXACTLY_ONCE: &str = "dts, to Kafka, exactly once";

/// Writes all comparisons for which there are steps.
pub(crate) fn write(steps: &[Step], text: &mut String) -> Result {
    write_source(steps, text)?;
    write_against(steps, text)?;
    write_kafka(steps, text)?;
    write_sinks(steps, text)
}

/// Compares loads c and d with a, and TLS with plain.
fn write_source(steps: &[Step], text: &mut String) -> Result {
    let of = |load: &str, name: &str| {
        steps.iter().find(|step| step.load.starts_with(load) && step.step == name)
    };
    if let (Some(narrow), Some(wide)) = (of("a", DECODE), of("c", DECODE)) {
        let (narrow, wide) = (narrow.bytes_per_second(), wide.bytes_per_second());
        writeln!(
            text,
            "\nA table of 101 columns is decoded at {:.2} of the bytes a second of one with 7 \
             ({:.0} and {:.0} MB/s).",
            wide / narrow,
            wide / 1e6,
            narrow / 1e6
        )?;
    }
    if let (Some(plain), Some(packed)) = (of("a", DECODE), of("d", DECODE)) {
        writeln!(
            text,
            "\nCompressed, the binlog of load a has {:.1} MB instead of {:.1}, and is decoded at \
             {:.2} of its rows a second.",
            packed.binlog_bytes as f64 / 1e6,
            plain.binlog_bytes as f64 / 1e6,
            packed.rows_per_second / plain.rows_per_second
        )?;
    }
    for (name, over_tls) in [(DECODE, DECODE_TLS), (LOG, LOG_TLS)] {
        if let (Some(plain), Some(tls)) = (of("a", name), of("a", over_tls)) {
            let ratio = tls.rows_per_second / plain.rows_per_second;
            writeln!(text, "\nOver TLS, load a, {name}: {ratio:.2} of the rows a second.")?;
        }
    }
    Ok(())
}

/// Compares this commit with another one.
fn write_against(steps: &[Step], text: &mut String) -> Result {
    for ours in steps.iter().filter(|step| step.step == OURS_IN_TURNS) {
        let is_other = |step: &&Step| step.load == ours.load && step.step.starts_with("dts of ");
        let Some(other) = steps.iter().find(is_other) else { continue };
        let ratio = ours.rows_per_second / other.rows_per_second;
        writeln!(text, "\n{}, decoded in turns: {ratio:.2} of {}.", ours.load, other.step)?;
    }
    Ok(())
}

/// Compares the steps into Kafka with the bare producer.
fn write_kafka(steps: &[Step], text: &mut String) -> Result {
    for step in steps.iter().filter(|step| step.step.contains(EXACTLY_ONCE)) {
        let speed = |name: &str| {
            let name = step.step.replace(EXACTLY_ONCE, name);
            let of = |other: &&Step| other.load == step.load && other.step == name;
            steps.iter().find(of).map_or(f64::NAN, |other| other.rows_per_second)
        };
        writeln!(
            text,
            "\n{}, {}: {:.2} of the bare producer, {:.2} of at least once.",
            step.load,
            step.step,
            step.rows_per_second / speed("bare rdkafka producer, the same records"),
            step.rows_per_second / speed("dts, to Kafka, at least once"),
        )?;
    }
    Ok(())
}

/// Compares each sink with all others that wrote to the same target.
fn write_sinks(steps: &[Step], text: &mut String) -> Result {
    let named = |step| Some((step, Step::name_parts(step)?));
    let named: Vec<(&Step, (&str, &str))> = steps.iter().filter_map(named).collect();
    for (ours, (target, who)) in named.iter().filter(|(_, (_, who))| who.starts_with(SINK)) {
        for (other, (at, name)) in &named {
            if at == target && !name.starts_with(SINK) {
                let ratio = ours.rows_per_second / other.rows_per_second;
                writeln!(text, "\n{target}, {who}: {ratio:.2} of {name}.")?;
            }
        }
    }
    Ok(())
}
