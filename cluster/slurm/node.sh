#!/bin/bash
# One node of the Ray cluster of a Slurm job: node.sh head|worker HOST:PORT JOB [FLAG ...]
#
# job.sbatch starts it on every node, with the token of the cluster as the first line of its standard input. The head runs the
# job and ends with its exit code; a worker leaves at the end of its standard input.
set -euo pipefail
umask 077
role=$1 address=$2
shift 2
exec 3<&0 # a command in the background would have an empty standard input
IFS= read -r token <&3

fail() {
    echo "error: $(hostname): $1" >&2
    exit 1
}

[[ -n ${CXR_RAY_IMAGE:-} ]] || export PATH="${CXR_RAY_VENV:-$PWD/.venv}/bin:$PATH"
[[ -n ${CXR_RAY_IMAGE:-} ]] || command -v ray >/dev/null ||
    fail "no ray in ${CXR_RAY_VENV:-$PWD/.venv}/bin; name a virtual environment that every node can read in CXR_RAY_VENV"

# Ray's files. The path has room for the 107 bytes that a socket's may have.
root=${RAY_TMPDIR:-${TMPDIR:-/tmp}}
((${#root} <= 28)) || root=/tmp
folder=$root/ray-$SLURM_JOB_ID
rm -rf "$folder" # what an earlier run of this job left when it was killed
mkdir "$folder" || fail "Ray cannot keep its files in $root; name a local folder of at most 28 letters in RAY_TMPDIR"
printf '%s\n' "$token" >"$folder/token"

export TMPDIR=$folder RAY_TMPDIR=$folder RAY_ADDRESS=$address RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${CXR_RAY_WAIT_SECONDS:-300}
export RAY_worker_niceness=${RAY_worker_niceness:-0}
# Python's first imports from a shared file system may take minutes.
export RAY_gcs_server_port_wait_time_s=600 RAY_agent_register_timeout_ms=600000 RAY_worker_register_timeout_seconds=600
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

# Ray would take the whole machine: it gets what Slurm gave to this job.
port=${address##*:}
options=(
    --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --temp-dir="$folder/ray" --disable-usage-stats
    --dashboard-port=$((port + 1)) --ray-client-server-port=$((port + 2)) --dashboard-agent-listen-port=0
    --min-worker-port=0 --max-worker-port=0
)
megabytes=${SLURM_MEM_PER_NODE:-$((${SLURM_MEM_PER_CPU:-0} * SLURM_CPUS_ON_NODE))}
if ((megabytes > 0)); then
    shared=$(df --output=avail -m /dev/shm | tail -n 1)
    store=$((megabytes * 3 / 10 < shared * 9 / 10 ? megabytes * 3 / 10 : shared * 9 / 10))
    options+=(--memory=$(((megabytes - store) * 1048576)) --object-store-memory=$((store * 1048576)))
fi

# `ray symmetric-run` refuses a machine on which another Ray runs, and at its end stops every Ray of this user there. In a
# process namespace of its own it sees this job alone, and nothing outlives it.
alone=()
if [[ -n ${CXR_RAY_IMAGE:-} ]]; then
    alone=(apptainer exec --pid --bind "$folder,$PWD" "$CXR_RAY_IMAGE")
    ((${SLURM_GPUS_ON_NODE:-0} == 0)) || alone=("${alone[@]:0:2}" --nv "${alone[@]:2}")
else
    for user in --map-current-user --map-root-user; do # the first is unknown to util-linux before 2.35
        namespace=(unshare --user "$user" --pid --mount-proc --fork --kill-child)
        if "${namespace[@]}" true 2>/dev/null; then
            alone=("${namespace[@]}")
            break
        fi
    done
    ((${#alone[@]} > 0 || SLURM_CPUS_ON_NODE >= $(nproc --all))) ||
        fail "this node allows no user namespaces, so that Ray needs it as a whole; add --exclusive"
fi

# shellcheck disable=SC2329  # the trap calls it
finish() {
    kill -KILL "$ray" 2>/dev/null || true # the namespace ends with it
    wait "$ray" 2>/dev/null || true
    ((${#alone[@]} > 0)) || ray stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}

# The shell around `ray symmetric-run` is the first process of the namespace: it waits for processes that lose their parent, and
# at its end all others end. The job's exit code is kept in a file, because symmetric-run ends with 0 where Ray did not start.
# Ray gives a node 30 s to start, so a slow one tries again, when its files have been read once.
# shellcheck disable=SC2016
run_job=': >"$RAY_TMPDIR/began"; "$@"; echo "$?" >"$RAY_TMPDIR/exit_code"; kill -USR2 "$CXR_RAY_SHELL"'
# shellcheck disable=SC2016
run_ray='export CXR_RAY_SHELL=$$; trap exit USR2
for attempt in 1 2 3; do ray symmetric-run "$@" & wait; [[ ! -e $RAY_TMPDIR/began ]] || break; done'
"${alone[@]}" bash -c "$run_ray" ray --address "$address" --min-nodes "$SLURM_NNODES" "${options[@]}" -- \
    bash -c "$run_job" job python "$@" </dev/null 3<&- &
ray=$!
trap finish EXIT
stopped=false
trap 'stopped=true' TERM # Slurm sends this signal to every process of the job

awaited=$ray
if [[ $role == worker ]]; then
    cat <&3 >/dev/null &
    awaited=$!
fi
while wait "$awaited" || true; kill -0 "$awaited" 2>/dev/null; do :; done
[[ $role == worker ]] && exit 0
[[ -f $folder/exit_code ]] || ! $stopped || exit 143 # 128 + the number of SIGTERM, as shells say it
[[ -f $folder/exit_code ]] || fail "Ray did not run the job; see above"
exit "$(<"$folder/exit_code")"
