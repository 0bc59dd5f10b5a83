//! The list of what a backup holds, small enough for a million files: 32 bytes each, and its name.

use std::cmp::Ordering;
use std::collections::HashMap;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
}

/// One path, as it was when it was listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    directory: u32,
    name: u32,
    length: u8,
    pub(crate) mode: u16,
    pub(crate) kind: Kind,
    /// What the engine wants to remember of it.
    pub(crate) tag: u32,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
}

/// Paths with what they are. Names lie end to end in one buffer, and each directory's path is held once.
#[derive(Debug, Default)]
pub(crate) struct FileList {
    directories: Vec<Box<str>>,
    names: String,
    items: Vec<Item>,
    /// Where links lead, by the place of their names.
    targets: HashMap<u32, Box<str>>,
}

/// A directory whose children are being listed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent(u32);

/// What a file system says about a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) tag: u32,
    pub(crate) size: u64,
    pub(crate) modified: i64,
}

impl FileList {
    /// Begins the children of the directory at `path`, which is empty for the root.
    pub(crate) fn parent(&mut self, path: &str) -> Parent {
        self.directories.push(path.into());
        Parent(small(self.directories.len() - 1))
    }

    pub(crate) fn push(&mut self, parent: Parent, name: &str, facts: Facts) {
        let Facts { kind, mode, tag, size, modified } = facts;
        let item = Item {
            directory: parent.0,
            name: small(self.names.len()),
            length: u8::try_from(name.len()).expect("a name has at most 255 bytes"),
            mode: (mode & 0o7777) as u16,
            kind,
            tag,
            size,
            modified,
        };
        self.names.push_str(name);
        self.items.push(item);
    }

    /// Says where the link that was pushed last leads.
    pub(crate) fn target(&mut self, target: &str) {
        let link = self.items.last().expect("a link was pushed");
        self.targets.insert(link.name, target.into());
    }

    /// Puts everything in the order of paths.
    pub(crate) fn sort(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(|a, b| self.compare(a, b));
        items.shrink_to_fit();
        self.items = items;
    }

    fn compare(&self, a: &Item, b: &Item) -> Ordering {
        if a.directory == b.directory {
            return self.name(a).cmp(self.name(b));
        }
        self.bytes(a).cmp(self.bytes(b))
    }

    fn name(&self, item: &Item) -> &str {
        &self.names[item.name as usize..item.name as usize + usize::from(item.length)]
    }

    fn bytes(&self, item: &Item) -> impl Iterator<Item = u8> {
        let directory = &self.directories[item.directory as usize];
        let slash = if directory.is_empty() { "" } else { "/" };
        directory.bytes().chain(slash.bytes()).chain(self.name(item).bytes())
    }

    /// Returns the numbers of all items in the order of their paths, which stay where they are.
    pub(crate) fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..small(self.items.len())).collect();
        order.sort_unstable_by(|a, b| self.compare_items(*a, *b));
        order
    }

    /// Compares the paths of two items.
    pub(crate) fn compare_items(&self, a: u32, b: u32) -> Ordering {
        self.compare(&self.items[a as usize], &self.items[b as usize])
    }

    /// Compares the path of item `index` with `path`.
    pub(crate) fn compare_path(&self, index: usize, path: &str) -> Ordering {
        self.bytes(&self.items[index]).cmp(path.bytes())
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn item(&self, index: usize) -> &Item {
        &self.items[index]
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns the path of item `index` below the root.
    pub(crate) fn path(&self, index: usize) -> String {
        let item = &self.items[index];
        let directory = &self.directories[item.directory as usize];
        let name = self.name(item);
        if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
    }

    /// Returns where link `index` leads.
    pub(crate) fn link_target(&self, index: usize) -> &str {
        self.targets.get(&self.items[index].name).map_or("", |target| &**target)
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("the names of one backup have less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_whole_paths() {
        let facts = Facts { kind: Kind::File, mode: 0o100_644, tag: 3, size: 1, modified: 2 };
        let mut list = FileList::default();
        let inner = list.parent("a");
        list.push(inner, "z", facts);
        let root = list.parent("");
        for name in ["b", "a-b", "a"] {
            list.push(root, name, facts);
        }
        list.push(root, "link", Facts { kind: Kind::Link, ..facts });
        list.target("elsewhere");
        let by_order: Vec<String> = list.order().into_iter().map(|index| list.path(index as usize)).collect();
        list.sort();
        let paths: Vec<String> = (0..list.len()).map(|index| list.path(index)).collect();
        assert_eq!(paths, ["a", "a-b", "a/z", "b", "link"]);
        assert_eq!(by_order, paths, "in the order of arrival, and sorted by number");
        assert_eq!((list.link_target(4), list.item(0).mode), ("elsewhere", 0o644));
        assert!(size_of::<Item>() <= 32);
    }
}
