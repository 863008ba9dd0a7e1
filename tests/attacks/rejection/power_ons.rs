//! Every power-on with a bad bundle in a slot.

use stillboot::boot::Reason;
use stillboot::format::Slot;
use stillboot_tests::{RamWorld, boot};

use super::cases::cases;
use super::{FORMS, Form, Vendor, WAYS, device, planted, sound};

/// What a power-on came to, and what it said of slot b.
fn reason(world: &mut RamWorld<'_>) -> (Option<Slot>, Vec<Reason>) {
    let power_on = world.power_on().unwrap();
    let lines = power_on.report.lines.iter();
    let of_b = lines.filter(|line| line.candidate.slot == Slot::B).map(|line| line.reason);
    (power_on.slot(), of_b.collect())
}

#[test]
fn every_power_on_refuses_every_bad_bundle_written_by_hand() {
    FORMS.into_iter().for_each(power_ons);
}

fn power_ons(form: Form) {
    let vendor = Vendor::new(1, form);
    let (start, proof) = device(&vendor);
    let mut refused = 0;
    for case in cases(&vendor).iter().filter(|case| !case.boot_says.is_empty()) {
        for way in WAYS {
            let context = format!("{form:?}, {}, {way}", case.name);
            let mut world = planted(&start, &case.bundle, way);
            let (started, reasons) = reason(&mut world);
            let left = (way != "with nothing else").then_some(Slot::A);
            assert_eq!(started, left, "{context}: {reasons:?}");
            // Without a record, what is found out by its head is not even looked at again.
            if way != "without a record" {
                let text = reasons.iter().map(|reason| format!("{reason:?}"));
                let found = text.clone().any(|text| text.starts_with(case.boot_says));
                assert!(found, "{context}: {reasons:?}, expected {}", case.boot_says);
            }
            if let Some(Slot::A) = left {
                assert_eq!(boot(&mut world).digest, proof.digest, "{context}");
            }
            refused += 1;
        }
    }
    println!("{refused} power-ons");
    // The sound one starts, so that it is not for want of anything else that the others do not.
    for way in WAYS {
        let mut world = planted(&start, &sound(&vendor), way);
        assert_eq!(boot(&mut world).slot, Slot::B, "{form:?}, {way}");
    }
}
