//! What `verify` and a reader do with files that are not what was written.

use rand::RngExt;

use super::*;

fn is_data_or_index(name: &str) -> bool {
    name.contains("/data") || name.ends_with("/index")
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let mut random = random();
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let right = check(&stream).unwrap();
    assert!(right.days == 2 && right.files >= 4 && right.records == 19, "{right:?}");
    let newest = files.keys().rfind(|name| name.contains("/data")).unwrap();
    let mut last_writes = 0;
    for (name, content) in files.iter().filter(|(name, _)| is_data_or_index(name)) {
        let path = stream.join(name);
        for at in 0..content.len() {
            let mut changed = content.clone();
            changed[at] ^= random.random_range(1..=255_u8);
            fs::write(&path, &changed).unwrap();
            match check(&stream) {
                Err(Error::Damaged { file, position, .. }) => {
                    assert!(file == path && position <= at as u64, "{name} {at}: {position}");
                }
                // It looks like an append that a power cut left unfinished: nothing after it says
                // that it was synced.
                Ok(found) if name == newest && at as u64 >= last_group(content) => {
                    assert!(found.unfinished_bytes > 0, "{name} {at}: {found:?}");
                    last_writes += 1;
                }
                other => panic!("{name} {at}: {other:?}"),
            }
        }
        fs::write(&path, content).unwrap();
    }
    assert!(last_writes > 0 && check(&stream).is_ok());
}

#[tokio::test]
async fn what_is_missing_or_too_much_is_found() {
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let newest_day = files.keys().next_back().unwrap().split_once('/').unwrap().0.to_owned();
    let newest = files.keys().rfind(|name| name.contains("/data")).unwrap();
    let finish = files.keys().find(|name| name.ends_with("/finish")).unwrap();
    let middle = files.keys().filter(|name| name.contains("/data")).nth(1).unwrap();
    let expect = |what: &str, file: &str, problem: &str| match check(&stream) {
        Err(Error::Damaged { file: found, problem: said, .. }) => {
            assert!(found.ends_with(file) && said.contains(problem), "{what}: {found:?} {said}");
        }
        other => panic!("{what}: {other:?}"),
    };
    let next = files.keys().filter(|name| name.contains("/data")).nth(2).unwrap();

    fs::remove_file(stream.join(middle)).unwrap();
    expect("a file in the middle", next, "comes next");
    plant(&stream, &files);

    for name in files.keys().filter(|name| name.ends_with("/index")) {
        fs::remove_file(stream.join(name)).unwrap();
        expect("an index", name, "it is missing");
        plant(&stream, &files);
        let is_newest = name.starts_with(&newest_day);
        fs::write(stream.join(name), &files[name][..files[name].len() - 1]).unwrap();
        if is_newest {
            assert_eq!(check(&stream).unwrap().unwritten_entries, 1, "not written yet");
        } else {
            expect("a shorter index", name, "an entry is missing");
        }
        let longer = [&files[name][..], &files[name][..32]].concat();
        fs::write(stream.join(name), longer).unwrap();
        let problem = if is_newest { "does not fit" } else { "more than" };
        expect("a longer index", name, problem);
        plant(&stream, &files);
    }

    fs::remove_file(stream.join(finish)).unwrap();
    expect("a mark", finish, "it is missing");
    plant(&stream, &files);
    fs::write(stream.join(finish), "x").unwrap();
    expect("a mark with content", finish, "it is not empty");
    plant(&stream, &files);
    let (day, later) = (finish.split_once('/').unwrap().0, stream.join("29991231"));
    fs::rename(stream.join(&newest_day), &later).unwrap();
    expect("another day", "29991231/data000000", "not of the day");
    fs::rename(&later, stream.join(&newest_day)).unwrap();
    assert!(day < newest_day.as_str());

    let groups = |offset: u64| {
        let content = format!("{{\"g\":{{\"offset\":{offset},\"timeMs\":1}}}}");
        fs::write(stream.join("groups"), content).unwrap();
    };
    let end_offset = check(&stream).unwrap().offsets.unwrap().1;
    groups(end_offset);
    check(&stream).unwrap();
    groups(end_offset + 1);
    expect("what a group has finished", "groups", "acknowledged records are missing");
    fs::remove_file(stream.join("groups")).unwrap();

    let end = files[newest].len() - 1;
    fs::write(stream.join(newest), &files[newest][..end]).unwrap();
    assert!(check(&stream).unwrap().unfinished_bytes > 0, "the end of the newest file is torn");
    fs::write(stream.join(middle), &files[middle][..files[middle].len() - 1]).unwrap();
    expect("the end of an older file", middle, "ends within");
}

/// Damages one file: what disks, people and programs do.
fn damage(random: &mut StdRng, content: &[u8]) -> Vec<u8> {
    let mut changed = content.to_vec();
    let at = random.random_range(0..content.len());
    let to = (at + random.random_range(1..600)).min(content.len());
    match random.random_range(0..5) {
        0 => changed.truncate(at),
        1 => changed[at..to].fill(0),
        2 => changed[at..to].fill_with(|| random.random()),
        3 => drop(changed.drain(at..to)),
        _ => {
            let copy = changed[at..to].to_vec();
            changed.splice(at..at, copy);
        }
    }
    changed
}

#[tokio::test]
async fn a_reader_of_damaged_files_gives_only_what_was_written_and_says_where_it_stops() {
    let mut random = random();
    let directory = TestLog::small().await.close();
    let stream = directory.path().join("s");
    let files = tree(&stream);
    let all = read_all(&stream);
    let data: Vec<&String> = files.keys().filter(|name| is_data_or_index(name)).collect();
    let newest = files.keys().rfind(|name| name.contains("/data")).unwrap();
    for round in 0..small_or_full(600, 20_000) {
        let name = data[random.random_range(0..data.len())];
        let changed = damage(&mut random, &files[name]);
        fs::write(stream.join(name), &changed).unwrap();
        let (found, error) = read_from(&stream, Start::Earliest);
        assert_eq!(found, all[..found.len()], "round {round}");
        let is_whole = found.len() == all.len();
        assert!(is_whole || error.is_some() || name == newest, "round {round}: {name} {error:?}");
        let from = all[random.random_range(0..all.len())].offset;
        let rest: Vec<Record> = all.iter().filter(|it| it.offset >= from).cloned().collect();
        let (found, error) = read_from(&stream, Start::Offset(from));
        assert_eq!(found, rest[..found.len()], "round {round} from {from}: {name}");
        let is_whole = found.len() == rest.len();
        assert!(is_whole || error.is_some() || name == newest, "round {round}: {name} {error:?}");
        if changed != files[name] && name != newest {
            // The writer syncs no entries of the newest file: those that are missing or zero come.
            let checked = check(&stream);
            let is_open = |found: &Verified| found.unwritten_entries > 0;
            assert!(checked.as_ref().is_err() || checked.as_ref().is_ok_and(is_open), "{name}");
        }
        fs::write(stream.join(name), &files[name]).unwrap();
    }
}
