//! Task handlers for tests: canned results, and the mock file of the service's local version.

mod canned;
mod mock;

pub use self::canned::Canned;
pub use self::mock::{InvalidMockConfig, MockConfig, MockedTasks};
