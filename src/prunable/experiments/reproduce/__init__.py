"""Tables and figures of papers as items: what they need, and what their runs show."""
