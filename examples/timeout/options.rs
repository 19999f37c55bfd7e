//! The command line: options, times and signals.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;
use pidfd_reaper::Signal;

use crate::signals;

const USAGE: &str = "Usage: timeout [OPTION]... DURATION COMMAND [ARGUMENT]...

Runs COMMAND, and sends it a signal if it still runs after DURATION.

  -f, --foreground       leave COMMAND in the process group of timeout, so that
                         it can read the terminal and gets its signals; signal
                         COMMAND alone, and not its children
  -k, --kill-after=DURATION
                         send SIGKILL if something of COMMAND still runs that
                         long after the first signal
  -p, --preserve-status  exit with the status of COMMAND also after a timeout
  -s, --signal=SIGNAL    send SIGNAL at the timeout, not SIGTERM: a name or a
                         number, or 0 for none
  -v, --verbose          report each signal that is sent on standard error
  -h, --help             print this help
      --version          print the version

DURATION is a number with an optional fraction and one of the suffixes s for
seconds (the default), m for minutes, h for hours and d for days. 0 is no limit.

The status is that of COMMAND, or
  124  if COMMAND timed out
  125  if timeout itself failed
  126  if COMMAND was found and cannot be run
  127  if COMMAND was not found
  137  if COMMAND was killed by SIGKILL";

/// What is asked for.
pub(crate) enum Request {
    Run(Options),
    Print(String),
    Demonstrate,
}

pub(crate) struct Options {
    /// `None` is no limit.
    pub(crate) time: Option<Duration>,
    /// `None` is signal 0, which the kernel does not deliver.
    pub(crate) signal: Option<Signal>,
    /// From the first signal until `SIGKILL`.
    pub(crate) grace: Option<Duration>,
    pub(crate) foreground: bool,
    pub(crate) preserve_status: bool,
    pub(crate) verbose: bool,
    pub(crate) command: Vec<OsString>,
}

impl Options {
    pub(crate) fn new(time: Option<Duration>, command: Vec<OsString>) -> Self {
        Self {
            time,
            signal: Some(Signal::TERM),
            grace: None,
            foreground: false,
            preserve_status: false,
            verbose: false,
            command,
        }
    }

    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Request, lexopt::Error> {
        let mut options = Self::new(None, Vec::new());
        let mut is_empty = true;
        while let Some(arg) = args.next()? {
            is_empty = false;
            match arg {
                Short('f') | Long("foreground") => options.foreground = true,
                Short('p') | Long("preserve-status") => options.preserve_status = true,
                Short('v') | Long("verbose") => options.verbose = true,
                Short('s') | Long("signal") => options.signal = args.value()?.parse_with(signal)?,
                Short('k') | Long("kill-after") => {
                    options.grace = args.value()?.parse_with(time)?;
                }
                Short('h') | Long("help") => return Ok(Request::Print(USAGE.into())),
                Long("version") => {
                    return Ok(Request::Print(format!("timeout {}", env!("CARGO_PKG_VERSION"))));
                }
                Value(text) => {
                    options.time = text.parse_with(time)?;
                    options.command = args.raw_args()?.collect();
                    if options.command.is_empty() {
                        return Err("missing command".into());
                    }
                    return Ok(Request::Run(options));
                }
                _ => return Err(arg.unexpected()),
            }
        }
        if is_empty { Ok(Request::Demonstrate) } else { Err("missing duration".into()) }
    }
}

fn signal(text: &str) -> Result<Option<Signal>, String> {
    match signals::by_name(text) {
        None if text == "0" || text.eq_ignore_ascii_case("EXIT") => Ok(None),
        None => Err(format!("invalid signal '{text}'")),
        signal => Ok(signal),
    }
}

/// `None` for 0. A time that is too long is the longest, and one that is too short the shortest.
fn time(text: &str) -> Result<Option<Duration>, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or((text, 1.0));
    let seconds = number.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or_else(|| format!("invalid time interval '{text}'"))? * unit;
    // 1e-5000 is parsed as 0, and does not mean it.
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    if seconds == 0.0 && !mantissa.contains(|digit| ('1'..='9').contains(&digit)) {
        return Ok(None);
    }
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(time.max(Duration::from_nanos(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let nanosecond = Duration::from_nanos(1);
        for (text, expected) in [
            ("0", None),
            ("0.0e9d", None),
            ("10", Some(Duration::from_secs(10))),
            (".1", Some(Duration::from_millis(100))),
            ("5.", Some(Duration::from_secs(5))),
            ("+1.5m", Some(Duration::from_secs(90))),
            ("2h", Some(Duration::from_secs(7200))),
            ("2.34e+5d", Some(Duration::from_secs(20_217_600_000))),
            ("1e-5000", Some(nanosecond)),
            ("1e-12", Some(nanosecond)),
            ("1e5000", Some(Duration::MAX)),
            ("9223372036854775808d", Some(Duration::MAX)),
            ("infinity", Some(Duration::MAX)),
            ("inf", Some(Duration::MAX)),
            ("INFd", Some(Duration::MAX)),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "d", "invalid", "42D", "1ss", "1 s", "-1", "-inf", "nan", "1e"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals() {
        for (text, expected) in [
            ("TERM", Some(Signal::TERM)),
            ("SIGint", Some(Signal::INT)),
            ("9", Some(Signal::KILL)),
            ("0", None),
            ("exit", None),
        ] {
            assert_eq!(signal(text), Ok(expected), "{text}");
        }
        for text in ["", "invalid", "-1", "SIG", "SIG9", "65"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
