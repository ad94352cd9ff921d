use super::*;

#[test]
fn a_value_of_a_query_cannot_end_it() {
    assert_eq!(escaped("node-1.example"), "node-1.example");
    assert_eq!(escaped("a&b=c/d ä"), "a%26b%3Dc%2Fd%20%C3%A4");
}

#[test]
fn waits_grow_to_half_a_minute() {
    let mut wait = FIRST_WAIT;
    let waits: Vec<Duration> = (0..20).map(|_| next(&mut wait)).collect();
    assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT / 2);
    assert!(waits[19] <= LONGEST_WAIT && waits[19] >= LONGEST_WAIT / 2);
}
