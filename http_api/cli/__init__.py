"""The commands of `broker`, one module each."""
