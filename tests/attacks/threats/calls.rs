//! Calls in the wrong order.

use stillboot::device::BlockDevice;
use stillboot::driver;
use stillboot::format::{Slot, SlotState};
use stillboot::install::{Action, Event, Install, InstallError, Permission, Running};
use stillboot::layout::Part;
use stillboot::request::Request;
use stillboot::select::CandidateKind;
use stillboot::verify::SoftSha256;
use stillboot_sim::Publisher;
use stillboot_sim::disk::Random;
use stillboot_tests::forge::digest;
use stillboot_tests::{RamWorld, boot, part, seed};

use super::{AB, running, update};

/// An answer that no action asked for ends an installation, at whatever step it comes.
#[test]
fn attack_23_calls_in_the_wrong_order() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    let wrong: [fn(&Action) -> Option<Event>; 5] = [
        |_| Some(Event::Start),
        |action| (!matches!(action, Action::Judge)).then_some(Event::Judged(Permission::Proceed)),
        |action| (!matches!(action, Action::ReadFloor(_))).then_some(Event::Floor(None)),
        |action| {
            let takes = matches!(action, Action::Receive(_) | Action::ExpectEnd);
            (!takes).then_some(Event::Received(1))
        },
        |action| (!matches!(action, Action::Io(_) | Action::Skip(_))).then_some(Event::Done),
    ];
    let mut points = 0;
    for wrong in wrong {
        for at in 0.. {
            let mut world = start.clone();
            let ground = world.ground.clone();
            let slots = ground.slots();
            let layout = ground.layout(&slots).unwrap();
            let config = world.install_config(layout, Running::Proof(proof));
            let mut machine = Install::<SoftSha256>::new(&config);
            let mut buffer = vec![0; Install::<SoftSha256>::buffer_len_min(&layout, 16 << 10)];
            let mut rest = &bundle[..];
            let mut event = Event::Start;
            let mut step = 0;
            let finished = loop {
                let action = machine.step(event, &mut buffer);
                match action {
                    Action::Finish(_) => break true,
                    Action::Fail(_) => break false,
                    _ => {}
                }
                step += 1;
                let slip = if step - 1 == at { wrong(&action) } else { None };
                if let Some(slip) = slip {
                    let answer = machine.step(slip, &mut buffer);
                    assert!(matches!(answer, Action::Fail(_)), "step {at}, {slip:?}: {answer:?}");
                    // It stays ended, whatever comes then.
                    let again = machine.step(Event::Done, &mut buffer);
                    assert!(matches!(again, Action::Fail(InstallError::Misused)));
                    points += 1;
                    break false;
                }
                event = match action {
                    Action::Io(io) => {
                        let disks: &mut [&mut dyn BlockDevice] = &mut [&mut world.disks[0]];
                        driver::carry_out(&io, disks, &mut buffer).unwrap();
                        Event::Done
                    }
                    Action::Receive(range) => {
                        let (now, later) = rest.split_at(range.len());
                        buffer[range.clone()].copy_from_slice(now);
                        rest = later;
                        Event::Received(range.len())
                    }
                    Action::ProbeFloor(..) => Event::Done,
                    Action::Skip(len) => {
                        rest = &rest[len as usize..];
                        Event::Done
                    }
                    Action::ExpectEnd => Event::Received(usize::from(!rest.is_empty())),
                    Action::ReadFloor(_) => Event::Floor(None),
                    Action::Judge => Event::Judged(Permission::Proceed),
                    _ => unreachable!("the end is handled above, and there is no other action"),
                };
            };
            let runs = boot(&mut world);
            if finished {
                // Past the last step: nothing was asked wrongly any more.
                assert_eq!(runs.slot, Slot::B);
                if step <= at {
                    break;
                }
            } else if runs.slot == Slot::B {
                // Only the last write of the record was not answered: everything is in place.
                assert_eq!(runs.digest, digest(&bundle), "step {at}");
            } else {
                assert_eq!(runs.digest, proof.digest, "step {at}");
            }
        }
    }
    assert!(points > 100, "{points}");
}

/// Requests in random order: something good always starts, what runs is never written to, and only
/// the proof of the attempt at hand confirms.
#[test]
fn attack_23_random_requests() {
    let mut random = Random::new(seed("attack_23_random_requests"));
    let publisher = Publisher::new(1);
    let bundles: Vec<_> = (0..12).map(|sequence| update(&publisher, sequence + 1)).collect();
    for run in 0..60 {
        let (mut world, first) = running(&publisher, AB);
        let mut proofs = vec![first];
        for step in 0..25 {
            let context = format!("run {run}, step {step}");
            let proof = proofs[random.below(proofs.len() as u64) as usize];
            let last = *proofs.last().unwrap();
            let slot = Slot::ALL[random.below(2) as usize];
            let bundle = &bundles[random.below(bundles.len() as u64) as usize];
            // What may be written of the slot that runs are its marks.
            let data = world.ground.slots()[last.slot as usize].regions[0].region;
            let trust = part(&world, last.slot, Part::Trust);
            let contents = |world: &RamWorld<'_>| {
                [data, trust].map(|part| world.disks[0].bytes(part.offset, part.len as usize))
            };
            let before = contents(&world);
            match random.below(9) {
                0..=2 => {
                    let _ = world.install(bundle, Some(last));
                }
                3 => {
                    let entry = world.record().unwrap().0.body.slot(proof.slot).clone();
                    let at_hand = match entry.state {
                        SlotState::Trying { attempt, nonce, .. } => {
                            (attempt, nonce) == (proof.attempt, proof.nonce)
                        }
                        state => state == SlotState::Good,
                    };
                    let done = world.perform(Request::MarkGood(proof));
                    let may = at_hand && entry.digest == proof.digest;
                    assert_eq!(done.is_ok(), may, "{context}: {done:?}");
                }
                4 => {
                    let _ = world.perform(Request::MarkGood(last));
                }
                5 => {
                    let _ = world.perform(Request::Rollback(slot));
                }
                6 => {
                    let _ = world.perform(Request::MarkBad(slot));
                }
                7 => {
                    let held = random.chance(1, 2);
                    let _ = world.perform(Request::HoldSlot(slot, held));
                }
                _ => {
                    let power_on = world.power_on().unwrap();
                    let runs = power_on.proof.unwrap_or_else(|| panic!("{context}"));
                    let kind = power_on.report.lines.last().unwrap().candidate.kind;
                    assert_ne!(kind, CandidateKind::LastResort, "{context}: nothing good was left");
                    proofs.push(runs);
                    continue;
                }
            }
            assert!(before == contents(&world), "{context}: the running slot was written to");
        }
    }
}
