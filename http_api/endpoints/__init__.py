"""The endpoints: decode, one call of the broker, encode."""
