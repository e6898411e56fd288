//! CPU targets.
mod dims;
mod form;
mod plan;
mod schedule;
mod select;
mod strips;
mod target;
mod weights;
