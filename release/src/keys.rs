//! Keys, and what is signed with them.
//!
//! | file | what it does |
//! |---|---|
//! | `pem` | reads and writes keys as PEM files |
//! | `external` | signs by a program that has the key |
//! | `roots` | reads and writes the file of roots |
//! | `envelope` | signs payloads, adds signatures |
//! | `error` | says why that failed |
//!
//! This file has what they share: the trait [`Signer`], and the ids that names stand for.

mod envelope;
mod error;
mod external;
mod pem;
mod roots;

use stillboot::format::Id;
use uuid::Uuid;

pub use envelope::{add_signature, sign_envelope};
pub use error::KeyError;
pub use external::{ExternalSigner, program_of};
pub use pem::{Passphrase, SigningKey, public_to_pem, read_public};
pub use roots::Roots;

/// The namespace of ids that are made from names.
const NAMES: Uuid = Uuid::from_u128(0x6c1d_5f0a_3e57_5b0c_9a44_71f2_0cbd_9e18);

/// The id that `name` stands for: the UUID itself where it is one, else a version 5 UUID of it.
#[must_use]
pub fn id_of(name: &str) -> Id {
    let uuid = Uuid::parse_str(name).unwrap_or_else(|_| Uuid::new_v5(&NAMES, name.as_bytes()));
    uuid.into_bytes()
}

/// What can sign: a key in memory, or a program that has one.
pub trait Signer {
    /// The public key that goes with it.
    fn public(&self) -> [u8; 32];
    /// The Ed25519 signature of `message`.
    ///
    /// # Errors
    /// [`KeyError`].
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;
}

#[cfg(test)]
mod tests {
    use stillboot::verify::{SoftSha256, TEST_KEY_IDS, key_id};

    use super::*;

    #[test]
    fn the_core_knows_the_keys_of_the_test_suite() {
        let ids = [1, 2, 3, 4].map(|n| key_id::<SoftSha256>(&SigningKey::test(n).public()));
        assert_eq!(ids, TEST_KEY_IDS, "{ids:02x?}");
    }
}
