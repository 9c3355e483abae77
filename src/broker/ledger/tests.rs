use super::*;

#[test]
fn a_stale_receipt_does_nothing() {
    let dropped = Arc::new(AtomicU64::new(0));
    let ledger = Arc::new(Ledger::over(None, Arc::clone(&dropped)));
    let (receipt, _) = ledger.enter(1, 7, Instant::now());
    ledger.close();
    receipt.ack();
    assert_eq!(
        (ledger.take_settled().count, dropped.load(Ordering::Relaxed)),
        (0, 0)
    );
}

#[test]
fn a_dropped_receipt_is_given_back_and_counted() {
    let dropped = Arc::new(AtomicU64::new(0));
    let ledger = Arc::new(Ledger::over(None, Arc::clone(&dropped)));
    drop(ledger.enter(1, 7, Instant::now()));
    assert_eq!(
        (ledger.take_settled(), dropped.load(Ordering::Relaxed)),
        (
            Settled {
                count: 1,
                bytes: 7,
                decided: 1,
            },
            1,
        )
    );
}

#[test]
fn a_verdict_is_counted_once_whatever_its_reply_waits_for() {
    let ledger = Arc::new(Ledger::over(None, Arc::default()));
    let (mut receipt, _) = ledger.enter(1, 7, Instant::now());
    receipt.decided();
    let counts = || (ledger.take_settled().decided, ledger.in_hand());
    assert_eq!(counts(), (1, 1));
    receipt.ack();
    assert_eq!(counts(), (0, 0));
}
