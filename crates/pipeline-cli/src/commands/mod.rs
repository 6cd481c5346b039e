//! One file per subcommand: arguments into a library call, the answer into text.

pub mod advise;
pub mod calibrate;
pub mod container;
pub mod definition;
pub mod destroy;
pub mod evaluate;
pub mod extract;
pub mod fetch;
pub mod list;
pub mod lookup;
pub mod machines;
pub mod manual;
mod repeat;
pub mod run;
pub mod sample;
pub mod schema;
pub mod score;
pub mod score_server;
pub mod serve;
pub mod states;
pub mod train;
pub mod tune;
pub mod verify;
pub mod watch;
