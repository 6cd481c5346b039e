//! Growing and rotated logs: what is written comes once, wherever it goes.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails loudly")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use access_events::extract::OnError;
use access_events::follow::{Batch, FollowError, Polled, Positions};
use access_events::format::Csv;
use access_events::{Extract, Follower};

/// Rows `name,address` with a header.
fn table() -> Extract {
    let format = Csv::draft("who", "from").check().unwrap();
    Extract::of(format).policy(everything()).on_error(OnError::Skip)
}

fn everything() -> access_events::Policy {
    let draft = access_events::Policy::draft().special(access_events::policy::SpecialRule::Keep);
    draft.check().unwrap()
}

struct Watched {
    folder: tempfile::TempDir,
    source: PathBuf,
    positions: Positions,
    follower: Option<Follower>,
    extract: Extract,
    notes: Vec<String>,
}

impl Watched {
    /// A file of that name in a folder of its own, or the folder itself.
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join(name);
        Self {
            folder,
            source,
            positions: Positions::default(),
            follower: None,
            extract: table(),
            notes: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn gzip(&self, from: &str, to: &str) {
        let file = fs::File::create(self.path(to)).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        gzip.write_all(&fs::read(self.path(from)).unwrap()).unwrap();
        gzip.finish().unwrap();
    }

    /// The process ends here, and begins again with what it kept.
    fn stop(&mut self) {
        let stored = serde_json::to_string(&self.positions).unwrap();
        self.positions = serde_json::from_str(&stored).unwrap();
        self.follower = None;
    }

    fn look(&mut self, to_the_end: bool) -> Result<(String, Polled), FollowError> {
        let mut follower = match self.follower.take() {
            Some(follower) => follower,
            None => Follower::new(&self.source, self.extract.clone(), &self.positions)?,
        };
        let mut names = Vec::new();
        let (positions, notes) = (&mut self.positions, &mut self.notes);
        let polled = follower.poll(to_the_end, &mut |batch: Batch| {
            names.extend(batch.events.iter().map(|seen| seen.event.entity.clone()));
            positions.reach(batch.marks);
            notes.extend(batch.notes.iter().map(ToString::to_string));
            Ok(())
        })?;
        self.follower = Some(follower);
        Ok((names.join(" "), polled))
    }

    fn new_names(&mut self) -> String {
        self.look(false).unwrap().0
    }
}

#[test]
fn only_whole_lines_are_handed_on_and_positions_survive_a_stop() {
    let mut watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\nben,10.");
    assert_eq!(watched.new_names(), "ana");
    assert_eq!(watched.new_names(), "");
    watched.append("log.csv", "0.0.2\n");
    assert_eq!(watched.new_names(), "ben");
    watched.stop();
    watched.append("log.csv", "cat,10.0.0.3\n\ndan,10.0.0.4\n");
    assert_eq!(watched.new_names(), "cat dan");
    watched.stop();
    assert_eq!(watched.new_names(), "");
}

#[test]
fn a_last_line_without_its_end_is_read_again_when_it_goes_on() {
    let mut watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\nben,10.0.0.1");
    assert_eq!(watched.look(true).unwrap().0, "ana ben");
    watched.stop();
    assert_eq!(watched.look(true).unwrap().0, "");
    watched.append("log.csv", "2\ncat,10.0.0.3\n");
    assert_eq!(watched.look(true).unwrap().0, "ben cat");
    assert_eq!(watched.look(true).unwrap().0, "");
}

#[test]
fn places_are_where_the_lines_begin() {
    let watched = Watched::new("log.csv");
    let text = "who,from\r\nana,10.0.0.1\r\nbroken\nben,10.0.0.2\n";
    watched.append("log.csv", text);
    let mut follower = Follower::new(&watched.source, table(), &Positions::default()).unwrap();
    let mut all = Batch::default();
    follower
        .poll(false, &mut |batch| {
            all = batch;
            Ok(())
        })
        .unwrap();
    for seen in &all.events {
        let at = text.find(&seen.event.entity).unwrap();
        assert_eq!(seen.place.to_string(), format!("byte {at}"));
        assert_eq!(&*seen.file, watched.source.to_str().unwrap());
    }
    assert_eq!((all.summary.records, all.summary.malformed), (3, 1));
    let place = all.summary.malformed_examples[0].fault.place.to_string();
    assert_eq!(place, format!("from byte {}", text.find("broken").unwrap()));
}

#[test]
fn a_renamed_file_is_read_to_its_end_while_its_successor_begins() {
    for name in ["log.csv", ""] {
        let mut watched = Watched::new(name);
        watched.append("log.csv", "who,from\nana,10.0.0.1\n");
        assert_eq!(watched.new_names(), "ana");
        watched.append("log.csv", "ben,10.0.0.2\n");
        watched.rename("log.csv", "log.csv.1");
        // Whoever writes has not opened the new one yet.
        watched.append("log.csv.1", "cat,10.0.0.3\n");
        assert_eq!(watched.new_names(), "ben cat");
        watched.append("log.csv", "who,from\ndan,10.0.0.4\n");
        watched.append("log.csv.1", "eve,10.0.0.5\n");
        let mut names: Vec<String> = watched.new_names().split(' ').map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["dan", "eve"]);
        watched.stop();
        watched.append("log.csv", "fay,10.0.0.6\n");
        assert_eq!(watched.new_names(), "fay");
        // Compressed, it is still the same.
        watched.gzip("log.csv.1", "log.csv.1.gz");
        fs::remove_file(watched.path("log.csv.1")).unwrap();
        assert_eq!(watched.new_names(), "");
        watched.stop();
        assert_eq!(watched.new_names(), "");
    }
}

#[test]
fn a_file_moved_elsewhere_is_read_to_its_end() {
    let mut watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\n");
    assert_eq!(watched.new_names(), "ana");
    let elsewhere = tempfile::tempdir().unwrap();
    watched.append("log.csv", "ben,10.0.0.2\n");
    fs::rename(watched.path("log.csv"), elsewhere.path().join("old")).unwrap();
    watched.append("log.csv", "who,from\ncat,10.0.0.3\n");
    assert_eq!(watched.new_names(), "ben cat");
}

#[test]
fn rotations_that_nobody_saw_lose_nothing() {
    for packed in [false, true] {
        let mut watched = Watched::new("log.csv");
        watched.append("log.csv.1", "who,from\nold,10.0.0.9\n");
        let old = OpenOptions::new()
            .write(true)
            .open(watched.path("log.csv.1"))
            .unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        watched.append("log.csv", "who,from\nana,10.0.0.1\n");
        assert_eq!(watched.new_names(), "ana");
        watched.stop();
        watched.append("log.csv", "ben,10.0.0.2\n");
        watched.rename("log.csv.1", "log.csv.3");
        watched.rename("log.csv", "log.csv.2");
        watched.append("log.csv.1", "who,from\ncat,10.0.0.3\n");
        watched.append("log.csv", "who,from\ndan,10.0.0.4\n");
        if packed {
            watched.gzip("log.csv.2", "log.csv.2.gz");
            fs::remove_file(watched.path("log.csv.2")).unwrap();
        }
        let mut names: Vec<String> = watched.new_names().split(' ').map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["ben", "cat", "dan"], "{packed}");
        assert_eq!(watched.new_names(), "");
    }
}

/// As logrotate's `copytruncate` does it.
fn copy_and_cut(watched: &Watched, to: &str) {
    fs::copy(watched.path("log.csv"), watched.path(to)).unwrap();
    cut(watched);
}

fn cut(watched: &Watched) {
    let file = OpenOptions::new()
        .write(true)
        .open(watched.path("log.csv"))
        .unwrap();
    file.set_len(0).unwrap();
}

#[test]
fn a_copied_and_cut_file_goes_on_in_its_copy() {
    for name in ["log.csv", ""] {
        let mut watched = Watched::new(name);
        watched.append("log.csv", "who,from\nana,10.0.0.1\n");
        assert_eq!(watched.new_names(), "ana");
        watched.append("log.csv", "ben,10.0.0.2\n");
        copy_and_cut(&watched, "log.csv.1");
        assert_eq!(watched.new_names(), "ben", "{:?}", watched.notes);
        // Already longer than before when it is looked at.
        watched.append("log.csv", "who,from\ncat,10.0.0.3\ndan,10.0.0.4\neve,10.0.0.5\n");
        assert_eq!(watched.new_names(), "cat dan eve");

        // The copy is there before the file is cut.
        watched.append("log.csv", "fay,10.0.0.6\n");
        watched.rename("log.csv.1", "log.csv.2");
        fs::copy(watched.path("log.csv"), watched.path("log.csv.1")).unwrap();
        assert_eq!(watched.new_names(), "fay");
        cut(&watched);
        assert_eq!(watched.new_names(), "");
        watched.stop();
        watched.append("log.csv", "who,from\ngus,10.0.0.7\n");
        assert_eq!(watched.new_names(), "gus");

        // While nobody looked.
        watched.stop();
        watched.append("log.csv", "hal,10.0.0.8\n");
        watched.rename("log.csv.2", "log.csv.3");
        watched.rename("log.csv.1", "log.csv.2");
        copy_and_cut(&watched, "log.csv.1");
        watched.append("log.csv", "who,from\nivy,10.0.0.9\n");
        let mut names: Vec<String> = watched.new_names().split(' ').map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["hal", "ivy"], "{:?}", watched.notes);
        for _ in 0..10 {
            assert_eq!(watched.new_names(), "");
        }
        assert!(
            !watched.notes.iter().any(|note| note.contains("nowhere")),
            "{:?}",
            watched.notes
        );
    }
}

#[test]
fn what_was_cut_without_a_copy_is_told() {
    let mut watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\n");
    assert_eq!(watched.new_names(), "ana");
    cut(&watched);
    watched.append("log.csv", "who,from\nben,10.0.0.2\n");
    assert_eq!(watched.new_names(), "ben");
    for _ in 0..10 {
        watched.new_names();
    }
    assert_eq!(watched.notes.len(), 1, "{:?}", watched.notes);
    assert!(
        watched.notes[0].contains("after byte 22 is nowhere"),
        "{:?}",
        watched.notes
    );
}

#[test]
fn a_folder_gets_files_of_any_depth_and_gzip_only_when_it_is_whole() {
    let mut watched = Watched::new("");
    watched.append("a.csv", "who,from\nana,10.0.0.1\n");
    watched.append(".hidden", "x\n");
    assert_eq!(watched.new_names(), "ana");
    watched.append("2026/11/28/b.csv", "who,from\nben,10.0.0.2\n");
    watched.append("plain", "who,from\ncat,10.0.0.3\n");
    watched.gzip("plain", "2026/c.csv.gz");
    fs::remove_file(watched.path("plain")).unwrap();
    let whole = fs::read(watched.path("2026/c.csv.gz")).unwrap();
    fs::write(watched.path("2026/c.csv.gz"), &whole[..whole.len() - 3]).unwrap();
    let (names, polled) = watched.look(true).unwrap();
    assert_eq!((&*names, polled.waiting), ("ben", 1));
    fs::write(watched.path("2026/c.csv.gz"), whole).unwrap();
    let (names, polled) = watched.look(false).unwrap();
    assert_eq!((&*names, polled.waiting), ("cat", 0));
    watched.stop();
    watched.append("a.csv", "dan,10.0.0.4\n");
    assert_eq!(watched.new_names(), "dan");
    // Files that are gone are forgotten.
    fs::remove_file(watched.path("a.csv")).unwrap();
    watched.new_names();
    assert_eq!(watched.positions.len(), 2);
}

#[test]
fn what_comes_after_a_gzip_stream_is_told_once() {
    let mut watched = Watched::new("");
    watched.append("plain", "who,from\nana,10.0.0.1\n");
    watched.gzip("plain", "a.csv.gz");
    fs::remove_file(watched.path("plain")).unwrap();
    watched.append("a.csv.gz", "ben,10.0.0.2\n");
    let note = format!(
        "`{}`: what comes after the gzip stream is not gzip, and is not read",
        watched.path("a.csv.gz").display()
    );
    assert_eq!(watched.new_names(), "ana");
    watched.append("a.csv.gz", "cat,10.0.0.3\n");
    for _ in 0..3 {
        assert_eq!(watched.look(true).unwrap().0, "");
    }
    watched.stop();
    assert_eq!(watched.look(true).unwrap().0, "");
    assert_eq!(watched.notes, [note]);
}

#[test]
fn another_log_with_the_same_rows_is_no_copy() {
    let mut watched = Watched::new("");
    watched.append("a.csv", "who,from\nana,10.0.0.1\n");
    assert_eq!(watched.new_names(), "ana");
    watched.append("b.csv", "who,from\nana,10.0.0.1\n");
    assert_eq!(watched.new_names(), "ana");
}

fn trail(names: &[&str]) -> String {
    let records = names.iter().map(|name| {
        format!(
            "{{\"eventVersion\": \"1.08\",\n \"eventTime\": \"2026-11-28T04:00:00Z\", \"sourceIPAddress\": \"10.0.0.1\",\n \
             \"userIdentity\": {{\"type\": \"IAMUser\", \"principalId\": \"{name}\"}}}}"
        )
    });
    format!("{{\"Records\": [{}]}}", records.collect::<Vec<_>>().join(",\n"))
}

#[test]
fn a_document_comes_when_it_is_whole_and_grows_by_records() {
    let mut watched = Watched::new("");
    watched.extract = Extract::guessing().policy(everything());
    let text = trail(&["ana", "ben"]);
    fs::write(watched.path("a.json"), &text[..text.len() - 4]).unwrap();
    for _ in 0..3 {
        let (names, polled) = watched.look(false).unwrap();
        assert_eq!((&*names, polled.waiting), ("", 1));
    }
    fs::write(watched.path("a.json"), &text).unwrap();
    assert_eq!(watched.new_names(), "ana ben");
    watched.stop();
    assert_eq!(watched.new_names(), "");
    // Another document after it.
    watched.append("a.json", &format!("\n{}", trail(&["cat"])));
    assert_eq!(watched.new_names(), "cat");
    // One line each: these are lines.
    let line = trail(&["dan"]).replace('\n', "") + "\n";
    watched.append("b.json", &line);
    assert_eq!(watched.new_names(), "dan");
    watched.append("b.json", &line.replace("dan", "eve"));
    assert_eq!(watched.new_names(), "eve");
}

#[test]
fn a_document_that_was_cut_does_not_keep_the_one_after_it_waiting() {
    let mut watched = Watched::new("");
    watched.extract = Extract::guessing().policy(everything()).on_error(OnError::Skip);
    let text = trail(&["ana", "ben"]);
    // The next document stands where a value was to come.
    let cut = &text[..text.rfind("\"ben").unwrap()];
    fs::write(watched.path("a.json"), format!("{cut}\n{}", trail(&["cat"]))).unwrap();
    assert_eq!(watched.new_names(), "ana cat");
}

#[test]
fn a_broken_json_line_takes_no_other_with_it() {
    let mut watched = Watched::new("log.json");
    watched.extract = Extract::guessing().policy(everything()).on_error(OnError::Skip);
    let line = |name: &str| trail(&[name]).replace('\n', "") + "\n";
    let broken = line("x");
    watched.append(
        "log.json",
        &(line("ana") + &broken[..broken.len() / 2] + "\n" + &line("ben") + &line("cat")),
    );
    assert_eq!(watched.new_names(), "ana ben cat");
}

#[test]
fn many_events_come_in_batches_and_a_stop_between_them_repeats_little() {
    let mut watched = Watched::new("log.csv");
    let rows: String = (0..100_000).map(|i| format!("e{i},10.0.0.1\n")).collect();
    watched.append("log.csv", &format!("who,from\n{rows}"));
    let mut seen = std::collections::BTreeSet::new();
    let mut total = 0;
    loop {
        let mut follower = Follower::new(&watched.source, table(), &watched.positions).unwrap();
        let mut batches = 0;
        let positions = &mut watched.positions;
        let result = follower.poll(false, &mut |batch| {
            batches += 1;
            for event in &batch.events {
                seen.insert(event.event.entity.clone());
            }
            total += batch.events.len();
            if batches == 3 {
                // Killed before the positions were kept.
                return Err(access_events::format::Stopped);
            }
            positions.reach(batch.marks);
            Ok(())
        });
        match result {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, FollowError::Stopped)),
        }
    }
    assert_eq!(seen.len(), 100_000);
    assert!((100_000..300_000).contains(&total), "{total}");
}

/// The first batch of all says only where it began.
#[test]
fn a_log_that_is_rotated_after_a_first_look_that_dealt_with_nothing_is_read() {
    let watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\n");
    let mut follower = Follower::new(&watched.source, table(), &Positions::default()).unwrap();
    let mut positions = Positions::default();
    let result = follower.poll(false, &mut |batch| {
        if !batch.events.is_empty() {
            return Err(access_events::format::Stopped);
        }
        positions.reach(batch.marks);
        Ok(())
    });
    assert!(matches!(result, Err(FollowError::Stopped)));
    watched.rename("log.csv", "log.csv.1");
    watched.append("log.csv", "who,from\nben,10.0.0.2\n");
    let mut watched = Watched { positions, ..watched };
    assert_eq!(watched.new_names(), "ana ben");
}

#[test]
fn only_what_is_new_from_now_on() {
    let watched = Watched::new("log.csv");
    watched.append("log.csv", "who,from\nana,10.0.0.1\nbe");
    let follower = Follower::new(&watched.source, table(), &Positions::default()).unwrap();
    let mut watched = Watched {
        follower: Some(follower.only_new(true)),
        ..watched
    };
    assert_eq!(watched.new_names(), "");
    watched.append("log.csv", "n,10.0.0.2\n");
    assert_eq!(watched.new_names(), "ben");
    watched.stop();
    assert_eq!(watched.new_names(), "");
}

#[test]
fn what_is_no_log_is_refused_or_left_out() {
    let mut watched = Watched::new("log");
    watched.extract = Extract::guessing();
    let missing = watched.look(true).unwrap_err();
    assert!(matches!(missing, FollowError::Source { .. }), "{missing}");
    watched.append("log", "who knows\n");
    let unknown = watched.look(true).unwrap_err().to_string();
    assert!(unknown.ends_with("name its format"), "{unknown}");
    watched.append("zip", "PK\u{3}\u{4}");
    watched.source = Path::new(&watched.path("zip")).to_owned();
    let foreign = watched.look(true).unwrap_err().to_string();
    assert!(foreign.contains("this is a zip archive"), "{foreign}");
    watched.extract = Extract::guessing().on_error(OnError::Skip);
    watched.source = watched.folder.path().to_owned();
    assert_eq!(watched.look(true).unwrap().0, "");
    assert_eq!(watched.notes.len(), 2, "{:?}", watched.notes);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_is_told_once_and_tried_again() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let mut watched = Watched::new("");
    watched.append("a.csv", "who,from\nana,10.0.0.1\n");
    let path = watched.path("a.csv");
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    // Whoever may read everything reads this as well.
    let readable = fs::File::open(&path).is_ok();
    let (names, polled) = watched.look(false).unwrap();
    assert_eq!(
        (names.is_empty(), polled.waiting),
        (!readable, u64::from(!readable))
    );
    watched.new_names();
    assert_eq!(watched.notes.len(), usize::from(!readable), "{:?}", watched.notes);
    set(0o600);
    assert_eq!(watched.new_names().is_empty(), readable);
    // A link that leads nowhere, and a folder that lies in itself, are no files.
    symlink("nowhere", watched.path("link")).unwrap();
    symlink(".", watched.path("loop")).unwrap();
    assert_eq!(watched.new_names(), "");
}

#[test]
fn a_folder_that_is_away_for_a_moment_is_waited_for_with_its_positions() {
    let mut watched = Watched::new("logs");
    watched.append("logs/a.csv", "who,from\nana,10.0.0.1\n");
    assert_eq!(watched.new_names(), "ana");
    watched.rename("logs", "elsewhere");
    let error = watched.look(false).unwrap_err();
    assert!(
        matches!(&error, FollowError::Source { path, .. } if *path == watched.source),
        "{error:?}"
    );
    watched.stop();
    let error = watched.look(false).unwrap_err();
    assert!(matches!(error, FollowError::Source { .. }), "{error:?}");
    watched.rename("elsewhere", "logs");
    watched.append("logs/a.csv", "ben,10.0.0.2\n");
    assert_eq!(watched.new_names(), "ben");
}

#[cfg(unix)]
#[test]
fn a_folder_in_it_that_cannot_be_looked_into_ends_nothing_and_loses_nothing() {
    use std::os::unix::fs::symlink;

    let mut watched = Watched::new("logs");
    watched.append("logs/deep/a.csv", "who,from\nana,10.0.0.1\n");
    watched.append("logs/b.csv", "who,from\nben,10.0.0.2\n");
    assert_eq!(watched.new_names(), "ben ana");
    watched.rename("logs/deep", "away");
    // What leads to itself cannot be looked into, whoever looks.
    symlink("deep", watched.path("logs/deep")).unwrap();
    watched.append("logs/b.csv", "bob,10.0.0.3\n");
    assert_eq!(watched.new_names(), "bob");
    for _ in 0..10 {
        assert_eq!(watched.new_names(), "");
    }
    assert_eq!(watched.notes.len(), 1, "told once: {:?}", watched.notes);
    assert!(watched.notes[0].contains("deep"), "{:?}", watched.notes);
    watched.stop();
    assert_eq!(watched.new_names(), "");
    fs::remove_file(watched.path("logs/deep")).unwrap();
    watched.rename("away", "logs/deep");
    watched.append("logs/deep/a.csv", "amy,10.0.0.4\n");
    assert_eq!(watched.new_names(), "amy");
}

#[cfg(unix)]
#[test]
fn a_file_of_several_names_is_one_file() {
    use std::os::unix::fs::symlink;

    let mut watched = Watched::new("logs");
    watched.append("logs/a.csv", "who,from\nana,10.0.0.1\n");
    fs::hard_link(watched.path("logs/a.csv"), watched.path("logs/c.csv")).unwrap();
    symlink("a.csv", watched.path("logs/0.csv")).unwrap();
    // Folders that lead to one another.
    watched.append("logs/one/b.csv", "who,from\nben,10.0.0.2\n");
    fs::create_dir(watched.path("logs/two")).unwrap();
    symlink("../two", watched.path("logs/one/two")).unwrap();
    symlink("../one", watched.path("logs/two/one")).unwrap();
    for names in ["ana ben", "", ""] {
        assert_eq!(watched.new_names(), names);
    }
    watched.append("logs/c.csv", "amy,10.0.0.4\n");
    assert_eq!(watched.new_names(), "amy");
    assert!(watched.notes.is_empty(), "{:?}", watched.notes);

    // As a server names the log of the day.
    let mut watched = Watched::new("log.csv");
    watched.append("log.csv-20260101", "who,from\nana,10.0.0.1\n");
    symlink("log.csv-20260101", &watched.source).unwrap();
    for names in ["ana", "", ""] {
        assert_eq!(watched.new_names(), names);
    }
    watched.append("log.csv-20260101", "ben,10.0.0.2\n");
    watched.append("log.csv-20260102", "who,from\ncat,10.0.0.3\n");
    fs::remove_file(&watched.source).unwrap();
    symlink("log.csv-20260102", &watched.source).unwrap();
    assert_eq!(watched.new_names(), "ben cat");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_is_not_unicode_is_left_out_and_told() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let name = OsStr::from_bytes(b"b\xff.csv");
    let mut watched = Watched::new("logs");
    watched.append("logs/a.csv", "who,from\nana,10.0.0.1\n");
    fs::copy(watched.path("logs/a.csv"), watched.source.join(name)).unwrap();
    for names in ["ana", "", ""] {
        assert_eq!(watched.new_names(), names);
        watched.stop();
    }
    watched.notes.clear();
    watched.new_names();
    watched.new_names();
    assert_eq!(watched.notes.len(), 1, "{:?}", watched.notes);
    assert!(
        watched.notes[0].contains("its name is not Unicode"),
        "{:?}",
        watched.notes
    );
    let source = watched.source.join(name);
    let error = Follower::new(source, table(), &Positions::default()).unwrap_err();
    assert!(matches!(error, FollowError::Source { .. }), "{error:?}");
}
