//! What requests become, and which mistakes are found before.

use std::path::Path;

use service::config::File;

use super::*;
use crate::change::tests::event;

fn read(toml: &str) -> Result<Option<RequestForm>, String> {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let is_meant = RequestForm::is_meant_by(file.root(), "url");
    let form = is_meant.then(|| RequestForm::read(file.root(), "url")).flatten();
    // The caller reads the headers that are no templates.
    file.root().section("headers").entries();
    file.finish(form).map_err(|mistakes| mistakes.to_string())
}

fn form(toml: &str) -> RequestForm {
    read(toml).unwrap().unwrap()
}

fn text(request: Request) -> String {
    String::from_utf8(request.body.unwrap()).unwrap()
}

#[test]
fn a_table_becomes_json_whose_values_keep_their_types_and_need_no_escapes() {
    let form = form(
        "url = 'http://h/x'\nper = 'event'\n\
         body = { text = '{{ Data.name }} is new in {table}', id = '{{ PK.id }}', fixed = true, \
         row = '{{ Data }}', list = [1, '{{ Seq }}', { a = '{{ none }}' }] }",
    );
    let event = event("insert", r#"{"id":7,"name":"a\"},{\"b","u":18446744073709551615}"#, None);
    let request = form.of_event(&event).unwrap();
    assert_eq!((&request.method, request.url.as_str()), (&Method::POST, "http://h/x"));
    assert_eq!(request.headers[0].1, "application/json");
    let expected = serde_json::json!({
        "text": "a\"},{\"b is new in item", "id": 7, "fixed": true,
        "row": { "id": 7, "name": "a\"},{\"b", "u": 18_446_744_073_709_551_615_u64 },
        "list": [1, 5, { "a": null }],
    });
    let body: serde_json::Value = serde_json::from_str(&text(request)).unwrap();
    assert_eq!(body, expected);
}

#[test]
fn a_text_of_json_has_each_value_as_json() {
    let form = form(
        "url = 'http://h'\n\
         body = '''{\"rows\":[{% for e in Events %}{\"n\":{{ e.Data.name }},\
         \"t\":{{ \"x\" ~ e.Seq }},\"d\":{{ e.Data|tojson }}}{% if not loop.last %},{% endif %}\
         {% endfor %}]}'''",
    );
    let name = r#"a"b\c"#;
    let event = event("insert", r#"{"id":7,"name":"a\"b\\c"}"#, None);
    let body: serde_json::Value =
        serde_json::from_str(&text(form.of_batch(&[&event, &event]).unwrap())).unwrap();
    let row = serde_json::json!({ "n": name, "t": "x5", "d": { "id": 7, "name": name } });
    assert_eq!(body, serde_json::json!({ "rows": [row, row] }));
}

#[test]
fn a_text_that_is_no_json_is_refused_before_it_is_sent() {
    let form = form("url = 'http://h'\nper = 'event'\nbody = '{\"a\":{{ PK.id }}'");
    let refused = form.of_event(&event("insert", r#"{"id":7}"#, None)).unwrap_err();
    assert!(refused.starts_with("body: it is no JSON: EOF"), "{refused}");
}

#[test]
fn other_types_are_escaped_as_they_need() {
    let body = |content_type: &str, template: &str| {
        let form = form(&format!(
            "url = 'http://h'\nper = 'event'\ncontentType = '{content_type}'\nbody = '{template}'"
        ));
        text(form.of_event(&event("insert", r#"{"id":7,"n":"a&b=<ä>"}"#, None)).unwrap())
    };
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    assert_eq!(body(form, "id={{ PK.id }}&n={{ Data.n }}"), "id=7&n=a%26b%3D%3C%C3%A4%3E");
    assert_eq!(body("text/xml", "<n>{{ Data.n }}</n>"), "<n>a&amp;b=&lt;ä&gt;</n>");
    assert_eq!(body("text/plain", "{{ Data.n }}!"), "a&b=<ä>!");
    assert_eq!(body("application/cloudevents+json", "[{{ Data.n }}]"), "[\"a&b=<ä>\"]");
}

#[test]
fn what_stands_in_a_url_changes_nothing_but_its_place() {
    let form = form("url = 'https://h:1/v1/{table}/{{ Data.k }}?q={{ Data.q }}'\nper = 'event'");
    assert_eq!(form.origin().port(), Some(1));
    let url = |key: &str, query: &str| {
        let data = format!(r#"{{"id":7,"k":{key},"q":{query}}}"#);
        form.of_event(&event("insert", &data, None)).map(|request| request.url.to_string())
    };
    assert_eq!(url("\"a/../b?c#d\"", "\"\"").unwrap(), "https://h:1/v1/item/a%2F..%2Fb%3Fc%23d?q=");
    assert_eq!(url("-7", "\"ä &\"").unwrap(), "https://h:1/v1/item/-7?q=%C3%A4%20%26");
    for (key, why) in [("\"\"", "empty"), ("\"..\"", "dots"), ("null", "none"), ("{}", "map")] {
        let refused = url(key, "1").unwrap_err();
        assert!(refused.starts_with("url: ") && refused.contains(why), "{key}: {refused}");
    }
}

#[test]
fn the_method_goes_by_the_action_and_only_some_have_a_body() {
    let form = form(
        "url = 'http://h/{{ PK.id }}'\nper = 'event'\nbody = { n = '{{ Data.n }}' }\n\
         method = { update = 'PUT', delete = 'DELETE' }",
    );
    let made = |action: &str| {
        let request = form.of_event(&event(action, r#"{"id":7,"n":1}"#, None)).unwrap();
        (request.method.to_string(), request.body.is_some(), request.headers.len())
    };
    assert_eq!(made("insert"), ("POST".into(), true, 1));
    assert_eq!(made("update"), ("PUT".into(), true, 1));
    assert_eq!(made("delete"), ("DELETE".into(), false, 0));
    assert!(form.is_done(&Method::DELETE, 404) && !form.is_done(&Method::PUT, 404));
    let elsewhere = form.sent_to("http://other/x".parse().unwrap());
    let request = elsewhere.of_event(&event("delete", r#"{"id":7,"n":1}"#, None)).unwrap();
    assert_eq!((request.method, request.url.as_str()), (Method::DELETE, "http://other/x"));
}

#[test]
fn headers_and_secrets_are_put_in() {
    let form = form(
        "url = 'http://h/{{ Secrets.hook|safe }}'\nper = 'event'\nalsoDone = [409]\n\
         headers = { Idempotency-Key = '{{ EvId }}', X = '{{ Data.n }}', Y = 'y' }\n\
         secrets = { hook = 'T1/B2' }\nbody = { key = '{{ Secrets.hook }}' }",
    );
    let request = form.of_event(&event("insert", r#"{"id":7,"n":"a"}"#, None)).unwrap();
    assert_eq!(request.url.as_str(), "http://h/T1/B2");
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let expected = [("content-type", "application/json"), ("idempotency-key", "g:1#0"), ("x", "a")];
    assert_eq!(headers, expected);
    assert_eq!(text(request), r#"{"key":"T1/B2"}"#);
    assert!(form.is_done(&Method::POST, 409) && !form.is_done(&Method::POST, 404));
    let refused = form.of_event(&event("insert", r#"{"id":7,"n":"a\nb"}"#, None)).unwrap_err();
    assert!(refused.starts_with("headers.x: has a character"), "{refused}");
}

#[test]
fn a_row_that_was_too_large_is_refused_where_it_is_needed() {
    let mut event = event("insert", r#"{"id":7}"#, None);
    event.json = event.json.replace(r#""Seq""#, r#""Oversized":99,"Seq""#);
    let refused = |toml: &str| form(toml).of_event(&event).err();
    let why = refused("url = 'http://h'\nper = 'event'\nbody = { n = '{{ Data.n }}' }").unwrap();
    assert!(why.contains("99 bytes: raise maxRowBytes"), "{why}");
    assert_eq!(refused("url = 'http://h'\nper = 'event'\nbody = { n = '{{ PK.id }}' }"), None);
    let batch = form("url = 'http://h'\nbody = { n = '{{ Events }}' }").of_batch(&[&event]);
    assert!(batch.unwrap_err().starts_with("g:1#0: the event holds only"));
}

#[test]
fn mistakes_are_found_when_the_config_is_read() {
    assert_eq!(read("url = 'http://h'"), Ok(None));
    for (toml, expected) in [
        ("url = 'http://{{ PK.id }}/x'\nper = 'event'", "url: must begin with scheme and host"),
        ("url = 'http://h/{{ PK.id }}'", "url: has a template, and a batch has no single event"),
        ("url = 'http://h/{{ PK.id'\nper = 'event'", "url: is no template: syntax error"),
        ("url = 'ftp://h'\nper = 'event'", "url: \"ftp://h\" is not an http or https URL"),
        ("url = 'http://h'\nper = 'row'", "per: \"row\" is not known; write one of batch, event"),
        ("url = 'http://h'\nmethod = 'post'", "method: \"post\" is not known; write one of POST,"),
        ("url = 'http://h'\nmethod = { delete = 'PUT' }", "method: goes by the action"),
        ("url = 'http://h'\nmethod = 'GET'\nbody = { a = 1 }", "body: is never sent with this"),
        ("url = 'http://h'\nbody = 7", "body: is neither a table nor a text"),
        (
            "url = 'http://h'\nbody = { a = [{ b = '{{ Data.n }}' }] }",
            "body.a[0].b: is no template: \"Data\" is no member of a batch: Secrets, Events",
        ),
        (
            "url = 'http://h'\nbody = '[{{ Events|jsn }}]'",
            "body: is no template: \"jsn\" is no known filter",
        ),
        (
            "url = 'http://h'\nper = 'event'\nbody = '{\"a\":\"{{ Data.n }}\"}'",
            "body: is no template: {{ Data.n }} stands between quotes, and brings its own: write",
        ),
        (
            "url = 'http://h'\ncontentType = 'text/xml'\nbody = { a = 1 }",
            "body: is JSON, which is not text/xml",
        ),
        ("url = 'http://h'\ncontentType = 'json'", "contentType: is no type of content"),
        ("url = 'http://h'\nalsoDone = [200]", "alsoDone: is no list of statuses"),
        (
            "url = 'http://h'\nbody = {}\nheaders = { A = '{{ EvId }}', Content-Type = 'a/b' }",
            "headers.A: has a template, and a batch has no single event; write per = \"event\"",
        ),
        (
            "url = 'http://h'\nbody = {}\nheaders = { Content-Type = 'a/b' }",
            "headers.Content-Type: is the type of the body; use contentType",
        ),
    ] {
        let told = read(toml).unwrap_err();
        assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
    }
}
