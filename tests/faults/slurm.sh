#!/usr/bin/env bash
# A real Slurm of two nodes on this machine: a job that is submitted, stopped before its time is up, requeued by its
# owner, and hit by a node that goes down, resumes by itself each time and ends in the bits of a run left alone.
#     tests/faults/slurm.sh [MLA] [--install]
# Needs root, and Debian's slurm-wlm and munge (--install gets them), whose own services it leaves alone: it starts a
# munged, a slurmctld and two slurmd of its own, with ports from 16817 and files in a folder that goes at the end.
set -uo pipefail
mla=build/mla install=no
for word in "$@"; do if [ "$word" = --install ]; then install=yes; else mla=$word; fi; done
here=$(realpath "$(dirname "$0")")
. "$here/runs.sh"
. "$here/../support/ranks.sh"
sbatch_script=$here/../../train/slurm/train.sbatch

PATH=$PATH:/usr/sbin:/sbin
[ "$(id -u)" -eq 0 ] || { echo "skipped: this needs root"; exit 77; }
if [ $install = yes ]; then apt-get install -y --no-install-recommends slurm-wlm munge >installed 2>&1 || { cat installed; exit 1; }; fi
for tool in munged slurmctld slurmd sbatch; do
    command -v $tool >/dev/null || { echo "skipped: Slurm is not installed (no $tool); --install gets slurm-wlm and munge"; exit 77; }
done

# ---- the cluster
daemons=()
close_cluster() {
    [ -z "${job:-}" ] || scancel "$job" 2>/dev/null
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do kill "${daemons[i]}" 2>/dev/null; done
    for daemon in "${daemons[@]}"; do wait "$daemon" 2>/dev/null; done
    for pid in $(pgrep -x slurmstepd) $(ranks_here); do
        grep -qz "^SLURM_CONF=$folder/" "/proc/$pid/environ" 2>/dev/null && kill -KILL "$pid"
    done
    rm -rf "$folder"
}
trap close_cluster EXIT
trap 'exit 1' INT TERM HUP
run_daemon() {
    "$@" >>daemons.log 2>&1 &
    daemons+=($!)
}

chmod 755 "$folder"
mkdir munge state
chmod 755 munge
dd if=/dev/urandom of=munge/key bs=128 count=1 2>/dev/null
chmod 400 munge/key
cat >slurm.conf <<END
ClusterName=mla
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MpiDefault=none
DebugFlags=NO_CONF_HASH
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdSpoolDir=$folder/spool-%n
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdLogFile=$folder/slurmd-%n.log
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=16818 CPUs=1
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=16819 CPUs=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$folder/slurm.conf
run_daemon munged --foreground --force --socket "$folder/munge/socket" --key-file "$folder/munge/key" \
    --pid-file "$folder/munge/pid" --log-file "$folder/munge/log" --seed-file "$folder/munge/seed"
run_daemon slurmctld -D
# Nodes that share a machine must not share the folder of PMIx: each has a configuration of its own.
for node in n1 n2; do
    mkdir $node $node/tmp
    cp slurm.conf $node
    echo "PMIxCliTmpDirBase=$folder/$node/tmp" >$node/mpi.conf
    run_daemon slurmd -D -N $node -f "$folder/$node/slurm.conf"
done

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}
has_nodes() { [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ]; }
until_true 60 has_nodes || { fail "Slurm does not start: $(tail -n 5 daemons.log slurm*.log)"; exit 1; }
echo "$(slurmctld -V), two nodes, $(srun --mpi=list 2>&1 | tr '\n' ' ')"

# ---- a run that takes longer than its time limit
sed -i 's/batch: 4$/batch: 6/; s/threads: 1/threads: 1\n  bucket_mb: 0.005/' tiny.yaml
begin=$(date +%s%N)
check 0 "" ranks 2 train tiny.yaml --set train.steps=300 --out pace
steps=$((300 * 75 * 1000 / (($(date +%s%N) - begin) / 1000000)))
arguments=(--set train.steps=$steps --set train.eval_every=1000 --set checkpoint.every=100 --set optim.shard=true)
check 0 "" ranks 2 train tiny.yaml "${arguments[@]}" --out whole

export MLA=$mla
printed=$(sbatch --parsable --time 1 --signal B:USR1@50 --nodes 2 --ntasks-per-node 1 --cpus-per-task 1 "$sbatch_script" \
    tiny.yaml run "${arguments[@]}" 2>&1) || fail "sbatch: $printed"
job=$printed
state() { scontrol -o show job "$job" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
restarts() { scontrol -o show job "$job" | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p'; }
logged() { wc -l 2>/dev/null <run/metrics.jsonl || echo 0; }
makes_steps() { [ "$(state)" = RUNNING ] && [ "$(logged)" -gt $((reached + 100)) ]; }
requeued() { [ "$(restarts)" = "$1" ]; }
over() { case $(state) in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | "") return 0 ;; esac; return 1; }

# Each is awaited while the run makes steps.
reached=0
interrupted() { echo "$1: after step $(logged)"; reached=$(logged); }
until_true 120 makes_steps || fail "the job does not begin: $(state) $(cat mla-*.out)"
until_true 120 requeued 1 || fail "not requeued before its time was up: $(state) $(cat mla-*.out)"
grep -q "stopped and saved; requeueing" mla-*.out || fail "did not save before its time was up: $(cat mla-*.out)"
interrupted "signal before the time limit"
scontrol update job="$job" TimeLimit=30 2>/dev/null
until_true 180 makes_steps || fail "does not resume after the signal: $(state) $(cat mla-*.out)"

scontrol requeue "$job"
until_true 60 requeued 2 || fail "not requeued: $(state)"
interrupted "scontrol requeue"
until_true 180 makes_steps || fail "does not resume after scontrol requeue: $(state) $(cat mla-*.out)"

scontrol update nodename=n2 state=down reason=test
until_true 60 requeued 3 || fail "not requeued after a node went down: $(state)"
interrupted "node down"
scontrol update nodename=n2 state=resume
until_true 300 over
[ "$(state)" = COMPLETED ] || fail "the job ends as $(state): $(cat mla-*.out)"
same_end whole run || fail "ends in other bits than the run that was left alone"
echo "$(grep -c 'parameters,' mla-*.out) starts, $steps steps: $failures failures"
[ $failures -eq 0 ]
