"""A Slurm that runs everything on this machine at once: the commands that submitit calls, as far as it calls them."""

from __future__ import annotations

from pathlib import Path

_COMMANDS = {
    "sbatch": """
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for task in $(seq 0 "${last:-0}"); do
    if [ -n "$last" ]; then export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task; fi
    SLURM_JOB_ID=7 setsid bash "$1" > /dev/null 2>&1 &
    echo $! > "$HERE/7${last:+_$task}.pid"
done
echo "Submitted batch job 7"
""",
    "srun": """
while [[ $1 == --* ]]; do
    if [ "$1" = --output ]; then out=$2; shift; fi
    shift
done
job=$SLURM_JOB_ID${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
out=${out//%A_%a/$job} out=${out//%j/$job}
exec "$@" > "${out//%t/0}" 2>&1
""",
    "scancel": """
echo "$1" >> "$HERE/cancelled"
kill -KILL -- -$(cat "$HERE/$1.pid")
""",
    "sacct": """
echo "JobID|State|NodeList"
for file in "$HERE"/*.pid; do
    name=${file##*/}
    if kill -0 $(cat "$file"); then state=RUNNING; else state=FAILED; fi
    echo "${name%.pid}|$state|here"
done 2> /dev/null
""",
}


def stand_in(folder: Path) -> None:
    """Write the commands to ``folder``, which is to be the first of the PATH; ``cancelled`` will list jobs."""
    folder.mkdir()
    for name, text in _COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\nHERE={folder}\n{text}")
        (folder / name).chmod(0o755)
