//! What decoders of foreign bytes are held to: for each a function from bytes to nothing, which
//! panics if a property does not hold.
//!
//! libFuzzer runs them (`fuzz/targets`, by `scripts/fuzz`), and `integration/corpus.rs` runs them
//! over the corpus.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a property that does not hold is said by a panic"
)]

mod annotation;
mod api_answer;
mod build_id;
mod bus;
mod configuration;
mod definition;
mod delegate;
mod device_info;
mod genie;
mod manifest;
mod multus_cache;
mod nft;
mod pod_resources;
mod prev_result;
mod record;
mod request;
mod result;

use std::fmt::Display;
use std::path::Path;

use cni::error::{Code, Error};
use cni::version::Version;

pub use annotation::annotation;
pub use api_answer::api_answer;
pub use build_id::build_id;
pub use bus::bus;
pub use configuration::configuration;
pub use definition::definition;
pub use delegate::delegate;
pub use device_info::device_info;
pub use genie::genie;
pub use manifest::manifest;
pub use multus_cache::multus_cache;
pub use nft::nft;
pub use pod_resources::pod_resources;
pub use prev_result::prev_result;
pub use record::record;
pub use request::request;
pub use result::result;

/// Holds a decoder to its properties for one input.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its executable, and of its directory in `corpus`.
pub const TARGETS: [(&str, Target); 17] = [
    ("annotation", annotation),
    ("api_answer", api_answer),
    ("build_id", build_id),
    ("bus", bus),
    ("configuration", configuration),
    ("definition", definition),
    ("delegate", delegate),
    ("device_info", device_info),
    ("genie", genie),
    ("manifest", manifest),
    ("multus_cache", multus_cache),
    ("nft", nft),
    ("pod_resources", pod_resources),
    ("prev_result", prev_result),
    ("record", record),
    ("request", request),
    ("result", result),
];

/// A failure as it is told: one bounded line, also on DEL, where containerd takes some words for
/// success.
fn assert_told_well(problem: &dyn Display) {
    let error =
        Error::new(Code::CONFIG, problem).with_details(problem).about("pod team-a/web").for_del();
    let printed = error.to_value(Version::NEWEST);
    for (key, most) in [("msg", 1000), ("details", 4000)] {
        let text = printed[key].as_str().unwrap_or_default();
        assert!(text.chars().count() <= most, "{key} is too long: {text}");
        assert!(!text.chars().any(char::is_control), "{key} is more than a line: {text:?}");
        let folded = text.to_ascii_lowercase();
        let success = ["not found", "no such file or directory"]
            .iter()
            .find(|words| folded.contains(**words));
        assert_eq!(success, None, "{key}: {text}");
    }
}

/// A name that becomes the last part of a path leads nowhere else.
fn assert_file_name(name: &str) {
    let path = Path::new("/directory").join(name);
    assert_eq!(path.parent(), Some(Path::new("/directory")), "{name:?}");
    assert_eq!(path.file_name().and_then(|last| last.to_str()), Some(name));
    assert!(name.len() <= 255 && !name.contains(['/', '\0']), "{name:?}");
}
