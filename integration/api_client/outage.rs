//! Servers that are busy, away, silent, or answer with what is no answer.

use braid::internals::kube::ClusterError;
use serde_json::json;

use super::{BLUE, blue, cluster, cluster_within, ms, server_and_cluster, timed, wanted};
use crate::apiserver::{ApiServer, Fault, Setup};

#[test]
fn the_time_that_a_busy_server_asks_for_is_waited() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::busy(429, 1));
    timed(ms(1000), ms(5000), || blue(&mut cluster)).unwrap();
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
}

#[test]
fn a_wait_beyond_the_limit_is_not_begun() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::busy(429, 60));
    let error = timed(ms(0), ms(3000), || blue(&mut cluster)).unwrap_err();
    let expected = format!(
        "the API server at {} is overloaded: 429: Too many requests, please try again later. (it \
         asks to wait 60 s)",
        server.name()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.is_outage());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn errors_of_the_server_are_asked_again_a_few_times() {
    for status in [500, 502, 503, 504] {
        let (server, mut cluster) = server_and_cluster();
        let fault = Fault::status(status, "InternalError", "etcdserver: leader changed");
        server.times(2, &fault);
        timed(ms(150), ms(4000), || blue(&mut cluster)).unwrap();
        assert_eq!(server.requests().len(), 3);
        server.times(5, &fault);
        let error = timed(ms(700), ms(6000), || blue(&mut cluster)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the API server at {} cannot answer now: {status}: etcdserver: leader changed",
                server.name()
            )
        );
        assert!(error.is_outage());
        assert_eq!((server.requests().len(), server.connections()), (8, 1));
    }
}

#[test]
fn other_refusals_are_final() {
    for status in [300, 400, 405, 406, 410, 413, 415] {
        let (server, mut cluster) = server_and_cluster();
        server.next("", Fault::Answer(status, vec![], "<html>\nno</html>".to_owned()));
        let error = blue(&mut cluster).unwrap_err();
        assert!(matches!(error, ClusterError::Answer { .. }) && !error.is_outage(), "{error:?}");
        assert!(error.to_string().ends_with(&format!("{status}: <html> no</html>")), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_server_that_is_away_is_an_outage_soon() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    let error = timed(ms(700), ms(6000), || blue(&mut cluster)).unwrap_err();
    let ClusterError::Unreachable { problem, .. } = &error else { panic!("{error:?}") };
    assert!(problem.contains("Connection refused"), "{problem}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("the API server at {} cannot be reached: ", server.name()))
    );
    assert!(error.is_outage());
}

#[test]
fn a_server_that_comes_back_is_asked_on_a_new_connection() {
    for protocols in [vec!["h2"], vec!["http/1.1"]] {
        let mut server = ApiServer::with(Setup { protocols, ..Setup::default() });
        server.define("team-a", "blue", BLUE);
        let mut cluster = cluster(&server.usual_kubeconfig());
        blue(&mut cluster).unwrap();
        server.restart();
        timed(ms(0), ms(4000), || blue(&mut cluster)).unwrap();
        assert_eq!((server.requests().len(), server.connections()), (2, 2));
    }
}

#[test]
fn a_server_that_comes_back_while_it_is_asked_answers() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    let back = std::thread::spawn(move || {
        std::thread::sleep(ms(250));
        server.restart();
        server
    });
    blue(&mut cluster).unwrap();
    drop(back.join().unwrap());
}

#[test]
fn a_connection_that_ends_before_the_answer_does_is_made_again() {
    for fault in [Fault::Close, Fault::HalfClose, Fault::Cut] {
        for protocols in [vec!["h2"], vec!["http/1.1"]] {
            let server = ApiServer::with(Setup { protocols, ..Setup::default() });
            server.define("team-a", "blue", BLUE);
            let mut cluster = cluster(&server.usual_kubeconfig());
            server.times(2, &fault);
            timed(ms(100), ms(6000), || blue(&mut cluster))
                .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!(server.requests().len(), 3, "{fault:?}");
            server.times(10, &fault);
            let error = timed(ms(500), ms(6000), || blue(&mut cluster)).unwrap_err();
            assert!(matches!(error, ClusterError::Unreachable { .. }), "{fault:?}: {error:?}");
        }
    }
}

#[test]
fn no_answer_is_waited_for_beyond_the_limit() {
    for protocols in [vec!["h2"], vec!["http/1.1"]] {
        let server = ApiServer::with(Setup { protocols, ..Setup::default() });
        server.define("team-a", "blue", BLUE);
        let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
        server.next("", Fault::Hang);
        let error = timed(ms(1500), ms(3500), || blue(&mut cluster)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the API server at {} did not answer within 1.5 s", server.name())
        );
        assert!(error.is_outage());
        blue(&mut cluster).unwrap();
        server.next("", Fault::Late(ms(5000)));
        timed(ms(1500), ms(3500), || blue(&mut cluster)).unwrap_err();
    }
}

#[test]
fn one_answer_that_does_not_come_leaves_the_others() {
    let (server, _) = server_and_cluster();
    server.define("ops", "red", BLUE);
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
    server.next("/red", Fault::Hang);
    let answers =
        timed(ms(1500), ms(3500), || cluster.definitions(&wanted(&["team-a/blue", "ops/red"])));
    assert!(answers[0].is_ok() && answers[1].as_ref().unwrap_err().is_outage(), "{answers:?}");
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_is_an_outage_in_time() {
    let (server, _) = server_and_cluster();
    server.be_mute(true);
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1000));
    let asked = wanted(&["team-a/blue", "ops/red", "ops/green"]);
    let answers = timed(ms(500), ms(3000), || cluster.definitions(&asked));
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().is_outage()), "{answers:?}");
    assert!(server.connections() >= 2, "a second try needs time too");
}

#[test]
fn connect_ahead_makes_the_connection_of_the_calls_that_follow() {
    let (server, mut cluster) = server_and_cluster();
    cluster.connect_ahead();
    timed(ms(0), ms(5000), || {
        while server.connections() == 0 {
            std::thread::sleep(ms(1));
        }
    });
    assert_eq!((server.requests().len(), cluster.was_asked()), (0, false));
    blue(&mut cluster).unwrap();
    cluster.connect_ahead();
    blue(&mut cluster).unwrap();
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
}

#[test]
fn a_connection_that_fails_ahead_is_the_calls_first_attempt() {
    let (server, _) = server_and_cluster();
    server.be_mute(true);
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(2000));
    cluster.connect_ahead();
    let error = timed(ms(1000), ms(2900), || blue(&mut cluster)).unwrap_err();
    assert!(error.is_outage(), "{error}");
    assert_eq!(server.connections(), 2);
    let mut cluster = cluster_within(&server.directory().join("none"), ms(2000));
    let expected = blue(&mut cluster).unwrap_err().to_string();
    let mut cluster = cluster_within(&server.directory().join("none"), ms(2000));
    cluster.connect_ahead();
    assert_eq!(blue(&mut cluster).unwrap_err().to_string(), expected);
}

#[test]
fn a_server_name_that_no_one_knows_is_an_outage_in_time() {
    let server = ApiServer::start();
    let entry = json!({"server": "https://api.invalid:6443"});
    let mut cluster =
        cluster_within(&server.kubeconfig_for(entry, json!({"token": "t"})), ms(2000));
    let error = timed(ms(0), ms(3000), || blue(&mut cluster)).unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("api.invalid:6443"), "{error}");
}

#[test]
fn answers_are_bounded() {
    let (server, mut cluster) = server_and_cluster();
    server.next("", Fault::Flood(5 << 20));
    let error = timed(ms(0), ms(4000), || blue(&mut cluster)).unwrap_err().to_string();
    assert!(error.ends_with("cannot be used: it is larger than 4 MiB"), "{error}");
    server.define("team-a", "huge", &"x".repeat(1 << 20));
    let error = cluster.definitions(&wanted(&["team-a/huge"])).remove(0).unwrap_err();
    assert!(
        error.to_string().ends_with("a definition is at most 1 MiB") && !error.is_outage(),
        "{error}"
    );
    server.define("team-a", "large", &"x".repeat(1_000_000));
    cluster.definitions(&wanted(&["team-a/large"])).remove(0).unwrap();
}

#[test]
fn an_answer_that_is_no_object_is_an_error_and_no_outage() {
    for text in ["", "<html>login</html>", "{}", "null", "[", r#"{"metadata": {"name": 1}}"#] {
        let (server, mut cluster) = server_and_cluster();
        server.next("", Fault::Answer(200, vec![], text.to_owned()));
        let error = blue(&mut cluster).unwrap_err();
        assert!(
            matches!(error, ClusterError::Answer { .. }) && !error.is_outage(),
            "{text}: {error:?}"
        );
        assert_eq!(server.requests().len(), 1);
    }
}
