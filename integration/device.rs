//! Devices of a pod: the kubelet asked over its socket, and device-info files on a disk.

mod device_info;
mod kubelet;

const RESOURCE: &str = "nic.example.com/vf";
