//! Every rule of the policy, and the texts that it reads.
//!
//! Tables say what each text means, with models and other crates beside them as second opinions.

mod channels;
mod rollout;
mod verdicts;
mod version_rules;
mod versions;
mod window_parts;
mod windows;

const DIGEST: [u8; 32] = [0xab; 32];

/// Monday, 2026-01-05, 00:00 UTC.
const MONDAY: u64 = 20_458 * 86_400;
const WEEK: u64 = 7 * 86_400;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DEVICE: [u8; 16] = *b"a device's id 01";

fn device(number: u32) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}
