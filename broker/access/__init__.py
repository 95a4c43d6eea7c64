"""Who may do what: access tokens and their scopes, and the audit log of what was changed."""
