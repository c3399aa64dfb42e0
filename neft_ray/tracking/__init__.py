"""Tracking: points and cards on disk are the truth; MLflow is a mirror of them.

Importing any part of it sets MLflow's own settings where the user has none, because MLflow reads
some of them when it is imported itself.
"""

import os

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow would repeat a request that timed out, and so create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
for _name, _value in MLFLOW_SETTINGS.items():
    os.environ.setdefault(_name, _value)
