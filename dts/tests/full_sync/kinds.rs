//! A catalogue of keys: how each is declared, and values for it.

use rand::{RngExt as _, rngs::StdRng};

/// A table by its key; every table also has `n`, the number of its row.
pub(super) struct Kind {
    /// The subject; a part of the table's name.
    pub(super) name: String,
    /// The key's columns: name, declaration, a random value as an SQL expression.
    pub(super) columns: Vec<(String, String, Values)>,
    /// The key, and other declarations.
    pub(super) rest: String,
    /// What comes after the columns.
    pub(super) options: String,
    /// The order that the server is asked for.
    pub(super) order: String,
    /// At most this many different keys are possible.
    pub(super) keys: u64,
    /// Whether the server can go on from a row without reading the rows before it.
    pub(super) is_searched: bool,
}

pub(super) type Values = Box<dyn Fn(&mut StdRng) -> String + Send + Sync>;

impl Kind {
    /// A primary key of one column.
    fn one(name: &str, declared: &str, values: Values) -> Self {
        let columns = vec![("k".to_owned(), declared.to_owned(), values)];
        Self {
            name: name.to_owned(),
            columns,
            rest: "PRIMARY KEY (`k`)".to_owned(),
            options: String::new(),
            order: "`k`".to_owned(),
            keys: u64::MAX,
            is_searched: true,
        }
    }

    /// A key of several columns, `a`, `b` and so on.
    fn several(name: &str, key: &str, columns: Vec<(&str, Values)>) -> Self {
        let names = ["a", "b", "c"].into_iter();
        let columns = names.zip(columns);
        let columns = columns
            .map(|(name, (declared, values))| (name.to_owned(), declared.to_owned(), values));
        Self {
            name: name.to_owned(),
            columns: columns.collect(),
            rest: format!("PRIMARY KEY ({key})"),
            options: String::new(),
            order: key.to_owned(),
            keys: u64::MAX,
            is_searched: true,
        }
    }
}

/// All kinds that a server can have.
pub(super) fn kinds(version: (u16, u16, u16)) -> Vec<Kind> {
    let is_mariadb = version >= (10, 0, 0);
    let mut all = numbers();
    all.extend(moments());
    all.extend(bytes());
    let collations = COLLATIONS.iter().chain(if is_mariadb { MARIADB } else { MYSQL });
    for (collation, extra) in collations {
        all.extend(texts(collation, extra));
    }
    all.extend(several());
    all.extend(odd());
    if is_mariadb {
        all.extend(addresses());
    } else {
        all.push(functional());
    }
    all
}

fn value(values: impl Fn(&mut StdRng) -> String + Send + Sync + 'static) -> Values {
    Box::new(values)
}

fn signed(bits: u32) -> Values {
    value(move |rng| {
        let value = rng.random::<i64>() >> (64 - bits);
        (value >> rng.random_range(0..bits)).to_string()
    })
}

fn unsigned(bits: u32) -> Values {
    value(move |rng| {
        let value = rng.random::<u64>() >> (64 - bits);
        [value, value >> rng.random_range(0..bits), u64::MAX >> (64 - bits)]
            [usize::from(rng.random_bool(0.3))]
        .to_string()
    })
}

fn decimal(whole: usize, fraction: usize) -> Values {
    value(move |rng| {
        let digits = |rng: &mut StdRng, count: usize| -> String {
            (0..count).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect()
        };
        let length = rng.random_range(0..=whole);
        let sign = ["", "-"][rng.random_range(0..2)];
        format!("'{sign}0{}.{}'", digits(rng, length), digits(rng, fraction))
    })
}

fn numbers() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = [("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)]
        .into_iter()
        .flat_map(|(name, bits)| {
            let declared = format!("{name} UNSIGNED");
            [Kind::one(name, name, signed(bits)), Kind::one(&declared, &declared, unsigned(bits))]
        })
        .collect();
    kinds.push(Kind::one("decimal 20 3", "DECIMAL(20,3)", decimal(17, 3)));
    kinds.push(Kind::one("decimal 65 30", "DECIMAL(65,30)", decimal(35, 30)));
    kinds.push(Kind::one("decimal 38 0", "DECIMAL(38,0) ZEROFILL", decimal(38, 0)));
    let float = |exponents: i32| {
        value(move |rng| {
            if rng.random_bool(0.3) {
                return format!("{}", f64::from(rng.random_range(-2000..2000)) / 10.0);
            }
            format!(
                "{}e{}",
                rng.random_range(-1.0..1.0_f64),
                rng.random_range(-exponents..exponents)
            )
        })
    };
    kinds.push(Kind::one("float", "FLOAT", float(30)));
    kinds.push(Kind::one("float 9 3", "FLOAT(9,3)", float(5)));
    kinds.push(Kind::one("double", "DOUBLE", float(290)));
    kinds.push(Kind::one("bit 20", "BIT(20)", unsigned(20)));
    kinds.push(Kind::one("bit 64", "BIT(64)", unsigned(64)));
    // No server searches an index for a range of a SET.
    let set =
        "SET('a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q','r','s','t')";
    kinds.push(Kind { is_searched: false, ..Kind::one("set", set, unsigned(20)) });
    let members: Vec<String> = (0..64).map(|n| format!("'m{n}'")).collect();
    let set = format!("SET({})", members.join(","));
    kinds.push(Kind { is_searched: false, ..Kind::one("set 64", &set, unsigned(64)) });
    let members: Vec<String> = (0..2600).map(|n| format!("'{}'", n * 7919 % 2600)).collect();
    let set = format!("ENUM({})", members.join(","));
    let member = value(|rng| rng.random_range(0..=2600).to_string());
    let all = Kind::one("enum 2600", &set, member);
    kinds.push(Kind { keys: 2_600, is_searched: false, ..all });
    kinds
}

fn date(rng: &mut StdRng) -> String {
    let year = [0, rng.random_range(1..10_000)][rng.random_range(0..2)];
    format!("{year:04}-{:02}-{:02}", rng.random_range(0..=12), rng.random_range(0..=31))
}

fn hms(rng: &mut StdRng) -> String {
    let micros = rng.random_range(0..1_000_000);
    let (hour, minute) = (rng.random_range(0..24), rng.random_range(0..59));
    format!("{hour:02}:{minute:02}:{:02}.{micros:06}", rng.random_range(0..59))
}

fn moments() -> Vec<Kind> {
    let datetime = || value(|rng| format!("'{} {}'", date(rng), hms(rng)));
    let timestamp = || {
        value(|rng| {
            if rng.random_bool(0.01) {
                return "'0000-00-00 00:00:00'".to_owned();
            }
            let year = rng.random_range(1970..2038);
            let day = rng.random_range(2..=28);
            format!("'{year}-{:02}-{day:02} {}'", rng.random_range(1..=12), hms(rng))
        })
    };
    let time = || {
        value(|rng| {
            let sign = ["", "-"][rng.random_range(0..2)];
            let (hour, second) = (rng.random_range(0..838), rng.random_range(0..59));
            let minute = rng.random_range(0..60);
            format!(
                "'{sign}{hour:02}:{minute:02}:{second:02}.{:06}'",
                rng.random_range(0..1_000_000)
            )
        })
    };
    vec![
        Kind::one("date", "DATE", value(|rng| format!("'{}'", date(rng)))),
        Kind::one("datetime", "DATETIME", datetime()),
        Kind::one("datetime 3", "DATETIME(3)", datetime()),
        Kind::one("datetime 6", "DATETIME(6)", datetime()),
        Kind::one("timestamp", "TIMESTAMP", timestamp()),
        Kind::one("timestamp 6", "TIMESTAMP(6)", timestamp()),
        Kind::one("time", "TIME", time()),
        Kind::one("time 6", "TIME(6)", time()),
    ]
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    let digits: String = bytes.into_iter().map(|byte| format!("{byte:02X}")).collect();
    format!("X'{digits}'")
}

fn random_bytes(max: usize) -> Values {
    value(move |rng| {
        let length = rng.random_range(0..=max);
        let byte = |rng: &mut StdRng| [0, b' ', b'a', b'A', rng.random()][rng.random_range(0..5)];
        hex((0..length).map(|_| byte(rng)))
    })
}

fn bytes() -> Vec<Kind> {
    let mut kinds = vec![
        Kind::one("binary", "BINARY(8)", random_bytes(8)),
        Kind::one("varbinary", "VARBINARY(20)", random_bytes(20)),
    ];
    // An index over beginnings does not give the order of a column.
    let mut prefix = Kind::one("blob prefix", "BLOB", random_bytes(40));
    (prefix.rest, prefix.order) = ("PRIMARY KEY (`k`(6))".to_owned(), "LEFT(`k`, 6)".to_owned());
    prefix.is_searched = false;
    kinds.push(prefix);
    kinds
}

/// Collations of both servers, and characters that are special in them.
const COLLATIONS: &[(&str, &str)] = &[
    ("utf8mb4_general_ci", "😀中é"),
    ("utf8mb4_unicode_ci", "😀中éß"),
    ("utf8mb4_unicode_520_ci", "😀中éßÆ"),
    ("utf8mb4_bin", "😀中é"),
    ("utf8mb4_czech_ci", "chcČčžŽ"),
    ("utf8mb4_danish_ci", "aåÅAæØ"),
    ("utf8mb3_general_ci", "中é"),
    ("utf8mb3_bin", "中é"),
    ("latin1_swedish_ci", "éÅåÄöÿß"),
    ("latin1_german2_ci", "äaeßssü"),
    ("latin1_bin", "éÅå"),
    ("ascii_general_ci", "~^"),
    ("gbk_chinese_ci", "中文國"),
    ("gbk_bin", "中文國"),
    ("gb2312_chinese_ci", "中文"),
    ("big5_chinese_ci", "中文繁體"),
    ("sjis_japanese_ci", "日本ソ表ｱ"),
    ("ujis_japanese_ci", "日本ｱ"),
    ("euckr_korean_ci", "한국어"),
    ("koi8r_general_ci", "Привет"),
    ("utf16_unicode_ci", "中😀é"),
    ("utf16_bin", "中😀ﬀ"),
    ("utf16le_general_ci", "中😀é"),
    ("utf32_general_ci", "中😀é"),
    ("ucs2_unicode_ci", "中éß"),
    ("tis620_thai_ci", "ไทยเแก"),
    ("cp1250_czech_cs", "chčŽ"),
    ("latin2_czech_cs", "chčŽ"),
];
const MYSQL: &[(&str, &str)] = &[
    ("utf8mb4_0900_ai_ci", "😀中éßÆ"),
    ("utf8mb4_0900_as_ci", "😀中éßÆ"),
    ("utf8mb4_0900_as_cs", "😀中éßÆ"),
    ("utf8mb4_0900_bin", "😀中é"),
    ("utf8mb4_ja_0900_as_cs_ks", "かカｶが日本"),
    ("utf8mb4_zh_0900_as_cs", "中文國汉"),
    ("utf8mb4_cs_0900_ai_ci", "chčŽ"),
    ("gb18030_chinese_ci", "中文國😀"),
    ("gb18030_unicode_520_ci", "中文國😀"),
];
const MARIADB: &[(&str, &str)] = &[
    ("utf8mb4_uca1400_ai_ci", "😀中éßÆ"),
    ("utf8mb4_uca1400_as_cs", "😀中éßÆ"),
    ("utf8mb4_uca1400_nopad_ai_ci", "😀中éß"),
    ("utf8mb4_uca1400_nopad_as_cs", "😀中éß"),
    ("utf8mb4_general_nopad_ci", "😀中é"),
    ("utf8mb4_nopad_bin", "😀中é"),
    ("utf8mb4_uca1400_czech_ai_ci", "chčŽ"),
    ("latin1_swedish_nopad_ci", "éÅåÄ"),
    ("gbk_chinese_nopad_ci", "中文國"),
    ("utf16_uca1400_ai_ci", "中😀é"),
    ("ucs2_uca1400_nopad_as_ci", "中é"),
];

/// Short texts that many collations find equal or nearly equal.
fn text(charset: &str, extra: &str, max: usize) -> Values {
    const COMMON: &str = "aAbBzZ 09_-\t\u{1}'\"\\";
    let letters: Vec<char> = COMMON.chars().chain(extra.chars()).chain(extra.chars()).collect();
    let charset = charset.to_owned();
    value(move |rng| {
        let length = rng.random_range(0..=max);
        let text: String =
            (0..length).map(|_| letters[rng.random_range(0..letters.len())]).collect();
        let mut text = text;
        if rng.random_bool(0.1) {
            text.push_str("  ");
        }
        format!("CONVERT(_utf8mb4 {} USING {charset})", hex(text.bytes()))
    })
}

fn texts(collation: &str, extra: &str) -> Vec<Kind> {
    let charset = collation.split('_').next().unwrap_or_default();
    let of = |kind: &str| format!("{kind} CHARACTER SET {charset} COLLATE {collation}");
    let values = || text(charset, extra, 9);
    let mut prefix = Kind::one(&format!("{collation} prefix"), &of("TEXT"), values());
    prefix.rest = "PRIMARY KEY (`k`(6))".to_owned();
    prefix.order = "CAST(LEFT(`k`, 6) AS BINARY)".to_owned();
    prefix.is_searched = false;
    let mut char = Kind::one(&format!("{collation} char"), &of("CHAR(12)"), values());
    if collation.contains("nopad") {
        char.order = "CAST(`k` AS BINARY)".to_owned();
        char.is_searched = false;
    }
    vec![char, Kind::one(&format!("{collation} varchar"), &of("VARCHAR(12)"), values()), prefix]
}

fn several() -> Vec<Kind> {
    let small = |below: u64| value(move |rng| rng.random_range(0..below).to_string());
    let name = || text("latin1", "éÅ", 2);
    let latin = "VARCHAR(5) CHARACTER SET latin1 COLLATE latin1_swedish_ci";
    let day = || value(|rng| format!("'2024-01-{:02} 00:00:00.5'", rng.random_range(1..9)));
    vec![
        Kind::several(
            "int text datetime",
            "`a`, `b`, `c`",
            vec![("INT", small(300)), (latin, name()), ("DATETIME(1)", day())],
        ),
        Kind::several(
            "text decimal int",
            "`a`, `b`, `c`",
            vec![(latin, name()), ("DECIMAL(6,2)", decimal(1, 1)), ("TINYINT", signed(8))],
        ),
        Kind::several(
            "descending",
            "`a` DESC, `b` DESC, `c` DESC",
            vec![("INT", small(300)), (latin, name()), ("TIMESTAMP(1)", day())],
        ),
        Kind::several(
            "mixed directions",
            "`a`, `b` DESC, `c`",
            vec![("BIT(3)", small(8)), (latin, name()), ("SMALLINT", signed(16))],
        ),
        Kind::several(
            "mixed with enum",
            "`a` DESC, `b`, `c` DESC",
            vec![
                ("ENUM('z','y','','a')", small(5)),
                (
                    "YEAR",
                    value(|rng| {
                        [0, 1901, 2155, rng.random_range(1950..2050)][rng.random_range(0..4)]
                            .to_string()
                    }),
                ),
                ("SMALLINT UNSIGNED", small(900)),
            ],
        ),
        Kind::several(
            "enum first",
            "`a`, `b`",
            vec![("ENUM('z','y','','a')", small(5)), ("INT", small(30_000))],
        ),
        Kind::several(
            "float first",
            "`a`, `b`",
            vec![
                ("FLOAT", value(|rng| format!("{}", f64::from(rng.random_range(-9..9)) / 10.0))),
                (
                    "DOUBLE",
                    value(|rng| format!("{}", f64::from(rng.random_range(-900..900)) / 10.0)),
                ),
            ],
        ),
        Kind::several("one descending", "`a` DESC", vec![("BIGINT", signed(64))]),
        Kind::several(
            "text descending",
            "`a` DESC",
            vec![(
                "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
                text("utf8mb4", "éß中", 8),
            )],
        ),
    ]
}

/// Unusual names, other keys than the primary one, and other engines.
fn odd() -> Vec<Kind> {
    let mut reserved = Kind::one("reserved `names`", "INT", signed(32));
    reserved.columns[0].0 = "select".to_owned();
    (reserved.rest, reserved.order) = ("PRIMARY KEY (`select`)".to_owned(), "`select`".to_owned());
    let mut backtick = Kind::one("a \"backtick\"", "INT", signed(32));
    backtick.columns[0].0 = "a`b ? é".to_owned();
    backtick.rest = "UNIQUE KEY `odd``index ?` (`a``b ? é`)".to_owned();
    backtick.order = "`a``b ? é`".to_owned();
    let mut unique = Kind::several(
        "unique",
        "`a`",
        vec![("BIGINT NOT NULL", signed(64)), ("INT", signed(32)), ("BIGINT", signed(64))],
    );
    // Neither a key that may be NULL, nor the larger of two.
    unique.rest = "UNIQUE (`b`), UNIQUE (`a`, `c`), UNIQUE `z` (`a`)".to_owned();
    let mut partitioned = Kind::one("partitioned", "INT", signed(32));
    partitioned.options = "PARTITION BY HASH (ABS(`k` MOD 5)) PARTITIONS 5".to_owned();
    let mut memory = Kind::one("memory", "INT", signed(32));
    (memory.options, memory.is_searched) = ("ENGINE = MEMORY".to_owned(), false);
    let mut myisam = Kind::one("myisam", "INT", signed(32));
    myisam.options = "ENGINE = MyISAM".to_owned();
    let mut preferred = Kind::one("prefix beside unique", "VARCHAR(30)", text("utf8mb4", "é", 20));
    preferred.columns.push(("u".to_owned(), "BIGINT".to_owned(), signed(64)));
    preferred.rest = "PRIMARY KEY (`k`(15)), UNIQUE (`u`)".to_owned();
    preferred.order = "`u`".to_owned();
    vec![reserved, backtick, unique, partitioned, memory, myisam, preferred]
}

/// A functional key is not used.
fn functional() -> Kind {
    let mut kind =
        Kind::several("functional", "`b`", vec![("INT", signed(32)), ("INT", signed(32))]);
    kind.rest = "UNIQUE KEY `a first` ((`a` * 2)), UNIQUE KEY `b` (`b`)".to_owned();
    kind
}

fn addresses() -> Vec<Kind> {
    let uuid = || {
        value(|rng| {
            let digits = |rng: &mut StdRng, count: usize| -> String {
                (0..count)
                    .map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0'))
                    .collect()
            };
            let version = ["1", "4", "7", "0", "6"][rng.random_range(0..5)];
            let [a, b, c, d, e] = [8, 4, 3, 4, 12].map(|count| digits(rng, count));
            format!("'{a}-{b}-{version}{c}-{d}-{e}'")
        })
    };
    let octet = |rng: &mut StdRng| [0, 255, rng.random::<u8>()][rng.random_range(0..3)].to_string();
    let inet4 = value(move |rng| {
        let octets = [(); 4].map(|()| octet(rng));
        format!("'{}'", octets.join("."))
    });
    let inet6 = value(|rng| {
        let groups = [(); 8]
            .map(|()| format!("{:x}", [0, 0xffff, rng.random::<u16>()][rng.random_range(0..3)]));
        format!("'{}'", groups.join(":"))
    });
    let point =
        value(|rng| format!("POINT({}, {})", rng.random_range(-99..99), rng.random_range(-99..99)));
    // The server makes a key of these by their bytes.
    let mut places = Kind::one("point", "POINT", point);
    (places.order, places.is_searched) = ("HEX(LEFT(`k`, 25))".to_owned(), false);
    vec![
        places,
        Kind::one("uuid", "UUID", uuid()),
        Kind::one("inet4", "INET4", inet4),
        Kind::one("inet6", "INET6", inet6),
        Kind::several("uuid descending", "`a` DESC", vec![("UUID", uuid())]),
    ]
}
