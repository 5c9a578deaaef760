#!/usr/bin/env bash
# A few turns of tests/faults/kill.sh, which kills runs at random moments and resumes them. $1: the mla command.
exec bash "$(dirname "$0")/../faults/kill.sh" "$1" --runs 4 --steps 20
