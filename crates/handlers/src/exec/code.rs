//! Sees that the code of a handler process was changed after the process was started.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::program;

/// The extensions of scripts. Other arguments may be files that the handler itself writes.
const SCRIPTS: [&str; 15] = [
    "bash", "cjs", "jar", "js", "lua", "mjs", "php", "pl", "ps1", "py", "pyz", "r", "rb", "sh",
    "ts",
];

/// The files of a command, as they were when it was started.
#[derive(Debug, Default)]
pub(super) struct HandlerCode(Vec<(PathBuf, FileVersion)>);

/// What changes when a file is replaced or written.
#[derive(Debug, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl FileVersion {
    fn of(path: &Path) -> Option<Self> {
        let file = path.metadata().ok().filter(Metadata::is_file)?;
        let changed = (file.mtime(), file.mtime_nsec());
        Some(Self { inode: file.ino(), bytes: file.len(), changed })
    }
}

impl HandlerCode {
    /// The program, and the scripts among its arguments.
    pub(super) fn of(command: &[String]) -> Self {
        let Some((program, arguments)) = command.split_first() else { return Self::default() };
        let scripts = arguments.iter().map(PathBuf::from).filter(|path| is_script(path));
        let files = program::find(program).into_iter().chain(scripts);
        Self(
            files
                .filter_map(|path| FileVersion::of(&path).map(|version| (path, version)))
                .collect(),
        )
    }

    /// A file that has changed. A missing file is just being replaced: the next look sees the new
    /// one.
    pub(super) fn changed(&self) -> Option<&Path> {
        let is_other = |(path, version): &&(PathBuf, FileVersion)| {
            FileVersion::of(path).is_some_and(|now| now != *version)
        };
        self.0.iter().find(is_other).map(|(path, _)| path.as_path())
    }
}

fn is_script(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase);
    end.is_some_and(|end| SCRIPTS.contains(&end.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_written_again_is_noticed_and_what_the_handler_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        for name in ["handler.py", "out.jsonl", "data"] {
            std::fs::write(path(name), "one").unwrap();
        }
        let command =
            ["sh".to_owned(), "-u".to_owned(), text("handler.py"), text("out.jsonl"), text("data")];
        let code = HandlerCode::of(&command);
        assert_eq!(code.changed(), None);
        std::fs::write(path("out.jsonl"), "more").unwrap();
        std::fs::write(path("data"), "more").unwrap();
        assert_eq!(code.changed(), None);

        std::fs::remove_file(path("handler.py")).unwrap();
        assert_eq!(code.changed(), None, "it is being replaced");
        std::fs::write(path("handler.py"), "two").unwrap();
        assert_eq!(code.changed(), Some(path("handler.py").as_path()));
        assert_eq!(HandlerCode::of(&command).changed(), None);
    }

    #[test]
    fn the_program_itself_counts_whatever_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("handler");
        let write = |text: &str| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        };
        write("#!/bin/sh\n");
        let code = HandlerCode::of(&[program.display().to_string()]);
        assert_eq!(code.changed(), None);
        write("#!/bin/sh\nexit\n");
        assert_eq!(code.changed(), Some(program.as_path()));
    }
}
