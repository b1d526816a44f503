//! `admin.socket:` where operators ask the running process.

use std::path::PathBuf;

use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::stanza::Reading;

pub(super) fn check(
    socket: Field<String>,
    reading: &mut Reading,
) -> Result<Option<PathBuf>, Reported> {
    let Some(typed) = socket.optional()? else { return Ok(None) };
    let path = PathBuf::from(&typed.value);
    if !path.is_absolute() || path.file_name().is_none() || typed.value.ends_with('/') {
        return Err(reading.tell(typed.problem(
            "is not an absolute path of a file",
            "write it as in /run/mcp-doorman/admin.sock",
        )));
    }
    if typed.value.len() > LONGEST {
        return Err(reading.tell(typed.problem(
            "is too long for the path of a socket",
            format!("use a path of {LONGEST} bytes at most"),
        )));
    }
    Ok(Some(path))
}

/// Bytes. Some systems take 103, and it is made under another name first.
const LONGEST: usize = 90;
