//! Rules that users write in the Common Expression Language: compiled once, evaluated within a budget.
//!
//! Input: an expression's text, the names it may use, values as JSON. Output: what it comes to, or why not, in the words of
//! the real server's implementation. Parsing and evaluation are the crate `cel`'s; here are the functions that Kubernetes
//! adds ([`library`], [`moments`], [`network`], [`quantities`]), the checks before anything runs ([`check`]) and the bounds
//! ([`guard`], [`budget`]): who writes an expression is not to be trusted with the server's time.

mod budget;
mod check;
mod expression;
mod guard;
mod library;
mod moments;
mod network;
mod quantities;
mod types;
mod values;

pub use budget::{Budget, REQUEST};
pub use check::Known;
pub use expression::{Answer, Expression, Failure, Outcome, Scope};
pub use values::Input;

#[cfg(test)]
mod tests;
