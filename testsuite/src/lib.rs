//! What the tests and tasks share: the catalogue of real models and how to obtain them.

pub mod catalog;
pub mod fetch;
pub mod magika;
