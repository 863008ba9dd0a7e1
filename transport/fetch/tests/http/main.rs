//! Files of web servers: hostile ones made here, and nginx.

mod certificates;
mod hostile;
mod lies;
mod nginx;
mod patience;
mod redirects;
mod relay;
mod server;
