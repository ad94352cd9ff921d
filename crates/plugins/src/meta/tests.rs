//! Against the kernel, and against the reference plugins: the same call in twin namespaces.

mod bandwidth;
mod chain;
mod sbr;
mod tuning;
mod vrf;
