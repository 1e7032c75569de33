//! Rules: each rule of the standards that we promise to keep is cited by some test, as
//! `correctness: H6`.

use std::collections::BTreeSet;

use gtvision_tests::workspace;

/// LL-HLS (rfc8216bis), fMP4 and CMAF, WHEP (RFC 9725), RTSP and RTP.
const RULES: &[(&str, u32)] = &[("H", 15), ("F", 5), ("W", 5), ("R", 3)];

#[test]
fn every_rule_is_cited_by_a_test() {
    let mut cited = BTreeSet::new();
    let files = workspace::tracked(".rs").unwrap();
    // This very file cites a rule as an example.
    for file in files.into_iter().filter(|file| !file.ends_with("tidy/rules.rs")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter_map(|line| line.split_once("correctness: ")) {
            // "correctness: H6, H7 and H8"
            let words = line.1.split(|character: char| !character.is_ascii_alphanumeric());
            cited.extend(words.map(str::to_owned));
        }
    }
    let missing: Vec<String> = RULES
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}{number}")))
        .filter(|rule| !cited.contains(rule))
        .collect();
    assert!(missing.is_empty(), "no test cites {missing:?}");
}
