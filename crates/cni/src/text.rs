//! A newtype around a text that has been checked: what exists is valid.

/// Declares a newtype around a checked `String`, its error, and the conversions that all names
/// have.
///
/// `$check` is a function from `&str` to `Result<(), $rule>`.
#[macro_export]
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $error:ident, $what:literal, $rule:ty, $check:path) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, serde::Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        #[doc = concat!("A text that is no ", $what, ".")]
        #[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
        #[error("{what} {value}: {rule}", what = $what)]
        pub struct $error {
            /// The text, as far as a message shows it.
            pub value: $crate::quoted::Quoted,
            /// The rule that it breaks.
            pub rule: $rule,
        }

        impl $name {
            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(rule) => Err($error { value: $crate::quoted::Quoted::text(text), rule }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}
