//! The whole command line, held to what is written about it.

mod deployed;
mod documents;
