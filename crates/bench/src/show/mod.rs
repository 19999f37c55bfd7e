//! What the results look like: a table, a file, pictures.

mod counts;
mod json;
mod plot;
mod series;
mod table;

use std::error::Error;

use self::json::Json;
use crate::driver::{self, Counts, Sample};
use crate::options::Options;

/// All of it, in the order in which it is asked for.
pub(crate) fn measure_and_show(options: &Options) -> Result<(), Box<dyn Error>> {
    let json = options.json.as_deref().map(Json::to);
    let write = |samples: &[Sample], counts: &[Counts]| {
        json.as_ref().map_or(Ok(()), |json| json.write(samples, counts))
    };
    let mut samples = Vec::new();
    if options.times {
        println!("Beside each time: its ratio to the floor, and to tokio::process, by rounds.");
        samples = driver::run(options, |case, samples| {
            print!("{}", table::of(case, samples));
            // Again after each case: a run takes long, and may be stopped.
            write(samples, &[])
        })?;
    }
    let counts = if options.counts { driver::count(options)? } else { Vec::new() };
    print!("{}", counts::table(&counts));
    write(&samples, &counts)?;
    if let Some(directory) = &options.plots {
        plot::draw(directory, &samples)?;
    }
    Ok(())
}
