"""The Params of estimators and models."""
