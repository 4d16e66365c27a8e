//! Data files: what is shipped is right, and what is wrong is said well.

mod plan;
mod shipped;
mod wrong;
