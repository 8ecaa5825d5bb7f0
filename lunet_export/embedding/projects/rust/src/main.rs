//! replay FOLDER [cpu|cuda [LIBRARY]]: check an exported folder, sample, score. LIBRARY is ONNX Runtime's.
//! Exit codes: 0 good, 1 a vector is outside its tolerance, 2 bad file or argument, 3 the runtime is missing, too old
//! or cannot do it, 4 the operating system.
mod lunet;

use lunet::{normal, words, Error, Flow};
use std::io::Write;
use std::time::Instant;

const SAMPLES: usize = 100;
const TURNS: usize = 20;
const CALLS: usize = 10;

/// Print a line; println! would panic on a closed pipe.
fn say(line: String) -> Result<(), Error> {
    let system = |error| Error { code: 4, message: format!("Expected to print; the system says: {error}.") };
    writeln!(std::io::stdout(), "{line}").map_err(system)
}

/// Six significant digits, as the other languages print them.
fn digits(number: f64) -> String {
    let text = format!("{number:.5e}"); // rounding may raise the exponent, as for 9.9999996
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, ""));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{number:.*}", (5 - exponent) as usize);
    }
    format!("{mantissa}e{exponent:+03}")
}

/// Numbers of vectors.json, `wide` in each of `rows` rows.
fn vectors(flow: &Flow, place: &str, rows: usize, wide: usize) -> Result<Vec<f64>, Error> {
    let found = flow.read("vectors.json", place)?;
    if !found.iter().all(|number| number.is_finite()) {
        return Err(Error::bad_input(format!("Expected finite numbers in {place} of vectors.json; got others. Export again.")));
    }
    if found.len() == rows * wide && rows > 0 {
        return Ok(found);
    }
    let got = found.len();
    Err(Error::bad_input(format!("Expected {rows} rows of {wide} numbers in {place} of vectors.json; got {got} in all. Export again.")))
}

/// Compare rows with their tolerances and print the worst one; true if all are within.
fn compare(name: &str, expected: &[f64], got: &[f64], tolerance: &[f64], skipped: &[f64]) -> Result<bool, Error> {
    let wide = expected.len() / tolerance.len();
    let (mut ratio, mut difference, mut worst) = (0.0, 0.0, 0);
    for (index, (a, b)) in expected.iter().zip(got).enumerate() {
        let (row, gap) = (index / wide, (a - b).abs());
        if skipped.get(row).map_or(false, |skip| *skip != 0.0) || gap / tolerance[row] <= ratio {
            continue;
        }
        (ratio, difference, worst) = (gap / tolerance[row], gap, row);
        if ratio.is_nan() {
            break;
        }
    }
    let line = format!("vectors {name}: {} of the tolerance", digits(ratio));
    if ratio <= 1.0 {
        return say(line).map(|()| true);
    }
    let (off, most) = (digits(difference), digits(tolerance[worst]));
    say(format!("{line}; FAILED: row {worst} is off by {off}, tolerance {most}")).map(|()| false)
}

/// Contexts of vectors.json, in `rows` rows; None for a flow that takes none.
fn contexts(flow: &Flow, place: &str, rows: usize) -> Result<Option<Vec<f64>>, Error> {
    match flow.context_dim() {
        0 => Ok(None),
        wide => vectors(flow, place, rows, wide).map(Some),
    }
}

/// Replay the test vectors; return whether each is within its tolerance, and their first context, for samples and calls.
fn replay(flow: &Flow) -> Result<(Vec<bool>, Option<Vec<f64>>), Error> {
    let dim = flow.dim();
    let (rows, many) = (flow.read("vectors.json", "density/log_prob")?.len(), flow.read("vectors.json", "sampling/log_prob")?.len());
    let density = |place: &str, wide| vectors(flow, &format!("density/{place}"), rows, wide);
    let sampling = |place: &str, wide| vectors(flow, &format!("sampling/{place}"), many, wide);
    let (x, drawn_z, clamped) = (density("x", dim)?, sampling("z", dim)?, sampling("clamped", 1)?);
    let (context, drawn_context) = (contexts(flow, "density/context", rows)?, contexts(flow, "sampling/context", many)?);
    let (log_prob, z) = flow.density_given(&x, context.as_deref())?;
    let drawn_x = flow.decode_given(&drawn_z, drawn_context.as_deref())?;
    let (again_log_prob, again_z) = flow.density_given(&drawn_x, drawn_context.as_deref())?;
    let mut round_trip = density("tolerance/x", 1)?;
    for (most, predicted) in round_trip.iter_mut().zip(flow.read("manifest.json", "certificate/rows/round_trip")?) {
        *most = most.min(2.0 * predicted);
    }
    let checks = vec![
        compare("density z", &density("z", dim)?, &z, &density("tolerance/z", 1)?, &[])?,
        compare("density log_prob", &density("log_prob", 1)?, &log_prob, &density("tolerance/log_prob", 1)?, &[])?,
        compare("sampling x", &sampling("x", dim)?, &drawn_x, &sampling("tolerance/x", 1)?, &[])?,
        compare("x -> z -> x", &x, &flow.decode_given(&z, context.as_deref())?, &round_trip, &[])?,
        compare("z -> x -> z", &drawn_z, &again_z, &sampling("tolerance/z", 1)?, &clamped)?,
        compare("log_prob of sampled x", &sampling("log_prob", 1)?, &again_log_prob, &sampling("tolerance/log_prob", 1)?, &clamped)?,
    ];
    Ok((checks, context.map(|all| all[..flow.context_dim()].to_vec())))
}

fn noise(seed: u64, row: u64) -> Result<(), Error> {
    let hex: Vec<String> = words(seed, row, 0).iter().map(|word| format!("{word:08x}")).collect();
    let numbers: Vec<String> = normal(seed, row, 4).iter().map(|number| format!("{number:.9}")).collect();
    say(format!("noise seed {seed}, row {row}: {}; {}", hex.join(" "), numbers.join(" ")))
}

fn sample(flow: &Flow, context: Option<&[f64]>) -> Result<(), Error> {
    let x = flow.sample_given(7, 0, SAMPLES, 1.0, context)?;
    let (log_prob, _) = flow.density_given(&x, context)?;
    let bits = -log_prob[0] / (flow.dim() as f64 * std::f64::consts::LN_2);
    let first: Vec<String> = x.iter().take(flow.dim().min(4)).map(|number| digits(*number)).collect();
    say(format!("sample seed 7, row 0: {}; {} nats, {} bits/dim", first.join(" "), digits(log_prob[0]), digits(bits)))?;
    let mean = log_prob.iter().sum::<f64>() / SAMPLES as f64;
    say(format!("sample seed 7, {SAMPLES} rows: mean log_prob {} nats", digits(mean)))
}

/// Milliseconds per call: the median over turns of several calls, as a browser's clock is coarse; two turns warm up.
fn median(mut call: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(TURNS + 2);
    for _ in 0..TURNS + 2 {
        let begin = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3 / CALLS as f64);
    }
    times.drain(..2);
    times.sort_by(f64::total_cmp);
    Ok(times[TURNS / 2])
}

fn steps(arguments: &[String]) -> Result<i32, Error> {
    let (folder, provider, runtime) = match arguments {
        [folder] => (folder, "cpu", None),
        [folder, provider] => (folder, provider.as_str(), None),
        [folder, provider, runtime] => (folder, provider.as_str(), Some(runtime.as_str())),
        _ => return Err(Error::bad_input("Usage: replay FOLDER [cpu|cuda [LIBRARY]]".into())),
    };
    let flow = Flow::open(folder, provider, runtime, 1)?;
    let of_context = match flow.context_dim() {
        0 => String::new(),
        wide => format!(", context of {wide} numbers"),
    };
    say(format!("model {}: {}, {} dimensions, {}{of_context}", flow.name(), flow.kind(), flow.dim(), flow.dtype()))?;
    say(format!("runtime ONNX Runtime {}, {provider}", flow.version()))?;
    let (checks, context) = replay(&flow)?;
    let context = context.as_deref();
    noise(7, 0)?;
    noise(7, 4294967301)?;
    noise(u64::MAX, 1)?;
    sample(&flow, context)?;
    let (x, z) = (flow.sample_given(7, 0, 1, 1.0, context)?, normal(7, 0, flow.dim()));
    let density = median(|| flow.density_given(&x, context).map(drop))?;
    let sampling = median(|| flow.decode_given(&z, context).map(drop))?;
    say(format!("latency density {density:.3} ms, sampling {sampling:.3} ms: medians of {TURNS} turns of {CALLS} calls, batch 1"))?;
    match (checks.len(), checks.iter().filter(|passed| !**passed).count()) {
        (all, 0) => say(format!("all {all} vectors are within their tolerance"))?,
        (all, wrong) => say(format!("{wrong} of {all} vectors are outside their tolerance"))?,
    }
    Ok(i32::from(checks.contains(&false)))
}

fn main() {
    let no_text = |text| Error::bad_input(format!("Expected arguments in UTF-8; got {text:?}."));
    let arguments = std::env::args_os().skip(1).map(|one| one.into_string().map_err(no_text));
    let code = arguments.collect::<Result<Vec<_>, _>>().and_then(|found| steps(&found)).unwrap_or_else(|error| {
        eprintln!("{error}");
        error.code
    });
    std::process::exit(code);
}
