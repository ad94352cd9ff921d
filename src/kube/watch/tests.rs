use super::*;

#[test]
fn a_value_of_a_query_cannot_end_it() {
    assert_eq!(escaped("node-1.example"), "node-1.example");
    assert_eq!(escaped("a&b=c/d ä"), "a%26b%3Dc%2Fd%20%C3%A4");
}
