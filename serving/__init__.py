"""The model as MLflow serves it: code that a model version carries with it, free of Prefect."""
