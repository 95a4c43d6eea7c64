"""A Redis of any kind: connections, servers, faults. It knows nothing of streams and scripts."""
