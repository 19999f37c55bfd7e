//! The command line.

use lexopt::prelude::*;

const HELP: &str = "\
Starts children on each runtime in turn, and sees whether all of them come home.

Usage: fleet [OPTIONS]

  --runtime NAME    tokio, tokio-multi, smol, async-std, or all (the default)
  --children N      how many children for each runtime (200)
  --without-pidfd   have pidfd_open(2) answer ENOSYS, as on a kernel before 5.3
  --json            print the numbers as JSON
  --help            print this

The status is 0 if every status was right and nothing was left over, else 1; 2 if it could not run.
";

pub(crate) struct Options {
    /// `None` for all of them.
    pub(crate) runtime: Option<String>,
    pub(crate) children: u32,
    pub(crate) without_pidfd: bool,
    pub(crate) json: bool,
}

impl Options {
    /// `None` if only help was asked for, and given.
    pub(crate) fn parse(runtimes: &[&str]) -> Result<Option<Self>, lexopt::Error> {
        let mut options = Self { runtime: None, children: 200, without_pidfd: false, json: false };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("runtime") => options.runtime = runtime(args.value()?.string()?, runtimes)?,
                Long("children") => options.children = args.value()?.parse()?,
                Long("without-pidfd") => options.without_pidfd = true,
                Long("json") => options.json = true,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(arg.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

fn runtime(name: String, runtimes: &[&str]) -> Result<Option<String>, lexopt::Error> {
    if name == "all" {
        return Ok(None);
    }
    if runtimes.contains(&name.as_str()) {
        return Ok(Some(name));
    }
    Err(format!("no runtime {name:?}: it is one of {}, all", runtimes.join(", ")).into())
}
