//! The checker is shown what it is there to see.

use super::*;

const PLAIN: Request = Request {
    expected: Expected::Outcome,
    hurried: false,
    homeless: false,
};

/// Ten requests; all acknowledged, and each answered with its own number but those in `but`.
fn ten(but: &[Id]) -> Checker {
    let mut checker = Checker::default();
    for _ in 0..10 {
        let id = checker.attempted(PLAIN);
        checker.acknowledged(id);
        if !but.contains(&id) {
            assert!(checker.replied(&id.to_string(), Said::Outcome(Some(id))));
        }
    }
    checker
}

fn rejection(code: &str) -> Said {
    Said::Rejection(code.to_owned())
}

#[test]
fn a_run_in_which_all_is_well_has_nothing_to_report() {
    let expected = Counts {
        attempt: 10,
        acknowledged: 10,
        ok: 10,
        ..Counts::default()
    };
    let checker = ten(&[]);
    assert_eq!(checker.counts(), expected);
    assert!(checker.settled());
}

#[test]
fn a_planted_lost_reply_is_reported() {
    let checker = ten(&[4]);
    let counts = checker.counts();
    assert_eq!((counts.ok, counts.lost), (9, 1));
    assert_eq!((checker.settled(), checker.lost()), (false, vec![4]));
    assert!(checker.waits_for(&checker.open()));
}

#[test]
fn a_planted_duplicate_is_reported_and_two_different_answers_apart_from_it() {
    let mut checker = ten(&[]);
    assert!(!checker.replied("3", Said::Outcome(Some(3))));
    assert_eq!(
        (checker.counts().duplicated, checker.counts().conflicting),
        (1, 0)
    );
    checker.replied("5", rejection("internal_fault"));
    let counts = checker.counts();
    assert_eq!((counts.duplicated, counts.conflicting), (2, 1));
    assert_eq!((counts.ok, counts.rejected, counts.unexpected), (10, 0, 0));
}

#[test]
fn outcomes_that_differ_in_their_bytes_are_reported_unless_nobody_was_there_to_remember() {
    let mut checker = ten(&[]);
    for (id, fingerprint) in [("3", 1), ("3", 2), ("4", 3), ("4", 4), ("5", 5), ("5", 5)] {
        checker.scored(id);
        checker.quoted(id, fingerprint);
    }
    assert_eq!(checker.counts().differing, 2);
    checker.forgotten("3");
    assert_eq!(checker.counts().differing, 1);
}

#[test]
fn a_planted_misrouted_reply_is_reported_and_its_request_lost() {
    let mut checker = ten(&[6]);
    checker.replied("7", Said::Outcome(Some(6)));
    let counts = checker.counts();
    assert_eq!((counts.unexpected, counts.lost, counts.ok), (1, 1, 9));
    assert!(
        checker.unexpected[0].starts_with("7,"),
        "{:?}",
        checker.unexpected
    );
}

#[test]
fn replies_to_nobody_or_that_say_what_they_must_not_are_unexpected() {
    let mut checker = ten(&[0, 1, 2, 3]);
    checker.replied("10", Said::Outcome(Some(10)));
    checker.replied("x", Said::Outcome(Some(1)));
    checker.buried("99", "poison", 0);
    checker.replied("0", rejection("unrepresentable"));
    checker.replied("1", rejection("deadline_exceeded"));
    checker.replied("2", rejection("unknown_package"));
    checker.replied("3", Said::Gibberish("?".into()));
    let counts = checker.counts();
    assert_eq!((counts.unexpected, counts.lost), (7, 4));
}

#[test]
fn a_request_ends_in_the_first_of_its_fates_and_in_one_alone() {
    let mut checker = ten(&[0, 1, 2, 3, 4]);
    checker.buried("0", "reply_undeliverable", 0);
    checker.destroyed("1");
    checker.replied("2", rejection("model_fault"));
    checker.buried("2", "poison", 0);
    checker.destroyed("3");
    checker.replied("3", Said::Outcome(Some(3)));
    let counts = checker.counts();
    assert_eq!(
        (counts.buried, counts.destroyed, counts.rejected),
        (1, 1, 1)
    );
    assert_eq!((counts.ok, counts.lost), (6, 1));
    let fates = counts.ok + counts.rejected + counts.buried + counts.destroyed + counts.lost;
    assert_eq!(fates, counts.acknowledged);
}

#[test]
fn what_each_kind_of_request_may_meet_is_no_surprise() {
    let mut checker = Checker::default();
    let hurried = Request {
        hurried: true,
        ..PLAIN
    };
    let homeless = Request {
        homeless: true,
        ..PLAIN
    };
    let wrong = Request {
        expected: Expected::Rejection("unrepresentable"),
        ..PLAIN
    };
    let cases = [
        (hurried, "deadline_exceeded"),
        (homeless, "unknown_package"),
        (wrong, "unrepresentable"),
        (wrong, "model_fault"),
    ];
    for (request, code) in cases {
        let id = checker.attempted(request);
        checker.acknowledged(id);
        checker.replied(&id.to_string(), rejection(code));
    }
    let id = checker.attempted(wrong);
    checker.replied(&id.to_string(), Said::Outcome(Some(id)));
    let counts = checker.counts();
    assert_eq!(
        (counts.rejected, counts.unexpected),
        (4, 1),
        "{:?}",
        checker.unexpected
    );
}

#[test]
fn an_answer_to_an_unconfirmed_publish_is_recovered_and_what_ran_twice_is_counted() {
    let mut checker = Checker::default();
    let (sure, unsure) = (checker.attempted(PLAIN), checker.attempted(PLAIN));
    checker.replied("0", Said::Outcome(Some(sure)));
    checker.acknowledged(sure);
    checker.replied("1", Said::Outcome(Some(unsure)));
    for id in ["0", "1", "1", "1"] {
        checker.scored(id);
    }
    let counts = checker.counts();
    assert_eq!(
        (counts.ok, counts.recovered, counts.scored_twice),
        (1, 1, 1)
    );
    assert!(checker.settled(), "the reply may overtake the confirm");
}
