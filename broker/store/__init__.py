"""Redis access: connections, servers and failures. Knows nothing of streams and scripts."""
