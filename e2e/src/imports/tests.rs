//! Circles in small crates that are made up.

use super::*;

/// The circles in a crate of these files.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Crate::new(&texts.collect()).circles().iter().map(ToString::to_string).collect()
}

/// Whether `a.rs`, with this text, and a `b.rs` that uses it are a circle.
fn needs_b(text: &str) -> bool {
    let files =
        [("lib.rs", "mod a; mod b;"), ("a.rs", text), ("b.rs", "use crate::a::A; pub struct B;")];
    !circles(&files).is_empty()
}

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::a::A; pub struct B;"),
        ("c.rs", "use crate::{a::A, b::B};"),
    ];
    let expected = "a.rs uses crate::b::B of b.rs, b.rs uses super::a::A of a.rs";
    assert_eq!(circles(&files), [expected]);
}

#[test]
fn three_files_in_a_ring_are_a_circle() {
    let files = [
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::A;"),
        ("d.rs", "use crate::a::A;"),
    ];
    let expected = "a.rs uses crate::b::B of b.rs, b.rs uses crate::c::C of c.rs, \
                    c.rs uses crate::a::A of a.rs";
    assert_eq!(circles(&files), [expected]);
}

#[test]
fn a_file_that_only_leads_into_a_circle_is_in_none() {
    let files =
        [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::b::B;")];
    let found = circles(&files);
    assert!(found.len() == 1 && !found[0].contains("a.rs"), "{found:?}");
}

#[test]
fn a_name_is_followed_through_reexports_to_its_file() {
    let files = [
        ("lib.rs", "pub use house::{A as First, B};"),
        ("house.rs", "pub(crate) use self::{a::A, b::B};"),
        ("house/a.rs", "use crate::B; pub struct A;"),
        ("house/b.rs", "use crate::First; pub struct B;"),
    ];
    let expected = "house/a.rs uses crate::B of house/b.rs, house/b.rs uses crate::First of \
                    house/a.rs";
    assert_eq!(circles(&files), [expected]);
}

#[test]
fn what_is_only_reexported_is_not_needed_and_what_is_used_as_well_is() {
    assert!(!needs_b("pub use crate::b::B;"));
    assert!(needs_b("pub(super) use crate::b::B; fn f(b: B) {}"));
}

#[test]
fn a_reexport_that_leads_back_to_itself_has_an_end() {
    assert!(!needs_b("use crate::c::C; pub use crate::a::C as A;"));
    let files = [("a.rs", "pub use crate::b::X; fn f(x: X) {}"), ("b.rs", "pub use crate::a::X;")];
    assert!(circles(&files).is_empty());
}

#[test]
fn every_way_to_name_something_is_understood() {
    for text in [
        "use crate::b::B;",
        "use super::b::B;",
        "use super::{c::C, b::{self, B}};",
        "use crate::{b::B as Other};",
        "use crate::b as other; fn f() { other::make() }",
        "use crate::{b::{self as other}}; fn f() { other::make() }",
        "use crate::b; fn f() -> b::B { b::make() }",
        "use super::b::*;",
        "fn f() { let x = crate::b::make::<u8>(1); }",
        "fn f(x: &'static super::b::B) {}",
        "impl crate::b::B { }",
        "fn f() -> Vec<crate::b::B> { vec![] }",
        "fn f() { use crate::b::B; }",
        "use std::fmt; /* a comment */ const C: char = '\"'; use crate::b::B; // \"",
        "const S: &str = r#\"a \" quote\"#; use crate::b::B; const T: &str = \"\\\\\";",
    ] {
        assert!(needs_b(text), "{text}");
    }
}

#[test]
fn what_names_nothing_of_another_file_is_no_import() {
    for text in [
        "",
        "use crate::b;",
        "use std::b::B; use other::{crate_b, b::B};",
        "// use crate::b::B;\n/* use crate::b::B; */ /// [`crate::b::B`]",
        "const S: &str = \"use crate::b::B;\"; const T: &str = r#\"use crate::b::B;\"#;",
        "pub(in crate::b) struct A;",
        "#[cfg(test)]\nmod tests { use crate::b::B; fn f() { if true {} } }",
        "#[cfg(test)] use crate::b::B; #[cfg(test)] mod tests;",
        "fn f<T: Other>() -> impl Sized + use<T> { <T as Other>::b::B }",
    ] {
        assert!(!needs_b(text), "{text}");
    }
}

#[test]
fn a_file_and_the_files_in_its_folder_are_one_family() {
    let family = [
        ("house.rs", "mod a; use self::a::A; pub struct House;"),
        ("house/a.rs", "use super::House; use crate::Root; pub struct A;"),
        ("lib.rs", "use house::House; pub struct Root;"),
    ];
    assert!(circles(&family).is_empty());
    let brothers = [
        ("house.rs", "mod a; mod b;"),
        ("house/a.rs", "use super::b::B;"),
        ("house/b/mod.rs", "use super::a::A;"),
    ];
    assert_eq!(circles(&brothers).len(), 1);
}

#[test]
fn tests_and_programs_are_not_counted() {
    let files = [
        ("lib.rs", "mod a;"),
        ("main.rs", "use a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b/tests.rs", "use crate::a::A;"),
        ("bin/b.rs", "use crate::a::A;"),
        ("b.rs", "pub struct B;"),
    ];
    assert!(circles(&files).is_empty());
}
