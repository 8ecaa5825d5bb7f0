//! A safe wrapper of lunet.h: log-probabilities and samples of an exported folder of lunet_export.
#![allow(dead_code)] // a program need not call all of it
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::raw::{c_char, c_int};
use std::ptr::{null, null_mut};

#[repr(C)]
struct Options {
    runtime: *const c_char,
    provider: *const c_char,
    threads: c_int,
    device: c_int,
    tf32: c_int,
}

#[repr(C)]
struct Handle {
    _private: [u8; 0],
}

extern "C" {
    fn lunet_open(flow: *mut *mut Handle, folder: *const c_char, options: *const Options) -> c_int;
    fn lunet_close(flow: *mut Handle);
    fn lunet_error() -> *const c_char;
    fn lunet_name(flow: *const Handle) -> *const c_char;
    fn lunet_kind(flow: *const Handle) -> *const c_char;
    fn lunet_dtype(flow: *const Handle) -> *const c_char;
    fn lunet_version(flow: *const Handle) -> *const c_char;
    fn lunet_dim(flow: *const Handle) -> usize;
    fn lunet_context_dim(flow: *const Handle) -> usize;
    fn lunet_log_prob_given(flow: *const Handle, x: *const f64, rows: usize, context: *const f64, contexts: usize, log_prob: *mut f64, z: *mut f64) -> c_int;
    fn lunet_decode_given(flow: *const Handle, z: *const f64, rows: usize, context: *const f64, contexts: usize, x: *mut f64) -> c_int;
    fn lunet_sample_given(flow: *const Handle, seed: u64, first: u64, rows: usize, temperature: f64, context: *const f64, contexts: usize, x: *mut f64) -> c_int;
    fn lunet_beyond(flow: *const Handle, context: *const f64, contexts: usize) -> usize;
    fn lunet_philox(counter: *const u32, key: *const u32, words: *mut u32);
    fn lunet_normal(seed: u64, row: u64, dim: usize, numbers: *mut f64);
    fn lunet_read(flow: *const Handle, file: *const c_char, place: *const c_char, numbers: *mut *mut f64, count: *mut usize) -> c_int;
    fn lunet_free(numbers: *mut f64);
}

/// One sentence for the user; `code` is the exit code: 2 bad input, 3 the runtime cannot do it, 4 the operating system.
#[derive(Debug)]
pub struct Error {
    pub code: i32,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub fn bad_input(message: String) -> Error {
        Error { code: 2, message }
    }
}

fn text(pointer: *const c_char) -> String {
    // The texts of lunet.h end with a zero and outlive the call.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn done(code: c_int) -> Result<(), Error> {
    match code {
        0 => Ok(()),
        code => Err(Error { code, message: text(unsafe { lunet_error() }) }),
    }
}

fn c_string(argument: &str) -> Result<CString, Error> {
    CString::new(argument).map_err(|_| Error::bad_input(format!("Expected a text without zeros; got {argument:?}.")))
}

/// An open folder. Rows lie one after another in slices of `dim()` numbers each; any number of threads may use it.
///
/// A conditional flow, log p(x | c), takes a context with its rows: `context_dim()` numbers for all rows, or as many for
/// each row, one after another. The methods whose names end in `_given` take it; with None they do what the others do.
pub struct Flow(*mut Handle);

// lunet.h keeps the state of a call on the stack, and sessions of ONNX Runtime may run in several threads.
unsafe impl Send for Flow {}
unsafe impl Sync for Flow {}

impl Drop for Flow {
    fn drop(&mut self) {
        unsafe { lunet_close(self.0) }
    }
}

impl Flow {
    /// Open a folder on "cpu" or "cuda"; `runtime` is the path of ONNX Runtime's library; None lets the system find it.
    pub fn open(folder: &str, provider: &str, runtime: Option<&str>, threads: i32) -> Result<Flow, Error> {
        let (folder, provider) = (c_string(folder)?, c_string(provider)?);
        let runtime = runtime.map(c_string).transpose()?;
        let runtime = runtime.as_ref().map_or(null(), |path| path.as_ptr());
        let options = Options { runtime, provider: provider.as_ptr(), threads, device: 0, tf32: 0 };
        let mut flow = null_mut();
        done(unsafe { lunet_open(&mut flow, folder.as_ptr(), &options) })?;
        Ok(Flow(flow))
    }

    pub fn name(&self) -> String {
        text(unsafe { lunet_name(self.0) })
    }

    pub fn kind(&self) -> String {
        text(unsafe { lunet_kind(self.0) })
    }

    pub fn dtype(&self) -> String {
        text(unsafe { lunet_dtype(self.0) })
    }

    /// The version of ONNX Runtime.
    pub fn version(&self) -> String {
        text(unsafe { lunet_version(self.0) })
    }

    pub fn dim(&self) -> usize {
        unsafe { lunet_dim(self.0) }
    }

    /// The numbers per context; 0 for a flow that takes none.
    pub fn context_dim(&self) -> usize {
        unsafe { lunet_context_dim(self.0) }
    }

    /// log p of rows x, in nats, and their z.
    pub fn density(&self, x: &[f64]) -> Result<(Vec<f64>, Vec<f64>), Error> {
        self.density_given(x, None)
    }

    /// log p of rows x given their context, in nats, and their z.
    pub fn density_given(&self, x: &[f64], context: Option<&[f64]>) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let rows = rows(x, self.dim(), "x")?;
        let (context, contexts) = self.contexts(context)?;
        let (mut log_prob, mut z) = (vec![0.0; rows], vec![0.0; x.len()]);
        done(unsafe { lunet_log_prob_given(self.0, x.as_ptr(), rows, context, contexts, log_prob.as_mut_ptr(), z.as_mut_ptr()) })?;
        Ok((log_prob, z))
    }

    /// z -> x.
    pub fn decode(&self, z: &[f64]) -> Result<Vec<f64>, Error> {
        self.decode_given(z, None)
    }

    /// z -> x, given their context.
    pub fn decode_given(&self, z: &[f64], context: Option<&[f64]>) -> Result<Vec<f64>, Error> {
        let rows = rows(z, self.dim(), "z")?;
        let (context, contexts) = self.contexts(context)?;
        let mut x = vec![0.0; z.len()];
        done(unsafe { lunet_decode_given(self.0, z.as_ptr(), rows, context, contexts, x.as_mut_ptr()) })?;
        Ok(x)
    }

    /// Rows first .. first + rows - 1 of a seed, the same in every language. Temperature 1 is the model itself.
    pub fn sample(&self, seed: u64, first: u64, rows: usize, temperature: f64) -> Result<Vec<f64>, Error> {
        self.sample_given(seed, first, rows, temperature, None)
    }

    /// The same rows given their context. Row i of a seed has the same z whatever its context.
    pub fn sample_given(&self, seed: u64, first: u64, rows: usize, temperature: f64, context: Option<&[f64]>) -> Result<Vec<f64>, Error> {
        let (context, contexts) = self.contexts(context)?;
        // A product that overflows would allocate less room than lunet.h writes.
        let too_many = || Error::bad_input(format!("Expected rows that fit into memory; got {rows}. Ask for fewer."));
        let mut x = vec![0.0; rows.checked_mul(self.dim()).ok_or_else(too_many)?];
        done(unsafe { lunet_sample_given(self.0, seed, first, rows, temperature, context, contexts, x.as_mut_ptr()) })?;
        Ok(x)
    }

    /// The first column, from 0, in which one of the contexts lies beyond those of training, where nothing was fitted.
    /// None if there is none, or if the folder does not say what training had.
    pub fn beyond(&self, context: &[f64]) -> Result<Option<usize>, Error> {
        let (context, contexts) = self.contexts(Some(context))?;
        Ok(unsafe { lunet_beyond(self.0, context, contexts) }.checked_sub(1))
    }

    /// The numbers at a place of manifest.json or vectors.json; empty if there is no such place.
    pub fn read(&self, file: &str, place: &str) -> Result<Vec<f64>, Error> {
        let (file, place) = (c_string(file)?, c_string(place)?);
        let (mut numbers, mut count) = (null_mut(), 0);
        done(unsafe { lunet_read(self.0, file.as_ptr(), place.as_ptr(), &mut numbers, &mut count) })?;
        if numbers.is_null() {
            return Ok(Vec::new());
        }
        let found = unsafe { std::slice::from_raw_parts(numbers, count) }.to_vec();
        unsafe { lunet_free(numbers) };
        Ok(found)
    }

    /// Where contexts begin, and how many there are; lunet.h says where there may be none.
    fn contexts(&self, context: Option<&[f64]>) -> Result<(*const f64, usize), Error> {
        let numbers = match context {
            None => return Ok((null(), 0)),
            Some(numbers) => numbers,
        };
        let count = match self.context_dim() {
            0 => 1, // which is refused, whatever it is
            dim => rows(numbers, dim, "context")?,
        };
        Ok((numbers.as_ptr(), count))
    }
}

fn rows(numbers: &[f64], dim: usize, name: &str) -> Result<usize, Error> {
    let count = numbers.len();
    if count % dim == 0 {
        return Ok(count / dim);
    }
    Err(Error::bad_input(format!("Expected {name} in rows of {dim} numbers; got {count} numbers in all.")))
}

/// The words of columns 4 group .. 4 group + 3 of a row of a seed, by Philox4x32-10.
pub fn words(seed: u64, row: u64, group: u32) -> [u32; 4] {
    let (counter, key) = ([group, row as u32, (row >> 32) as u32, 0], [seed as u32, (seed >> 32) as u32]);
    let mut words = [0; 4];
    unsafe { lunet_philox(counter.as_ptr(), key.as_ptr(), words.as_mut_ptr()) };
    words
}

/// The standard normal numbers of a row of a seed.
pub fn normal(seed: u64, row: u64, dim: usize) -> Vec<f64> {
    let mut numbers = vec![0.0; dim];
    unsafe { lunet_normal(seed, row, dim, numbers.as_mut_ptr()) };
    numbers
}
