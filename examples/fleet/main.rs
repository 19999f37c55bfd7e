//! Starts a fleet of real children on each runtime in turn, and sees whether all of them come home.
//!
//! They exit with every kind of code, die by signals, are killed, are abandoned, and copy megabytes
//! through their pipes. Then a row a runtime tells whether every status was right, whether anything
//! was left behind, and how long it took from a child's last act to the line that awaited it.
//!
//! ```text
//! cargo run --release --example fleet
//! cargo run --release --example fleet -- --children 5000 --runtime tokio
//! cargo run --release --example fleet -- --help
//! ```

mod job;
mod leftovers;
mod limits;
mod no_pidfd;
mod options;
mod report;
mod role;
mod runtime;
mod voyage;

use std::error::Error;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use options::Options;
use report::{Report, Row};
use runtime::{OnAsyncStd, OnSmol, OnTokio};

/// Sends out as many children as it is told, and says what came of them.
type Voyage = fn(&'static str, u32, &ProgressBar) -> Result<Row, Box<dyn Error>>;

const VOYAGES: [(&str, Voyage); 4] = [
    ("tokio", voyage::run::<OnTokio<false>>),
    ("tokio-multi", voyage::run::<OnTokio<true>>),
    ("smol", voyage::run::<OnSmol>),
    ("async-std", voyage::run::<OnAsyncStd>),
];

fn main() -> ExitCode {
    if role::is_child() {
        role::play();
    }
    match fleet() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
fn fleet() -> Result<bool, Box<dyn Error>> {
    let Some(options) = Options::parse(&VOYAGES.map(|(name, _)| name))? else {
        return Ok(true);
    };
    // Before anything else: the library asks the kernel once, and remembers.
    if options.without_pidfd {
        no_pidfd::install()?;
    }
    limits::raise_descriptors()?;

    let Options { children, without_pidfd, .. } = options;
    let mut report = Report { children, without_pidfd, runtimes: Vec::new() };
    for (name, run) in VOYAGES {
        if options.runtime.as_deref().is_none_or(|wanted| wanted == name) {
            let bar = progress_bar(name, children);
            report.runtimes.push(run(name, children, &bar)?);
            bar.finish_and_clear();
        }
    }
    report.print(options.json)?;
    Ok(report.is_clean())
}

/// It draws nothing where standard error is no terminal.
fn progress_bar(runtime: &'static str, children: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>11} {wide_bar} {pos}/{len} {elapsed}");
    ProgressBar::new(children.into())
        .with_style(style.expect("the template is right"))
        .with_prefix(runtime)
}
