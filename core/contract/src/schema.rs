//! The schema of a payload, for types that have one.

use std::fmt;
use std::marker::PhantomData;

/// Whether a type has a JSON schema: `SchemaOf::<T>::schema()` is, by the rules of look-up, that of its `schemars::JsonSchema` if
/// the type implements it and the feature `schema` is on, else that of [`NoSchema`].
pub struct SchemaOf<T>(PhantomData<fn() -> T>);

impl<T> fmt::Debug for SchemaOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SchemaOf")
    }
}

/// See [`SchemaOf`].
pub trait NoSchema {
    /// Nothing.
    #[must_use]
    fn schema() -> Option<String> {
        None
    }
}

impl<T> NoSchema for SchemaOf<T> {}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> SchemaOf<T> {
    /// What a reader of this type needs, as one line of JSON.
    ///
    /// Titles and descriptions are for people: they are left out, so that a new word in a comment is no new schema.
    #[must_use]
    pub fn schema() -> Option<String> {
        use schemars::generate::SchemaSettings;
        use schemars::transform::RecursiveTransform;

        let without_prose = RecursiveTransform(|schema: &mut schemars::Schema| {
            for word in ["title", "description", "$schema"] {
                schema.remove(word);
            }
        });
        let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| settings.meta_schema = None);
        let schema = settings.with_transform(without_prose).into_generator().into_root_schema_for::<T>();
        Some(schema.as_value().to_string())
    }
}
