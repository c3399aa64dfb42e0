"""What ends a help page: what people type, by command, and the exit codes."""

from __future__ import annotations

EXAMPLES = {
    "quickstart": ("neft-ray quickstart", "neft-ray quickstart --set sweep.num_trials=12"),
    "recipes": ("neft-ray recipes", "neft-ray recipes llama2"),
    "validate": ("neft-ray validate my.yaml", "neft-ray validate paper/llama2-7b-alpaca --memory"),
    "sweep": (
        "neft-ray sweep my.yaml --set sweep.num_trials=32",
        "neft-ray sweep paper/llama2-7b-alpaca --stand-in",
        "neft-ray sweep --resume latest",
    ),
    "train": ("neft-ray train my.yaml --set noise.alpha=10",),
    "init": ("neft-ray init my.yaml --model org/name --data my_rows.jsonl --gpus 1",),
    "schema": ("neft-ray schema > sweep.schema.json",),
    "plan": (
        "neft-ray plan my.yaml --measure",
        "neft-ray plan paper/llama2-7b-alpaca --compare --slots 4",
    ),
    "ls": ("neft-ray ls", "neft-ray ls --storage s3://bucket/runs --json"),
    "status": ("neft-ray status", "neft-ray status latest --cluster aws.yaml"),
    "logs": ("neft-ray logs latest", "neft-ray logs latest --trial t003"),
    "stop": ("neft-ray stop latest", "neft-ray stop latest --trial t003"),
    "report": ("neft-ray report", "neft-ray report first second --out comparison"),
    "ui": ("neft-ray ui", "neft-ray ui --cluster aws.yaml"),
    "export": ("neft-ray export latest --trial t003 --to my_model",),
    "chat": ("neft-ray chat", "neft-ray chat latest --against control"),
    "evaluate": (
        "neft-ray evaluate latest --on alpaca_eval",
        "neft-ray evaluate latest:control --on my_prompts.jsonl --against none",
        "neft-ray evaluate ours.json --against theirs.json --set judge.model=…",
    ),
    "gc": ("neft-ray gc latest --dry-run", "neft-ray gc --all --keep 1 --yes"),
    "doctor": ("neft-ray doctor aws.yaml",),
    "submit": (
        "neft-ray submit my.yaml --cluster aws.yaml --follow",
        "neft-ray submit paper/llama2-7b-alpaca --cluster aws.yaml",
        "neft-ray submit --resume latest --cluster aws.yaml",
    ),
    "data inspect": ("neft-ray data inspect my.yaml --rows 5",),
    "fetch": ("neft-ray fetch latest --cluster aws.yaml",),
    "down": ("neft-ray down aws.yaml --yes",),
}
"""Not of `head` and `spot`, which cluster files call."""


EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed after the start; 2 bad input, nothing was started; "
    "130 interrupted, --resume goes on."
)


def epilog(command: str) -> str:
    """Return what ends a command's help page: its examples, if it has any, and the exit codes."""
    lines = EXAMPLES.get(command)
    return "\n\n".join(["Examples:", *lines, EXIT_CODES] if lines else [EXIT_CODES])
