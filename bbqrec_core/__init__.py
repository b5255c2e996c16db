"""What BBQRec computes. Nothing in here knows Prefect, MLflow or Great Expectations."""

__version__ = "0.1.0"
