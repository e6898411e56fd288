//! `ic sign`: signs an artifact.

use super::args::SignArgs;
use super::output::Say;
use anyhow::{Context, Result};
use ic_artifact::SecretKey;

pub(crate) fn sign(args: &SignArgs, say: &mut Say) -> Result<()> {
    let key = &args.key;
    let text = std::fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
    let key = SecretKey::from_pem(&text).with_context(|| key.display().to_string())?;
    let output = args.output.as_ref().unwrap_or(&args.artifact);
    ic_artifact::sign(&args.artifact, output, &key).with_context(|| args.artifact.display().to_string())?;
    say.line(&format!("signed {}", output.display()))
}
