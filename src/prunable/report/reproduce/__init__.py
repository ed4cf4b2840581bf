"""Documents, tables, figures and pages of reproduced items."""
