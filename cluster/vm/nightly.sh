#!/usr/bin/env bash
# One night's work, for cron on the head node: list what is new in an archive, and score it.
# Its exit code is that of the first job that did not end well: 1 failed, 2 wrong arguments, 3 too many error rows.
set -euo pipefail
if [ $# -ne 3 ]; then
    echo "usage: nightly.sh ARCHIVE_URI MODEL_URI RESULTS_URI" >&2
    exit 2
fi
# shellcheck source=/dev/null
. "$HOME/.cxr_ray.sh"
cd "$(dirname "$0")/../.."
export RAY_ADDRESS=http://127.0.0.1:8265
date --iso-8601=seconds
python jobs/submit.py --wait-for-nodes 1 index_archive --input-uri "$1" --output-uri "$3/manifest.parquet"
python jobs/submit.py classify_archive --input-uri "$3/manifest.parquet" --model-uri "$2" --output-uri "$3"
