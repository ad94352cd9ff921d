//! IPAM plugins: they choose addresses and change no interface.

mod arguments;
pub mod cluster;
mod fields;
pub mod host_local;
mod result;
pub(crate) mod static_;

pub(crate) use self::fields::Fields;
