//! Stories of the session: what happens, and all that comes of it, as text.

mod acknowledge;
mod chance;
mod gaps;
mod goodbye;
mod kills;
mod offers;
mod resizing;
mod subscribe;
mod world;
