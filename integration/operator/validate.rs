//! `validate`: all problems of a file at once, each at its place.

mod configuration;
mod definitions;
mod pods;

use crate::node::Node;
use crate::operator::Tool;

fn validate(name: &str, text: &str) -> String {
    let node = Node::new();
    node.write(name, text);
    Tool::new(&node, &["validate", &node.path_text(name)]).run().snapshot()
}
