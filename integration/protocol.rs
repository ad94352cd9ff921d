//! The protocol: what goes in and out of the process (CNI 1.1.0, sections 2, 4 and 5), and what
//! delegates are given.

mod delegate_request;
mod request;
mod result;

use serde_json::Value;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
