#!/usr/bin/env bash
# A sweep on all nodes of a Slurm job; Ray starts with the job and ends with it. Change what is
# marked (1) to (3), then:
#
#   sbatch --nodes=4 clusters/slurm.sh sweeps/my.yaml --set mlflow.uri=https://…
#
# When the time is up the sweep stops within a step and the job queues again; so it does when it is
# preempted or a node is lost. It goes on from the last checkpoints, with the settings it began with.
#
#SBATCH --job-name=neft-ray
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4          # (1) what one of your nodes has
#SBATCH --cpus-per-task=48         # (1)
#SBATCH --time=24:00:00            # (1)
#SBATCH --ntasks-per-node=1
#SBATCH --mem=0
#SBATCH --exclusive                # Ray starts on no node where a Ray runs already, and ends them all
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

environment=$HOME/neft_ray_venv    # (2) python3 -m venv; pip install "neft-ray==0.1.0" "ray==2.60.0"
storage=/shared/neft_ray           # (3) a folder that every node sees

if [ $# -eq 0 ]; then
  echo "usage: sbatch clusters/slurm.sh SWEEP_FILE [--set KEY=VALUE …]" >&2
  exit 2
fi
export PATH=$environment/bin:$PATH
run=$storage/$SLURM_JOB_NAME-$SLURM_JOB_ID
mkdir -p "$storage"

# The secret that Ray's processes share, of this job alone
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$storage/.token-$SLURM_JOB_ID
rm -f "$RAY_AUTH_TOKEN_PATH"
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

# This script runs on the first node, so that one leads: by an address that the others reach. Its
# port and Ray's files are the job's own, should a Ray of another job still be ending.
address=127.0.0.1
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  address=$(getent ahostsv4 "$(hostname)" | awk '$1 !~ /^127\./ {print $1; exit}') || true
  address=${address:-$(hostname -I | awk '{print $1}')}
fi
address=$address:$((20000 + SLURM_JOB_ID % 10000))
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID RAY_USAGE_STATS_ENABLED=0
# Ray's metrics would answer whoever is on the network: none are served
export RAY_enable_metrics_collection=0 DASHBOARD_METRIC_PORT=-1 AUTOSCALER_METRIC_PORT=-1
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
export RAY_health_check_period_ms=2000 RAY_health_check_timeout_ms=5000
export RAY_health_check_failure_threshold=3
ulimit -n "$(ulimit -Hn)"

if [ -e "$run/manifest.json" ]; then
  sweep=(--resume "$run")
else
  sweep=("$@" --set "storage=$storage" --run-name "${run##*/}")
fi

again() {
  echo "the time is up"
  neft-ray stop "$run" || true
  scontrol requeue "$SLURM_JOB_ID"
}
trap again USR1

srun --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
  ray symmetric-run --address="$address" --min-nodes="$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
  -- neft-ray sweep "${sweep[@]}" --address "$address" &
wait $!
