//! What the config may say.

use std::path::Path;

use service::config::File;

use super::*;

fn read(toml: &str) -> Result<FileConfig, String> {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let config = FileConfig::read(file.root());
    file.finish(config).map(Option::unwrap).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_config_needs_only_a_directory() {
    let config = read("directory = 'out'").unwrap();
    let all = "directory = 'out'\nname = '{schema}.{table}'\nformat = 'jsonl'\ncontent = 'event'\n\
               compress = 'none'\nrotate = { size = '64MiB', time = '1h' }";
    assert_eq!(Ok(config), read(all));
    let csv = "directory = 'out'\nformat = 'csv'";
    assert_eq!(read(csv), read(&format!("{csv}\nnull = ''")));
}

#[test]
fn a_config_names_what_is_wrong_with_it() {
    let wrong = |toml: &str| read(&format!("directory = 'out'\n{toml}")).unwrap_err();
    assert!(wrong("format = 'csv'\ncontent = 'row'").contains("only with format"));
    assert!(wrong("null = 'x'").contains("null: is not a known key"));
    assert!(wrong("rotate = { time = '1ms' }").contains("too little"));
    assert!(wrong("name = '{{ x }}'").contains("no member of an event"));
    assert!(read("").unwrap_err().contains("directory: is missing"));
}
