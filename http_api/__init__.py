"""The HTTP facade and the command line of the broker."""
