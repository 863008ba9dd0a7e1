mod conformance;
mod model;
mod power;
