//! A root directory for the static executable: what a test puts there and nothing of the machine,
//! no C library, no shell, no `/etc`. A node without glibc, and the inside of the image, look like
//! that.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::node::{BRAID, Node, PLUGIN_DIR, succeed};

/// What `scripts/build` has built: the executable that goes on nodes.
pub(crate) fn executable() -> PathBuf {
    let path = Path::new(BRAID).parent().and_then(Path::parent).unwrap().join("dist/braid");
    assert!(path.exists(), "{} is missing: run scripts/build", path.display());
    path
}

/// The root directory.
pub(crate) struct Chroot<'n> {
    node: &'n Node,
    root: PathBuf,
    /// Directories of the machine that are seen inside, each with the path that it has there.
    mounts: Vec<(PathBuf, String)>,
}

impl<'n> Chroot<'n> {
    /// An empty one, in the directory `name` of the node.
    pub(crate) fn new(node: &'n Node, name: &str) -> Self {
        let root = node.path(name);
        fs::create_dir_all(&root).unwrap();
        Self { node, root, mounts: Vec::new() }
    }

    /// Where a path of the inside is outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Copies a file of the machine.
    pub(crate) fn copy(&self, file: &Path, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, &to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    pub(crate) fn write(&self, to: &str, text: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, text).unwrap();
    }

    /// Copies one of Debian's plugins into a directory, and the libraries that it is linked with.
    pub(crate) fn copy_plugin(&self, name: &str, directory: &str) {
        self.copy_linked(&Path::new(PLUGIN_DIR).join(name), &format!("{directory}/{name}"));
    }

    /// Copies a program and the libraries that it is linked with.
    pub(crate) fn copy_linked(&self, program: &Path, to: &str) {
        self.copy(program, to);
        self.copy_libraries(program);
    }

    /// Copies the libraries that a program is linked with.
    pub(crate) fn copy_libraries(&self, program: &Path) {
        let linked = succeed("ldd", &[program.to_str().unwrap()]);
        for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(library), library);
        }
    }

    /// Shows a directory of the machine inside.
    pub(crate) fn mount(&mut self, directory: &Path, inside: &str) {
        fs::create_dir_all(self.path(inside)).unwrap();
        self.mounts.push((directory.to_owned(), inside.to_owned()));
    }

    /// A program that enters and runs `program` there with its own arguments, input and
    /// environment. The mounts are those of its own process, and end with it.
    pub(crate) fn door(&self, program: &str) -> PathBuf {
        let mut lines = vec!["#!/bin/sh".to_owned(), "set -e".to_owned()];
        lines.extend(self.mounts.iter().map(|(from, to)| {
            format!("mount --rbind '{}' '{}'", from.display(), self.path(to).display())
        }));
        lines.push(format!("exec chroot '{}' '{program}' \"$@\"", self.root.display()));
        let door = self.root.with_extension("door");
        fs::write(&door, lines.join("\n") + "\n").unwrap();
        fs::set_permissions(&door, fs::Permissions::from_mode(0o755)).unwrap();
        door
    }

    /// `program` inside, in the node's network namespace, with an environment of nothing but
    /// `PATH`, which the door needs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.node.host().command(self.door(program));
        command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
        command
    }
}
