//! Enums that formats store as one byte.

/// Declares an enum with fixed byte codes, encoded as that byte. A code without a meaning parses to
/// `Unknown`, so that the later check can name the code. That check then refuses it.
macro_rules! code_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $code:literal, $text:literal; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub enum $name {
            $( $(#[$vmeta])* $variant, )+
            /// A code this build does not know; refused wherever values are checked.
            Unknown(u8),
        }

        impl $name {
            /// Every known value, in the order of the codes.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The byte that stands for the value.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $( Self::$variant => $code, )+
                    Self::Unknown(code) => code,
                }
            }

            /// The value that `code` stands for.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $( $code => Self::$variant, )+
                    other => Self::Unknown(other),
                }
            }

            /// The value's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                    Self::Unknown(_) => "unknown",
                }
            }

            /// The value called `name`, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }

            /// Whether this build knows the value.
            #[must_use]
            pub const fn is_known(self) -> bool {
                !matches!(self, Self::Unknown(_))
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl crate::format::wire::Wire for $name {
            const BLANK: Self = Self::ALL[0];
            fn take(&mut self, reader: &mut crate::format::wire::Reader<'_>) {
                *self = Self::from_code(reader.byte());
            }
            fn put(&self, writer: &mut crate::format::wire::Writer<'_>) {
                writer.byte(self.code());
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u8(self.code())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u8::deserialize(deserializer).map(Self::from_code)
            }
        }
    };
}

pub(super) use code_enum;
