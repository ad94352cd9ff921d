//! Against the kernel, and against the reference plugins: the same call in twin namespaces. They
//! are those of Debian's containernetworking-plugins, or others: `REFERENCE_PLUGINS` names
//! their directory.

mod bridge;
mod gc;
mod host_device;
mod refusals;
mod stacked;
mod status;
mod tap;
mod undo;
