//! Lists of strings in the form that `execve` reads them.

use std::cell::Cell;
use std::ffi::c_char;
use std::mem;
use std::ptr;

/// Lists of strings, filled one after the other: `execve` wants an array of pointers to strings
/// that end with NUL, and a null pointer at the end of it.
///
/// All strings are in one buffer and all pointers in another, however many variables an environment
/// has. Each thread keeps both for its next spawn, which then allocates neither.
#[derive(Debug)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    /// Offsets in `bytes` until [`finish`](Self::finish), since that moves as it grows.
    pointers: Vec<*const c_char>,
    /// Where the list begins that is filled now.
    start: usize,
    has_nul: bool,
}

/// A list that was filled: the index of its first pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List(usize);

/// The lists, which do not change any more.
#[derive(Debug)]
pub(crate) struct Lists {
    pointers: Vec<*const c_char>,
    /// What they point into.
    bytes: Vec<u8>,
}

/// Empty buffers.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    pointers: Vec<*const c_char>,
}

thread_local! {
    /// The buffers of this thread's last spawn.
    static KEPT: Cell<Buffers> = Cell::default();
}

/// Larger buffers are freed: a program that once had many arguments need not keep their room.
const MOST_KEPT: usize = 32 * 1024;

impl Buffers {
    /// Takes the kept ones, or makes new ones with room for most environments.
    fn take() -> Self {
        // While a thread ends, its locals are gone.
        let mut this = KEPT.try_with(Cell::take).unwrap_or_default();
        this.bytes.reserve(4096);
        this.pointers.reserve(64);
        this
    }

    /// Keeps them, without the strings.
    fn keep(mut self) {
        self.bytes.clear();
        self.pointers.clear();
        if self.bytes.capacity() <= MOST_KEPT && self.pointers.capacity() <= MOST_KEPT / 8 {
            let _ = KEPT.try_with(|kept| kept.set(self));
        }
    }
}

impl Strings {
    pub(crate) fn new() -> Self {
        let Buffers { mut bytes, pointers } = Buffers::take();
        // So that no string is at offset zero, which ends a list.
        bytes.push(0);
        Self { bytes, pointers, start: 0, has_nul: false }
    }

    /// Adds a string, made of parts.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        self.has_nul |= parts.iter().any(|part| part.contains(&0));
        self.push_without_nul(parts);
    }

    /// Adds a string, made of parts, of which it is known that there is no NUL in them.
    pub(crate) fn push_without_nul(&mut self, parts: &[&[u8]]) {
        self.pointers.push(ptr::without_provenance(self.bytes.len()));
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
    }

    /// Ends the list that was filled, and begins the next.
    pub(crate) fn end_list(&mut self) -> List {
        self.pointers.push(ptr::null());
        List(mem::replace(&mut self.start, self.pointers.len()))
    }

    /// Whether one of the strings has a NUL in it, where it would end for the kernel.
    pub(crate) fn has_nul(&self) -> bool {
        self.has_nul
    }

    pub(crate) fn finish(self) -> Lists {
        let Self { bytes, mut pointers, .. } = self;
        let base = bytes.as_ptr().cast::<c_char>();
        for offset in &mut pointers {
            if !offset.is_null() {
                *offset = base.wrapping_add(offset.addr());
            }
        }
        // A list that was not ended has no null pointer yet.
        pointers.push(ptr::null());
        Lists { pointers, bytes }
    }
}

impl Drop for Lists {
    fn drop(&mut self) {
        let (bytes, pointers) = (mem::take(&mut self.bytes), mem::take(&mut self.pointers));
        Buffers { bytes, pointers }.keep();
    }
}

impl Lists {
    /// The pointers of a list, up to a null pointer.
    pub(super) fn get(&self, List(start): List) -> *const *const c_char {
        let from_there = self.pointers.get(start..).unwrap_or_default();
        if from_there.is_empty() { (&raw const EMPTY).cast() } else { from_there.as_ptr() }
    }
}

/// The empty list, for one that these lists do not have.
static EMPTY: usize = 0;

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn read(lists: &Lists, list: List) -> Vec<&CStr> {
        let mut pointers = lists.get(list);
        let mut strings = Vec::new();
        // SAFETY: a list ends with a null pointer, and each of its strings with NUL.
        unsafe {
            while !(*pointers).is_null() {
                strings.push(CStr::from_ptr(*pointers));
                pointers = pointers.add(1);
            }
        }
        strings
    }

    #[test]
    fn lists_are_read_as_they_were_filled() {
        let mut strings = Strings::new();
        let empty = strings.end_list();
        strings.push(&[b"a", b"=", b"b"]);
        strings.push(&[b""]);
        let two = strings.end_list();
        for _ in 0..1000 {
            strings.push(&[b"many"]);
        }
        let many = strings.end_list();
        assert!(!strings.has_nul());
        let lists = strings.finish();
        assert!(read(&lists, empty).is_empty());
        assert_eq!(read(&lists, two), [c"a=b", c""]);
        assert_eq!(read(&lists, many), [c"many"; 1000]);
    }

    #[test]
    fn buffers_are_kept_without_their_strings() {
        let fill = |times: usize| {
            let mut strings = Strings::new();
            let was = strings.bytes.capacity();
            for _ in 0..times {
                strings.push(&[b"sixteen letters!"]);
            }
            let list = strings.end_list();
            let lists = strings.finish();
            (was, read(&lists, list).len())
        };
        assert_eq!(fill(1000), (4096, 1000));
        let (kept, strings) = fill(1);
        assert!(kept >= 17_000 && strings == 1, "{kept} bytes, {strings} strings");
        // This is too much to be kept.
        fill(10_000);
        assert_eq!(fill(1).0, 4096);
    }

    #[test]
    fn a_nul_is_noticed() {
        let mut strings = Strings::new();
        strings.push(&[b"a\0b"]);
        assert!(strings.has_nul());
    }
}
