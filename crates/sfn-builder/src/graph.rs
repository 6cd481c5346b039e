//! Nodes and edges of a machine, as every picture needs them.
