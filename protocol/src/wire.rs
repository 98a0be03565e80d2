//! How values of this crate read and write: as one text, or as one of a few words.
//! It refuses to know any of them.

/// Strings on the wire, values inside.
macro_rules! text_on_the_wire {
    ($($name:ty),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(crate) use text_on_the_wire;

/// One of `ALL`, read and shown as its `word`.
macro_rules! one_of_words {
    ($($name:ty),*) => {$(
        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|what| what.word() == text);
                found.ok_or_else(|| crate::wire::is_no_word(text, &Self::ALL.map(Self::word)))
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    )*};
}
pub(crate) use one_of_words;

/// A part of a change: what is absent stays as it is, and null takes it back.
pub(crate) fn given<'de, T, D>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(from).map(Some)
}

/// What is said of a text that is none of the words, of which there are several.
pub(crate) fn is_no_word(text: &str, words: &[&str]) -> String {
    let (last, others) = words.split_last().unwrap_or((&"", &[]));
    format!("'{text}' is not {} or {last}", others.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::job::OnConflict;
    use crate::queue::OnPreempt;

    #[test]
    fn who_writes_no_word_is_told_which_there_are() {
        let error = "often".parse::<OnConflict>().unwrap_err();
        assert_eq!(error, "'often' is not priority, preemption, sharing, queuing or negotiation");
        assert_eq!("".parse::<OnPreempt>().unwrap_err(), "'' is not requeue, cancel or suspend");
        for word in OnPreempt::ALL {
            assert_eq!(word.to_string().parse(), Ok(word));
            assert_eq!(serde_json::to_value(word).unwrap(), word.word());
        }
    }
}
