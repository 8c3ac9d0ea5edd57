//! The command line of jobwarden.
