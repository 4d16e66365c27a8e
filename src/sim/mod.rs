//! The embedded cluster: a Kubernetes API server on loopback, real controllers, a modelled kubelet and Chaos Mesh.
//!
//! It knows Kubernetes and Chaos Mesh and nothing of this benchmark, and imports nothing from the rest of the crate.
//! Input: a [`SimConfig`]. Output: a running [`Sim`] with a URL and kubeconfigs.
//!
//! Parts, bottom up: [`resource`], [`store`] and `history` (dumb, versioned objects and their changes), [`schema`] and
//! [`patch`] (pure functions on JSON), [`world`] (everything that happens, a deterministic discrete-event simulation behind one lock),
//! [`cel`] (rules that users write), [`custom`] (kinds that clients define), [`managed`] (who wrote which field), [`registry`] (what a write means:
//! defaults, validation, generations, deletion), [`controllers`], [`kubelet`], [`chaos`] and [`traffic`] (what happens
//! by itself), [`shell`] (what `exec` runs), [`clock`] (how simulated time passes), [`api`] (HTTP), `connections`
//! (slow and silent clients), [`exchange`] (for onlookers), [`audit`].

pub mod api;
mod arrivals;
pub mod audit;
pub mod catalog;
pub mod cel;
pub mod chaos;
pub mod clock;
pub mod config;
mod connections;
pub mod controllers;
pub mod custom;
mod dormant;
mod entrances;
pub mod exchange;
mod guarded;
mod history;
pub mod kubelet;
pub mod managed;
pub mod patch;
mod printed;
pub mod registry;
pub mod resource;
pub mod schema;
pub mod server;
pub mod shell;
pub mod status;
mod stillness;
pub mod store;
pub mod time;
mod tls;
pub mod tokens;
pub mod traffic;
pub mod world;

pub use config::SimConfig;
pub use entrances::Entrances;
pub use server::{Sim, SimError};
pub use tls::{ADMINISTRATOR, TlsError};
