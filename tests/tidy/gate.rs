//! Gate: where a grant is made without asking who is there, which must be where nobody is.

use gtvision_tests::workspace;

/// Files in which the server acts on its own behalf, or a test does.
const ON_OWN_BEHALF: &[&str] = &[
    // Recording and remuxing ahead of viewers; what comes of it is given out by the gate.
    "server/src/egress/hls/muxers.rs",
    "server/src/egress/recorder/mod.rs",
    // The operator's configuration says where to.
    "server/src/egress/forward/session.rs",
    // Tests.
    "media-core/src/egress/hls/tests.rs",
    "media-core/src/gate/tests.rs",
    "server/src/egress/webrtc/sender.rs",
    "storage/src/tests.rs",
];

/// Files in which anyone may do everything: a test's access.
const OPEN: &[&str] = &["server/src/access/mod.rs"];

/// Files of ours that hold a text, by their names within the tree.
fn holding(text: &str) -> Vec<String> {
    let files = workspace::tracked(".rs").unwrap().into_iter();
    let found = files.filter(|file| std::fs::read_to_string(file).unwrap().contains(text));
    found.map(|file| file.strip_prefix(workspace::root()).unwrap().to_string_lossy().into_owned()).collect()
}

// correctness: S1
#[test]
fn grants_are_made_without_asking_only_where_nobody_is() {
    // Put together here so that this file does not hold what it looks for.
    for (text, allowed) in
        [(concat!("Gate::on_", "own_behalf("), ON_OWN_BEHALF), (concat!("Gate::", "open("), OPEN)]
    {
        let elsewhere: Vec<_> =
            holding(text).into_iter().filter(|file| !allowed.contains(&file.as_str())).collect();
        assert!(elsewhere.is_empty(), "{text}) stands in {elsewhere:?}");
    }
}
