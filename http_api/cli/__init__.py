"""The commands of `broker`, a module each."""
