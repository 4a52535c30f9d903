//! Random values, as SQL expressions: seeded, and with the hard ones more often than they occur.

use rand::{RngExt as _, rngs::StdRng};

use super::{
    Domain, TextCharset, charsets,
    domain::{binary_size, hex},
    json, mariadb,
    pieces::{byte, date, day_time, text, time},
    spatial,
};

/// One that the column can hold.
pub(super) fn value(domain: &Domain, rng: &mut StdRng) -> String {
    match domain {
        Domain::Int(bits) => {
            let value = rng.random::<i64>() >> (64 - bits);
            (value >> rng.random_range(0..*bits)).to_string()
        }
        Domain::UnsignedInt(bits) | Domain::Bit(bits) => {
            let value = rng.random::<u64>() >> (64 - bits);
            (value >> rng.random_range(0..*bits)).to_string()
        }
        Domain::Float(_) => float(rng, -30..30),
        Domain::Double(_) => float(rng, -290..290),
        Domain::Decimal(precision, scale) => decimal(rng, *precision, *scale),
        Domain::Year => [0, rng.random_range(1901..=2155)][rng.random_range(0..2)].to_string(),
        Domain::Date => format!("'{}'", date(rng)),
        Domain::Time(_) => format!("'{}'", time(rng)),
        Domain::DateTime(_) => format!("'{} {}'", date(rng), day_time(rng)),
        Domain::Timestamp(_) => format!(
            "'{:04}-{:02}-{:02} {}'",
            rng.random_range(1971..2038),
            rng.random_range(1..=12),
            rng.random_range(1..=28),
            day_time(rng)
        ),
        Domain::Text(_, TextCharset::Named(name), fits) => charsets::random(name, *fits, rng),
        Domain::Text(_, charset, fits) => {
            let length = rng.random_range(0..=(*fits).min(60));
            charset.literal(&text(rng, length))
        }
        Domain::Binary(kind) => {
            let length = rng.random_range(0..=binary_size(kind).min(60));
            hex(&(0..length).map(|_| byte(rng)).collect::<Vec<_>>())
        }
        Domain::Enum(members) => rng.random_range(1..=members.len()).to_string(),
        Domain::Set(members) => (rng.random::<u64>() >> (64 - members.len())).to_string(),
        Domain::Json => json::random(rng),
        Domain::Geometry(_) | Domain::Vector(_) => spatial::random(domain, rng),
        Domain::JsonText
        | Domain::LateTimestamp(_)
        | Domain::Uuid
        | Domain::Inet4
        | Domain::Inet6 => mariadb::random(domain, rng),
    }
}

fn float(rng: &mut StdRng, exponents: std::ops::Range<i32>) -> String {
    if rng.random_bool(0.3) {
        return (f64::from(rng.random_range(-100_000..100_000)) / 100.0).to_string();
    }
    format!("{}e{}", rng.random_range(-1.0..1.0_f64), rng.random_range(exponents))
}

fn decimal(rng: &mut StdRng, precision: u32, scale: u32) -> String {
    let whole = rng.random_range(0..=precision - scale);
    let digits = |rng: &mut StdRng, count: u32| -> String {
        (0..count).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect()
    };
    let sign = ["", "-"][rng.random_range(0..2)];
    format!("'{sign}0{}.{}'", digits(rng, whole), digits(rng, scale))
}
