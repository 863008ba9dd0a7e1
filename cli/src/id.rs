//! `id`: the 16 bytes that are stored for a name.

use clap::Args;
use serde_json::json;
use stillboot_release::keys::id_of;

use crate::args;
use crate::failure::Failure;
use crate::output::Output;
use crate::view;

/// Options of `id`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot id model-1\n\n\
    The same name gives the same id on every machine. A UUID stands for itself.")]
pub struct IdArgs {
    /// A product, a device class, or a device
    #[arg(value_name = "NAME", value_parser = args::name)]
    name: String,
}

/// Shows an id.
pub fn id(args: &IdArgs, out: &Output) -> Result<(), Failure> {
    let id = view::id(&id_of(&args.name));
    out.line(&id);
    out.result(|| json!({ "name": args.name, "id": id }));
    Ok(())
}
