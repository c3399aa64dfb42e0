"""Plays Slurm: `srun` runs what it is given, `scontrol` writes it down."""

import os
import shlex
import subprocess
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "clusters/slurm.sh"
SRUN = """\
#!/bin/bash
echo "srun $*" >> {log}
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
NOTED = """\
#!/bin/bash
echo "${{0##*/}} $*" >> {log}
"""
RAY = (
    NOTED
    + """\
stat --format=%a "$RAY_AUTH_TOKEN_PATH" >> {log}
wc --chars < "$RAY_AUTH_TOKEN_PATH" >> {log}
echo "$RAY_AUTH_MODE $RAY_TMPDIR" >> {log}
sleep ${{PATIENCE:-0}}
"""
)


class Slurm:
    """A folder with the script in it, filled in, and what plays Slurm."""

    def __init__(self, folder, environment):
        self.folder, self.log, self.storage = folder, folder / "log", folder / "runs"
        text = SHIPPED.read_text()
        text = text.replace("environment=$HOME/neft_ray_venv", f"environment={environment}")
        text = text.replace("storage=/shared/neft_ray", f"storage={self.storage}")
        self.script = folder / "slurm.sh"
        self.script.write_text(text)
        self.tool("srun", SRUN)
        self.tool("scontrol", NOTED)

    def tool(self, name, text):
        """Put a command in the way."""
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.format(log=self.log))
        file.chmod(0o755)

    def start(self, *arguments, before=(), **changes):
        """Start the script as Slurm would on the first node of a job."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        job = {
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NAME": "neft-ray",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_CPUS_PER_TASK": "2",
        }
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                [*before, "bash", str(self.script), *map(str, arguments)],
                env={**os.environ, "PATH": path, **job, **changes},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )

    def run(self, *arguments, **changes):
        """Run it to its end and return the exit code."""
        return self.start(*arguments, **changes).wait(60)

    def logged(self, first):
        """Return the words of what was asked of a command, by call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [shlex.split(line)[1:] for line in lines if line.startswith(f"{first} ")]

    def told(self):
        return (self.folder / "output").read_text()
