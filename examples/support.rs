//! Says what the running kernel can do for children, and what is done where it cannot.

use pidfd_reaper::KernelSupport;

fn main() {
    println!("{}", KernelSupport::probe());
}
