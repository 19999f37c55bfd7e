//! What the results look like: a table, a file, pictures.

mod counts;
mod json;
mod plot;
mod series;
mod table;

use std::error::Error;
use std::io;

use crate::driver::{self, Counts, Sample};
use crate::options::Options;

/// All of it, in the order in which it is asked for.
pub(crate) fn measure_and_show(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut samples = Vec::new();
    if options.times {
        println!("Beside each time: its ratio to the floor, and to tokio::process, by rounds.");
        samples = driver::run(options, |case, samples| {
            print!("{}", table::of(case, samples));
            // Again after each case: a run takes long, and may be stopped.
            write(options, samples, &[])
        })?;
    }
    let counts = if options.counts { driver::count(options)? } else { Vec::new() };
    print!("{}", counts::table(&counts));
    write(options, &samples, &counts)?;
    if let Some(directory) = &options.plots {
        plot::draw(directory, &samples)?;
    }
    Ok(())
}

fn write(options: &Options, samples: &[Sample], counts: &[Counts]) -> io::Result<()> {
    options.json.as_ref().map_or(Ok(()), |file| json::write(file, samples, counts))
}
