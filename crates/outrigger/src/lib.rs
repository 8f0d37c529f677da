//! Describe a system of services once, as a value, and run it in any of four ways.
