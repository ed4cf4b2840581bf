"""The study of forecasts: networks, their logits, errors of all estimators, tables."""
