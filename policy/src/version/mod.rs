//! Semantic versions, and the rule that says which of them a device takes.
//!
//! Versions are labels: updates are ordered by their sequences, and trust never depends on a
//! version. A rule is an additional wish of the operator, such as "only patches" or "stay on 5.0".
//!
//! ```
//! use stillboot_policy::version::{Version, VersionRule};
//!
//! let rule = VersionRule::parse("5.0.x")?;
//! let digest = [0; 32];
//! let offered = Version::parse("5.0.7").ok();
//! assert!(rule.allows(None, offered, &digest).is_ok());
//! let offered = Version::parse("5.1.0-rc.1").ok();
//! assert!(rule.allows(None, offered, &digest).is_err());
//! # Ok::<(), stillboot_policy::version::RuleError>(())
//! ```

mod compatible;
mod fault;
mod label;
mod range;
mod rule;
mod semver;

pub use compatible::{compare_compatible, compatible_numbers};
pub use fault::{RuleError, RuleFault};
pub use label::Label;
pub use range::{Bound, PRE_LEN_MAX, Range};
pub use rule::{RuleRefusal, Step, VersionRule};
pub use semver::{Version, VersionError, VersionFault};
