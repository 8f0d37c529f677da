//! Enumerations that are one word on the wire and in a column, and the same word in both.

/// Defines an enumeration, and the word of each of its values.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$about_value:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize,
            outrigger::events::JsonSchema,
        )]
        #[schemars(crate = "outrigger::events::schemars")]
        pub enum $name {
            $($(#[$about_value])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<$name> for outrigger::data::Value {
            fn from(value: $name) -> Self {
                value.as_str().into()
            }
        }

        impl outrigger::data::FromValue for $name {
            fn from_value(value: &outrigger::data::Value) -> Option<Self> {
                match value {
                    $(outrigger::data::Value::Text(word) if word == $word => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use words;
