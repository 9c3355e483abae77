//! Members at random around a simulated device and a simulated clock.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn share(weight: f64, cores: usize) -> Share {
    Share {
        weight,
        latency: Duration::ZERO,
        cores,
    }
}

/// A member of a simulation, which always wants the device.
#[derive(Clone, Copy, Debug)]
struct Greedy {
    weight: u32,
    cores: usize,
    run: Duration,
}

/// The device, and who holds what until when.
struct Device {
    sharing: Sharing,
    cores: usize,
    now: Instant,
    running: Vec<(Instant, usize, ClaimId, usize)>,
    /// Core seconds that each got.
    got: Vec<f64>,
    claims: Vec<(MemberId, Greedy, Option<ClaimId>)>,
}

impl Device {
    fn new(cores: usize, members: &[Greedy]) -> Device {
        let mut sharing = Sharing::new(cores);
        let claims = members.iter().map(|member| {
            let share = share(f64::from(member.weight), member.cores);
            (sharing.join(share), *member, None)
        });
        let claims: Vec<_> = claims.collect();
        Device {
            cores,
            now: Instant::now(),
            running: Vec::new(),
            got: vec![0.0; claims.len()],
            sharing,
            claims,
        }
    }

    /// Everybody claims who does not wait or run, all are granted who can be, and the first run ends.
    fn step(&mut self) {
        let (now, cores) = (self.now, self.cores);
        for (member, greedy, claim) in &mut self.claims {
            let sharing = &mut self.sharing;
            claim.get_or_insert_with(|| sharing.claim(*member, greedy.run, now));
        }
        while let Some(granted) = self.sharing.grant(now) {
            let place = self
                .claims
                .iter()
                .position(|claim| claim.2 == Some(granted));
            let place = place.unwrap();
            let greedy = self.claims[place].1;
            let width = greedy.cores.min(cores);
            self.running.push((now + greedy.run, place, granted, width));
        }
        let held: usize = self.running.iter().map(|run| run.3).sum();
        assert!(held <= cores, "{held} of {cores}");
        self.running.sort_unstable();
        assert!(!self.running.is_empty(), "nobody runs though all want to");
        let (over, place, claim, width) = self.running.remove(0);
        self.now = over;
        self.sharing.over(claim, over);
        self.got[place] +=
            self.claims[place].1.run.as_secs_f64() * f64::from(u32::try_from(width).unwrap());
        self.claims[place].2 = None;
    }
}

fn greedy() -> impl Strategy<Value = Greedy> {
    (1..8_u32, 1..6_usize, 1..200_u32).prop_map(|(weight, cores, ms)| Greedy {
        weight,
        cores,
        run: MS * ms,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn those_who_always_want_it_get_time_by_weight(
        members in proptest::collection::vec(greedy(), 1..6),
        steps in 1..300_usize,
    ) {
        let mut device = Device::new(1, &members);
        for _ in 0..steps {
            device.step();
            let normal = |place: usize| device.got[place] / f64::from(members[place].weight);
            let one = |place: usize| members[place].run.as_secs_f64() / f64::from(members[place].weight);
            for a in 0..members.len() {
                for b in 0..a {
                    let apart = (normal(a) - normal(b)).abs();
                    prop_assert!(apart <= one(a) + one(b) + 1e-9, "{a} and {b} are {apart} apart");
                }
            }
        }
    }

    #[test]
    fn no_more_cores_are_held_than_there_are_and_everybody_runs(
        cores in 1..9_usize,
        members in proptest::collection::vec(greedy(), 1..6),
    ) {
        let mut device = Device::new(cores, &members);
        for _ in 0..2_000 {
            device.step();
        }
        prop_assert!(device.got.iter().all(|got| *got > 0.0), "{:?}", device.got);
    }

    #[test]
    fn whoever_has_room_is_granted_the_device_at_once(
        cores in 1..9_usize,
        members in proptest::collection::vec(greedy(), 1..6),
        steps in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..100),
    ) {
        let Device { mut sharing, claims, now, .. } = Device::new(cores, &members);
        let (mut running, mut waiting) = (Vec::new(), 0);
        for (pick, ends) in steps {
            if ends && !running.is_empty() {
                sharing.over(running.swap_remove(pick.index(running.len())), now);
                while let Some(granted) = sharing.grant(now) {
                    running.push(granted);
                    waiting -= 1;
                }
                continue;
            }
            let (member, greedy, _) = claims[pick.index(claims.len())];
            let has_room = sharing.has_room(member);
            let claim = sharing.claim(member, greedy.run, now);
            let granted = sharing.grant(now);
            prop_assert!(!has_room || (waiting == 0 && granted == Some(claim)));
            prop_assert!(has_room || waiting > 0 || granted.is_none());
            waiting += usize::from(granted.is_none());
            running.extend(granted);
        }
    }
}

#[test]
fn who_had_nothing_to_do_is_next_whatever_waits_of_the_others() {
    let mut sharing = Sharing::new(1);
    let heavy = sharing.join(share(100.0, 1));
    let light = sharing.join(share(0.01, 1));
    let mut now = Instant::now();
    for _ in 0..50 {
        let run = sharing.claim(heavy, 100 * MS, now);
        let next = sharing.claim(heavy, 100 * MS, now);
        assert_eq!(sharing.grant(now), Some(run));
        let asked = sharing.claim(light, MS, now);
        assert_eq!(sharing.grant(now), None, "the device is taken");
        now += 100 * MS;
        sharing.over(run, now);
        assert_eq!(sharing.grant(now), Some(asked));
        now += MS;
        sharing.over(asked, now);
        assert_eq!(sharing.grant(now), Some(next));
        now += 100 * MS;
        sharing.over(next, now);
    }
}

#[test]
fn nobody_saves_up_what_it_did_not_use() {
    let mut sharing = Sharing::new(1);
    let [busy, idle] = [(); 2].map(|()| sharing.join(share(1.0, 1)));
    let mut now = Instant::now();
    for _ in 0..100 {
        let claim = sharing.claim(busy, 10 * MS, now);
        assert_eq!(sharing.grant(now), Some(claim));
        now += 10 * MS;
        sharing.over(claim, now);
    }
    let mut claims = [busy, idle].map(|member| (member, sharing.claim(member, 10 * MS, now), 0));
    for _ in 0..20 {
        let granted = sharing.grant(now).unwrap();
        now += 10 * MS;
        sharing.over(granted, now);
        let (member, claim, runs) = claims.iter_mut().find(|claim| claim.1 == granted).unwrap();
        *claim = sharing.claim(*member, 10 * MS, now);
        *runs += 1;
    }
    assert_eq!(claims.map(|claim| claim.2), [10, 10]);
}

#[test]
fn who_can_wait_lets_go_first_who_cannot_but_only_while_it_can() {
    let mut sharing = Sharing::new(1);
    let [patient, hasty] = [1.0, 1.0].map(|weight| sharing.join(share(weight, 1)));
    let mut now = Instant::now();
    let must = now + 100 * MS;
    let waits = sharing.claim(patient, 5 * MS, must);
    for _ in 0..3 {
        let claim = sharing.claim(hasty, 30 * MS, now);
        assert_eq!(sharing.grant(now), Some(claim));
        now += 30 * MS;
        sharing.over(claim, now);
    }
    // Another would be over at 120 ms.
    let claim = sharing.claim(hasty, 30 * MS, now);
    assert_eq!(sharing.grant(now), Some(waits));
    now += 5 * MS;
    sharing.over(waits, now);
    assert_eq!(sharing.grant(now), Some(claim));
}

#[test]
fn a_run_that_hangs_holds_up_nobody_for_long() {
    let mut sharing = Sharing::new(1);
    let [hangs, other] = [(); 2].map(|()| sharing.join(share(1.0, 1)));
    let now = Instant::now();
    let hung = sharing.claim(hangs, 500 * MS, now);
    assert_eq!(sharing.grant(now), Some(hung));
    let claim = sharing.claim(other, MS, now);
    let let_go = now + 2_000 * MS;
    assert_eq!(sharing.expire(now), Some(let_go));
    assert_eq!(sharing.grant(now + 1_999 * MS), None);
    assert_eq!(sharing.expire(let_go), None);
    assert_eq!(sharing.grant(let_go), Some(claim));
    sharing.over(hung, let_go + MS);
    assert_eq!(sharing.grant(let_go + MS), None);
    sharing.over(claim, let_go + MS);
    let next = sharing.claim(other, MS, let_go);
    assert_eq!(
        sharing.grant(let_go),
        Some(next),
        "the cores are counted once"
    );
}

#[test]
fn who_wants_the_device_or_ran_of_late_is_there() {
    let mut sharing = Sharing::new(1);
    let one = sharing.join(share(1.0, 1));
    let other = sharing.join(share(1.0, 1));
    let mut now = Instant::now();
    let own = sharing.claim(one, MS, now);
    assert!(sharing.is_alone(one, now) && !sharing.is_alone(other, now));
    assert_eq!(sharing.grant(now), Some(own));
    assert!(sharing.is_alone(one, now) && !sharing.is_alone(other, now));
    let theirs = sharing.claim(other, MS, now);
    sharing.over(own, now);
    assert!(!sharing.is_alone(one, now), "it waits");
    assert_eq!(sharing.grant(now), Some(theirs));
    now += 2 * ALONE;
    assert!(!sharing.is_alone(one, now), "it runs");
    assert!(sharing.is_alone(other, now));
    sharing.over(theirs, now);
    assert!(!sharing.is_alone(one, now), "it ran");
    assert!(sharing.is_alone(one, now + ALONE));
    sharing.leave(other);
    assert!(sharing.is_alone(one, now));
}
