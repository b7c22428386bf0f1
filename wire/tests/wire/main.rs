//! Wire to domain and back: nothing is lost, and what is wrong is refused with its path and a remedy.

mod any;
mod damaged;
mod forms;
mod names;
mod refusals;
mod round_trips;
