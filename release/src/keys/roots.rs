//! The file of roots: what loaders and agents are built with.

use std::path::Path;

use serde::{Deserialize, Serialize};
use stillboot::format::{Id, Rule};
use stillboot::verify::{RootKey, Trust};

use super::pem::{kind_of_pem, public_from_pem, public_to_pem, read};
use super::{KeyError, id_of};
use crate::settings;

/// The roots of a product as a file: what loaders and agents are built with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roots {
    /// The product's name, or its UUID.
    pub product: String,
    /// How many roots must agree on a keyset.
    pub threshold: u8,
    /// The root keys.
    pub keys: Vec<RootKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsFile {
    product: String,
    threshold: u8,
    keys: Vec<String>,
}

impl Roots {
    /// The roots of this product, so many of which must agree.
    #[must_use]
    pub fn new(product: impl Into<String>, threshold: u8, keys: impl Into<Vec<RootKey>>) -> Self {
        Self { product: product.into(), threshold, keys: keys.into() }
    }

    /// Reads a file of roots.
    ///
    /// # Errors
    /// [`KeyError`]: no keys, more than four, one twice, or a threshold that is 0 or above their
    /// number.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let wrong = |reason: String| KeyError::Roots { path: path.to_path_buf(), reason };
        let text = read(path)?;
        let file: RootsFile = toml::from_str(&text).map_err(|error| {
            let trouble = settings::trouble(&text, &error);
            wrong(format!("expected a file of roots as `stillboot keygen` writes it: {trouble}"))
        })?;
        if file.product.is_empty() {
            return Err(wrong("expected the product's name or UUID, found an empty one".into()));
        }
        let mut keys = Vec::new();
        for (number, text) in file.keys.iter().enumerate() {
            let key = public_from_pem(text).ok_or_else(|| {
                let number = number + 1;
                wrong(match kind_of_pem(text) {
                    Some(kind) => format!(
                        "key {number} is one of {kind} (kind {}), which this build cannot check",
                        kind.code()
                    ),
                    None => format!("key {number} is not one Ed25519 public key in PEM"),
                })
            })?;
            let key = RootKey::ed25519(key);
            if keys.contains(&key) {
                return Err(wrong(format!("key {} is there twice", number + 1)));
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > 4 {
            return Err(wrong(format!("expected 1 to 4 root keys, found {}", keys.len())));
        }
        if file.threshold == 0 || usize::from(file.threshold) > keys.len() {
            return Err(wrong(format!(
                "expected a threshold of 1 to {}, found {}",
                keys.len(),
                file.threshold
            )));
        }
        Ok(Self { product: file.product, threshold: file.threshold, keys })
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`KeyError::Signer`] if it cannot be written as TOML, which does not happen.
    pub fn to_toml(&self) -> Result<String, KeyError> {
        let keys = self.keys.iter().map(|key| public_to_pem(&key.name)).collect();
        let file = RootsFile { product: self.product.clone(), threshold: self.threshold, keys };
        toml::to_string_pretty(&file).map_err(|error| KeyError::Signer(error.to_string()))
    }

    /// The product's id.
    #[must_use]
    pub fn product_id(&self) -> Id {
        id_of(&self.product)
    }

    /// What the core calls it.
    #[must_use]
    pub fn trust(&self) -> Trust<'_> {
        Trust::Roots { keys: &self.keys, rule: Rule::ed25519(self.threshold) }
    }
}
