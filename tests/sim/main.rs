//! The simulator at large: sweeps, walks, damaged disks, and the bodies of the fuzz targets.

mod corpus;
mod explore;
mod hostile;
mod walks;
