"""Access control: access tokens with their scopes, and the audit log."""
