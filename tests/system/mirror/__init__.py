"""The mirror against a real MLflow server and sqlite; what differs is told in full."""

import pytest

pytest.register_assert_rewrite("tests.system.mirror.sweeps")
