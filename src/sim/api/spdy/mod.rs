//! SPDY/3.1, the protocol that streams had at first: kubectl's up to 1.30, and that of programs in Go.
//!
//! [`frames`] reads and writes it; [`upgrade`] is a connection that speaks nothing else from then on; [`channels`] are the streams of
//! a command on such a connection. Port-forwarding has it both ways, see [`super::forward`].

pub(super) mod channels;
pub(super) mod frames;
pub(super) mod upgrade;
