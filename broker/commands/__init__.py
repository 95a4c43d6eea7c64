"""Commands: the Lua scripts, running them, and group commit."""
