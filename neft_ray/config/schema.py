"""The JSON schema of a sweep file, for editors: `python -m neft_ray.config.schema` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import CoreSchema

from neft_ray.config.arm_checks import SHARED_KEYS
from neft_ray.config.keys import TRIAL_KEYS
from neft_ray.config.sweep import SweepConfig

FILE = Path("docs/sweep.schema.json")
"""Relative to the repository, where the command is typed."""


class _Generator(GenerateJsonSchema):
    """Names the dialect; leaves out titles that only repeat the key."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> dict[str, Any]:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def sweep_schema() -> dict[str, Any]:
    """Return the schema of a sweep file, in which the space and the arms list every key."""
    schema = SweepConfig.model_json_schema(schema_generator=_Generator)
    search = schema["$defs"]["SearchConfig"]["properties"]
    control, controls = (
        next(part for part in search[key]["anyOf"] if part["type"] == "object")
        for key in ("control", "controls")
    )
    further = controls["additionalProperties"]
    for mapping, name in ((search["space"], "Domain"), (control, "Value"), (further, "Value")):
        schema["$defs"][name] = mapping["additionalProperties"]
        mapping["additionalProperties"] = False
        mapping["properties"] = {
            key: {"description": field.description or key, "$ref": f"#/$defs/{name}"}
            for key, field in TRIAL_KEYS.items()
            if key not in SHARED_KEYS
        }
    return schema


def rendered() -> str:
    """Return the text of the committed file."""
    return json.dumps(sweep_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file."""
    FILE.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
