//! The init at work, in a pid namespace of its own where that is allowed.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Leaves orphans, waits until all are reaped, has the init signalled, and ends with what it is to
/// end with. `$PPID` is the init.
const SCRIPT: &str = r#"
trap 'echo "a signal to the init came through"; exit 7' TERM

for _ in 1 2 3 4 5 6 7 8 9 10; do (sh -c true & sh -c 'exit 3' &); done

left() { # prints the init's children but this one
    for status in /proc/[0-9]*/status; do
        parent= pid=
        while read -r key value rest; do
            case $key in Pid:) pid=$value ;; PPid:) parent=$value ;; esac
        done 2>/dev/null <"$status"
        [ "$parent" != "$PPID" ] || [ "$pid" = $$ ] || echo "$pid"
    done
}
rounds=0
while [ -n "$(left)" ]; do
    rounds=$((rounds + 1))
    [ $rounds -lt 1000 ] || { echo "not reaped: $(left)"; exit 1; }
done
echo "20 orphans were reaped by process $PPID"

kill -TERM $PPID
rounds=0
while [ $rounds -lt 1000 ]; do sleep 0.01; rounds=$((rounds + 1)); done
echo "no signal came through"
exit 1
"#;

pub(crate) fn run() -> ExitCode {
    match demonstrate() {
        Ok(Some(7)) => {
            println!("the command's status came out: 7");
            ExitCode::SUCCESS
        }
        Ok(code) => {
            eprintln!("init: the demonstration has failed: its status is {code:?}, not 7");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("init: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> io::Result<Option<i32>> {
    let init = env::current_exe()?;
    let mut command = if own_namespace(Path::new("true"))
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("as PID 1 of a new namespace:");
        own_namespace(&init)
    } else {
        println!("as a child subreaper, since a new PID namespace cannot be made here:");
        Command::new(&init)
    };
    Ok(command.args(["--", "sh", "-c", SCRIPT]).status()?.code())
}

/// `program`, to be PID 1 of a new pid namespace.
fn own_namespace(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(program);
    command
}
