//! The table of what is counted.

use std::fmt::Write;

use crate::driver::Counts;

pub(super) fn table(counts: &[Counts]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, counts);
    text
}

fn write(text: &mut String, counts: &[Counts]) -> std::fmt::Result {
    for works in counts.chunk_by(|one, other| one.work == other.work) {
        writeln!(text, "\n{}, counted for each child, its spawn included", works[0].work)?;
        for count in works {
            write!(text, "{:<20}", count.contender)?;
            write!(text, "{:>7.2} polls {:>6.1} allocations", count.polls, count.allocations)?;
            if let Some(instructions) = count.instructions {
                write!(text, " {instructions:>8.0} instructions")?;
            }
            if !count.system_calls.is_empty() {
                write!(text, " {:>6.2} system calls:", count.calls())?;
                for (name, calls) in &count.system_calls {
                    write!(text, " {name} {calls:.2}")?;
                }
            }
            writeln!(text)?;
        }
    }
    Ok(())
}
