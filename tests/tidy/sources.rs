//! Sources: what every file of ours has.

use gtvision_tests::workspace;

/// A file that long holds more than one idea (tests and tables included).
const LINES_MAX: usize = 800;

#[test]
fn every_source_file_begins_with_its_header() {
    for file in workspace::tracked(".rs").unwrap() {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{}: the first line is not a //! header", file.display());
    }
}

#[test]
fn no_source_file_is_longer_than_800_lines() {
    let long: Vec<_> = workspace::tracked(".rs")
        .unwrap()
        .into_iter()
        .map(|file| (std::fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn no_test_is_switched_off() {
    // Put together here so that this file does not hold what it looks for.
    let banned = [concat!("#[ig", "nore"), concat!("#[should_", "panic")];
    for file in workspace::tracked(".rs").unwrap() {
        let text = std::fs::read_to_string(&file).unwrap();
        for banned in banned {
            assert!(!text.contains(banned), "{} has {banned}", file.display());
        }
    }
}
