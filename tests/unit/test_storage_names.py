"""Storage folders of odd names: MLflow's file is written there, or they are refused."""

import pytest

from neft_ray.errors import UserError
from neft_ray.tracking.address import Address
from neft_ray.tracking.mlflow_store import MlflowStore


@pytest.mark.parametrize("name", ["a b", "a#b", "100%", "ä;ö"])
def test_mlflow_writes_into_a_folder_of_an_odd_name(tmp_path, name):
    MlflowStore(None, tmp_path / name, "experiment")
    assert (tmp_path / name / "mlflow.db").is_file()


@pytest.mark.parametrize(("name", "odd"), [("what?", "?"), ("a%20b", "%20")])
def test_a_folder_that_no_address_can_name_is_refused_unless_mlflow_is_elsewhere(
    tmp_path, name, odd
):
    with pytest.raises(UserError) as caught:
        Address.of(None, tmp_path / name)
    assert f"{name}: `{odd}` means something else in the address" in str(caught.value)
    assert Address.of("http://host:5000", tmp_path / name).storage == tmp_path / name
