//! How many instructions the hot paths execute, counted by valgrind: unlike their time that is the same on a busy machine. Fails
//! when one has become dearer than the committed figures say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use twindisk_benches::{
    failure::{Failure, Result, Trying},
    hot::{HOT, Hot},
    house::{self, output},
    table::{markdown, number},
};

/// Counts the instructions of the hot paths, and fails when one needs more than the committed figures allow. They are of
/// release builds: `cargo run --release`.
#[derive(Parser, Debug)]
struct Args {
    #[command(subcommand)]
    command: Option<Ask>,
}

#[derive(Subcommand, Debug)]
enum Ask {
    /// Writes the committed figures anew
    Renew,
    /// Does one so often; this is what is counted
    #[command(hide = true)]
    Do { name: String, times: u32 },
}

/// The committed figures.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// Another compiler may count otherwise.
    compiler: String,
    /// Per call.
    instructions: BTreeMap<String, u64>,
}

/// More than this in a hundred is a failure: less is a compiler's mood.
const TOLERATED_PERCENT: f64 = 10.0;

/// As many as make the start of the program cancel out.
const TIMES: u32 = 1000;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Ask::Do { name, times }) = &args.command {
        return exercise(name, *times);
    }
    let renew = matches!(args.command, Some(Ask::Renew));
    house::run(|| run(renew))
}

fn exercise(name: &str, times: u32) -> ExitCode {
    let Some(hot) = HOT.iter().find(|hot| hot.name == name) else {
        return ExitCode::FAILURE;
    };
    let mut work = (hot.prepare)();
    (0..times).for_each(|_| work());
    ExitCode::SUCCESS
}

fn run(renew: bool) -> Result<()> {
    if cfg!(debug_assertions) {
        return Err(Failure(
            "the figures are of release builds: cargo run --release".to_owned(),
        ));
    }
    if output(Command::new("valgrind").arg("--version")).is_err() {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            return Err(Failure("CI=true, and valgrind is missing".to_owned()));
        }
        println!("NOT COUNTED: valgrind is missing here (Debian: valgrind)");
        return Ok(());
    }
    let counted: BTreeMap<String, u64> = HOT
        .iter()
        .map(|hot| Ok((hot.name.to_owned(), count(hot)?)))
        .collect::<Result<_>>()?;
    let path = baseline();
    if renew {
        let baseline = Baseline {
            compiler: compiler()?,
            instructions: counted,
        };
        let text = serde_json::to_string_pretty(&baseline).trying("the figures")?;
        return fs::write(&path, text + "\n").trying(path.display());
    }
    let text = fs::read_to_string(&path).trying(path.display())?;
    let baseline: Baseline = serde_json::from_str(&text).trying(path.display())?;
    compare(&baseline, &counted)
}

fn compare(baseline: &Baseline, counted: &BTreeMap<String, u64>) -> Result<()> {
    let mut dearer = Vec::new();
    let rows: Vec<Vec<String>> = counted
        .iter()
        .map(|(name, now)| {
            let Some(then) = baseline.instructions.get(name) else {
                dearer.push(format!("{name:?} is not in the committed figures"));
                return vec![
                    name.clone(),
                    "-".to_owned(),
                    number(*now as f64),
                    "-".to_owned(),
                ];
            };
            let change = (*now as f64 / *then as f64 - 1.0) * 100.0;
            if change > TOLERATED_PERCENT {
                dearer.push(format!(
                    "{name:?} executes {change:.0} % more than was committed"
                ));
            }
            let cells = [
                number(*then as f64),
                number(*now as f64),
                format!("{change:+.1}"),
            ];
            [name.clone()].into_iter().chain(cells).collect()
        })
        .collect();
    let head = ["instructions per call", "committed", "now", "%"].map(str::to_owned);
    print!("{}", markdown(&head, &rows));
    if dearer.is_empty() {
        return Ok(());
    }
    let told = dearer.join("\n");
    let (then, now) = (&baseline.compiler, compiler()?);
    if *then != now || !has_vectors() {
        println!(
            "{told}\nNOT HELD AGAINST IT: the committed figures are by {then} for a processor with AVX2"
        );
        return Ok(());
    }
    Err(Failure(format!(
        "{told}\nFind out why; if it is worth it:\n\
         cargo run --release -p twindisk-benches --bin instructions -- renew"
    )))
}

/// Whether copies and checksums take the way here that they took where the figures were counted.
fn has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Instructions per call: the difference between so many calls and twice as many.
fn count(hot: &Hot) -> Result<u64> {
    let (once, twice) = (collected(hot.name, TIMES)?, collected(hot.name, 2 * TIMES)?);
    Ok((twice.saturating_sub(once) + u64::from(TIMES) / 2) / u64::from(TIMES))
}

fn collected(name: &str, times: u32) -> Result<u64> {
    let program = std::env::current_exe().trying("this program's path")?;
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["do", name, &times.to_string()])
        .output()
        .trying("valgrind")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let line = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let count = line.and_then(|(_, count)| count.trim().parse().ok());
    count
        .filter(|_| ran.status.success())
        .ok_or_else(|| Failure(format!("valgrind on {name:?}: {}: {said}", ran.status)))
}

fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = output(Command::new(rustc).arg("--version"))?;
    Ok(said.trim().to_owned())
}

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(block: u64, header: u64) -> BTreeMap<String, u64> {
        let figures = [("a block", block), ("a header", header)];
        BTreeMap::from(figures.map(|(name, count)| (name.to_owned(), count)))
    }

    #[test]
    fn what_became_dearer_is_named() {
        if !has_vectors() {
            return;
        }
        let baseline = Baseline {
            compiler: compiler().expect("a compiler"),
            instructions: figures(1000, 100),
        };
        assert!(compare(&baseline, &figures(1090, 100)).is_ok());
        assert!(compare(&baseline, &figures(500, 50)).is_ok());
        let why = compare(&baseline, &figures(1000, 112)).unwrap_err().0;
        assert!(why.starts_with("\"a header\" executes 12 % more"), "{why}");
        let mut more = figures(1000, 100);
        more.insert("new".to_owned(), 1);
        assert!(
            compare(&baseline, &more).is_err(),
            "what is not there is not guarded"
        );
    }

    #[test]
    fn another_compiler_is_not_held_against_a_change() {
        let baseline = Baseline {
            compiler: "another".to_owned(),
            instructions: figures(1000, 100),
        };
        assert!(compare(&baseline, &figures(2000, 100)).is_ok());
    }
}
