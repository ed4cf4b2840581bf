"""Tables, figures and pages of stored results; computes nothing, knows no torch."""
