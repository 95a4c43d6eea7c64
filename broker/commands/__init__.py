"""Commands: the Lua scripts, how they run, and how calls share one run."""
