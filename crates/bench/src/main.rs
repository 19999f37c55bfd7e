//! Measures this library beside its peers, and beside the least that the kernel asks for.
//!
//! ```text
//! cargo run --release -p bench
//! ```
//!
//! One program is all of it. Without a command it is the *driver*, which starts itself once for
//! each *contender* and work, each in a process of its own, and reads that process's CPU from
//! outside while it sleeps. A contender starts itself again as its *children*, which wait at a gate
//! that the driver opens. So a contender does nothing but its work while it is measured.
//!
//! In reading order: `child`, `link`, `contender`, `work`, `driver`, and what shows its results.

// What is counted and timed here is far from the 2^52 up to which an `f64` is exact.
#![allow(clippy::cast_precision_loss)]

mod alloc;
mod child;
mod contender;
mod driver;
mod link;
mod options;
mod show;
mod stats;
mod sys;
mod work;

use std::env;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", life, amount] => child::live(life.parse()?, amount.parse()?),
        ["tracer", pid] => Ok(driver::tracer::hold(pid.parse()?)?),
        ["contender", name, work, n, pidfd, link] => contender::compete(
            name.parse()?,
            work.parse()?,
            n.parse()?,
            pidfd.parse()?,
            link.parse()?,
        ),
        _ => show::measure_and_show(&options::parse()?),
    }
}
