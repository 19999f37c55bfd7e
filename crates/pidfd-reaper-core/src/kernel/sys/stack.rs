//! The stacks on which cloned children run until they exec. A few are kept.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::io::Errno;

use super::last_errno;

/// The child's phase needs a few hundred bytes, and a few kilobytes in a build without
/// optimization. Pages that are never touched take no memory.
const SIZE: usize = 64 * 1024;

/// Below the stack, and not accessible: an overflow faults instead of writing to other memory. As
/// large as the largest page that Linux has, so that it is a whole number of pages everywhere.
const GUARD: usize = 64 * 1024;

/// Stacks that no spawn uses. A program that spawns from more threads at once maps and unmaps the
/// rest.
///
/// Each slot changes hands by one atomic exchange, so there is no lock that a fork of the program
/// in another thread could copy in its locked state. A forked process has a copy of the memory and
/// of this table: a stack that another thread had taken then is lost to it, which costs address
/// space and nothing else.
static KEPT: [AtomicPtr<u8>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];

/// Memory for one cloned child, for as long as it runs on it.
#[derive(Debug)]
pub(super) struct Stack {
    /// The start of the mapping; null when it went back to [`KEPT`].
    mapping: *mut u8,
}

impl Stack {
    /// Takes a kept one, or maps a new one.
    pub(super) fn take() -> Result<Self, Errno> {
        for slot in &KEPT {
            let mapping = slot.swap(ptr::null_mut(), Ordering::Acquire);
            if !mapping.is_null() {
                return Ok(Self { mapping });
            }
        }
        Self::map()
    }

    fn map() -> Result<Self, Errno> {
        // SAFETY: a new private mapping, at an address that the kernel chooses, replaces none.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                GUARD + SIZE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(last_errno());
        }
        // From here on its drop unmaps it.
        let stack = Self { mapping: mapping.cast() };
        // SAFETY: the range lies in the mapping that was just made, which nothing else uses.
        let result = unsafe {
            libc::mprotect(
                stack.mapping.wrapping_add(GUARD).cast(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        if result == 0 { Ok(stack) } else { Err(last_errno()) }
    }

    /// Where a stack that grows downwards begins. It is aligned to a page.
    pub(super) fn top(&self) -> *mut u8 {
        self.mapping.wrapping_add(GUARD + SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for slot in &KEPT {
            let (order, otherwise) = (Ordering::Release, Ordering::Relaxed);
            if slot.compare_exchange(ptr::null_mut(), self.mapping, order, otherwise).is_ok() {
                return;
            }
        }
        // SAFETY: it was mapped with this size, and the child that ran on it has left it.
        unsafe { libc::munmap(self.mapping.cast(), GUARD + SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_kept_and_a_taken_one_is_not_given_out_again() {
        let (one, two) = (Stack::take().unwrap(), Stack::take().unwrap());
        assert_ne!(one.top(), two.top());
        // SAFETY: the last byte of the stack is mapped for writing, and no child runs on it.
        unsafe { one.top().wrapping_sub(1).write(1) };
    }
}
